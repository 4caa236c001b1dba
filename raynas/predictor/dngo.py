"""Deep networks for global optimisation (DNGO): a network's features under Bayesian regression.

Snoek et al., "Scalable Bayesian optimization using deep neural networks", ICML 2015. A small tanh
network is fitted to the accuracies; its last hidden layer's outputs φ are the basis functions of a
Bayesian linear regression with weights of precision α and noise of precision β, and a candidate's
worth is its expected improvement over the best seen.

α and β maximise the marginal likelihood. Of the two only the ratio ρ = β / α has to be searched:
with the eigenvalues λ of ΦΦᵀ and the targets c in the eigenvectors' frame, ``y ~ N(0, β⁻¹ (1 + ρ
ΦΦᵀ))``, and the best β for a ρ is ``N / Σ c² / (1 + ρ λ)``.

Shapes: B architectures, D features, H basis functions.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from raynas.config import Section
from raynas.networks.seeding import seeded

Floats = NDArray[np.float64]

_RATIOS = (1e-6, 1e8)
"""Where beta / alpha is looked for: from all noise to none."""


class DngoConfig(Section):
    """What the regression is and how its basis is fitted.

    Attributes:
        hidden: H, width of each layer, and number of basis functions.
        layers: Hidden layers.
        lr: Of Adam.
        weight_decay: Likewise.
        epochs: Full-batch steps. Few, so that the features do not interpolate: at 100 (as in public
            code) a held-out accuracy lies many of its deviations off on NAS-Bench-201, at 30 one.
    """

    hidden: int = Field(128, ge=1)
    layers: int = Field(3, ge=1)
    lr: float = Field(0.01, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    epochs: int = Field(30, ge=1)


@dataclass(frozen=True, slots=True, eq=False)
class BayesianLinear:
    """The posterior of a Bayesian linear regression.

    Attributes:
        mean_H: Posterior mean of the weights.
        precision_HH: Posterior precision of the weights.
        alpha: Prior precision of the weights.
        beta: Precision of the noise.
        log_evidence: Log marginal likelihood of the targets, in nats.
    """

    mean_H: Floats
    precision_HH: Floats
    alpha: float
    beta: float
    log_evidence: float

    @classmethod
    def fit(cls, basis_BH: Floats, target_B: Floats) -> "BayesianLinear":
        """Maximise the marginal likelihood of targets that are not all zero."""
        eigenvalues_B, vectors_BB = np.linalg.eigh(basis_BH @ basis_BH.T)
        eigenvalues_B = np.maximum(eigenvalues_B, 0)
        square_B = (vectors_BB.T @ target_B) ** 2
        low, high = (math.log(ratio) for ratio in _RATIOS)
        for _ in range(3):  # each grid covers two steps of the one before
            grid_G = np.linspace(low, high, 101)
            evidence_G, noise_G = _log_evidence(np.exp(grid_G), eigenvalues_B, square_B)
            best = int(np.argmax(evidence_G))
            low, high = grid_G[max(best - 1, 0)], grid_G[min(best + 1, 100)]
        beta = 1 / float(noise_G[best])
        alpha = beta / math.exp(grid_G[best])
        precision_HH = beta * basis_BH.T @ basis_BH + alpha * np.eye(basis_BH.shape[1])
        mean_H = np.linalg.solve(precision_HH, beta * basis_BH.T @ target_B)
        return cls(mean_H.astype(np.float64), precision_HH, alpha, beta, float(evidence_G[best]))

    def predict(self, basis_BH: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation (noise included) of the targets."""
        solved_HB = np.linalg.solve(self.precision_HH, basis_BH.T)
        variance_B = np.einsum("bh,hb->b", basis_BH, solved_HB) + 1 / self.beta
        return basis_BH @ self.mean_H, np.sqrt(variance_B)


def _log_evidence(
    ratio_G: Floats, eigenvalues_B: Floats, square_B: Floats
) -> tuple[Floats, Floats]:
    """Return the log marginal likelihood at each ρ and the noise variance it is best at."""
    spread_GB = 1 + ratio_G[:, None] * eigenvalues_B
    noise_G = (square_B / spread_GB).mean(axis=1)
    count = len(square_B)
    evidence_G = -(count * (np.log(2 * np.pi * noise_G) + 1) + np.log(spread_GB).sum(axis=1)) / 2
    return evidence_G, noise_G


class Dngo:
    """Predicts accuracies, and how far they may be off.

    Args:
        config: What it is and how it is fitted.
    """

    def __init__(self, config: DngoConfig | None = None) -> None:
        self.config = config or DngoConfig()
        self._basis: nn.Sequential | None = None
        self._linear: BayesianLinear | None = None
        self._centre = self._width = np.zeros(0)
        self._mean, self._scale = 0.0, 1.0

    def fit(self, features_BD: Floats, accuracy_B: Floats, seed: int) -> dict[str, float]:
        """Learn from at least two architectures whose accuracies are not all equal.

        Returns:
            Facts of the fit: mean squared error of the network (standardised accuracies), noise
            and log evidence of the regression.
        """
        self._centre, self._width = features_BD.mean(0), features_BD.std(0)
        self._width[self._width == 0] = 1.0
        self._mean, self._scale = float(accuracy_B.mean()), float(accuracy_B.std())
        target_B = (accuracy_B - self._mean) / self._scale
        with seeded(seed, torch.device("cpu")):
            loss = self._fit_basis(
                self._standardised(features_BD), torch.from_numpy(target_B).float()
            )
        self._linear = BayesianLinear.fit(self._features(features_BD), target_B)
        noise = self._scale / math.sqrt(self._linear.beta)
        return {"loss": loss, "noise": noise, "log_evidence": self._linear.log_evidence}

    def predict(self, features_BD: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of each accuracy."""
        assert self._linear is not None
        mean_B, deviation_B = self._linear.predict(self._features(features_BD))
        return self._mean + self._scale * mean_B, self._scale * deviation_B

    def _fit_basis(self, x_BD: Tensor, y_B: Tensor) -> float:
        config = self.config
        widths = [x_BD.shape[1], *[config.hidden] * config.layers]
        layers = [nn.Linear(*pair) for pair in itertools.pairwise(widths)]
        basis = nn.Sequential(*(step for layer in layers for step in (layer, nn.Tanh())))
        head = nn.Linear(config.hidden, 1)
        optimizer = torch.optim.Adam(
            [*basis.parameters(), *head.parameters()],
            lr=config.lr,
            weight_decay=config.weight_decay,
            fused=True,
        )
        for _ in range(config.epochs):
            optimizer.zero_grad(set_to_none=True)
            loss = F.mse_loss(head(basis(x_BD)).squeeze(1), y_B)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        self._basis = basis
        return float(loss.detach())

    def _standardised(self, features_BD: Floats) -> Tensor:
        return torch.from_numpy((features_BD - self._centre) / self._width).float()

    @torch.no_grad()
    def _features(self, features_BD: Floats) -> Floats:
        assert self._basis is not None
        features: Floats = self._basis(self._standardised(features_BD)).double().numpy()
        return features


def expected_improvement(mean_B: Floats, deviation_B: Floats, best: float) -> Floats:
    """Return by how much each of normal distributions is expected to exceed `best`.

    ``σ (z Φ(z) + φ(z))`` with ``z = (μ - best) / σ``.
    """
    z_B = (mean_B - best) / deviation_B
    density_B = np.exp(-(z_B**2) / 2) / math.sqrt(2 * math.pi)
    below_B = torch.special.ndtr(torch.from_numpy(z_B)).numpy()
    improvement: Floats = deviation_B * (z_B * below_B + density_B)
    return improvement

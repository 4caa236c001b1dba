"""An ensemble of deep, narrow MLPs (BANANAS), all members trained at once.

White et al., "BANANAS: Bayesian optimization with neural architectures for neural architecture
search", AAAI 2021: 5 networks of 10 layers of 20, mean absolute error, Adam. The members' weights
lie in one tensor a layer and go through batched products; each member has initial weights and
batch orders of its own seed, and Adam works entry by entry, so a member comes out as it would
alone.

Shapes: M members, B architectures, D features, H hidden.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from raynas.config import Section

Floats = NDArray[np.float64]


class MlpConfig(Section):
    """What the ensemble is and how it is fitted; the defaults are BANANAS'.

    Attributes:
        hidden: Width of each layer.
        layers: Hidden layers.
        lr: Of Adam, with betas 0.9 and 0.99.
        batch_size: Architectures of a step.
        epochs: Passes over the architectures.
        ensemble: Members.
    """

    hidden: int = Field(20, ge=1)
    layers: int = Field(10, ge=1)
    lr: float = Field(0.01, gt=0)
    batch_size: int = Field(32, ge=1)
    epochs: int = Field(150, ge=1)
    ensemble: int = Field(5, ge=2)


class MlpEnsemble:
    """M networks, features to a number.

    Args:
        num_features: D.
        config: Sizes and how to fit.
        seeds: One a member: of its initial weights and batch orders.
        dtype: Of the weights.
    """

    def __init__(
        self,
        num_features: int,
        config: MlpConfig,
        seeds: Sequence[int],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = config
        self.dtype = dtype
        self._draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        sizes = [num_features, *[config.hidden] * config.layers, 1]
        shapes = list(itertools.pairwise(sizes))
        members = [[_glorot(*shape, draw) for shape in shapes] for draw in self._draws]
        self.weights = [
            nn.Parameter(torch.stack(layer).to(dtype)) for layer in zip(*members, strict=True)
        ]
        self.biases = [
            nn.Parameter(torch.zeros(len(seeds), 1, size, dtype=dtype)) for size in sizes[1:]
        ]
        self._mean, self._scale = 0.0, 1.0

    def fit(self, features_BD: NDArray[np.int8], accuracy_B: Floats) -> float:
        """Learn accuracies (not all equal), standardised; returns the last epoch's mean loss."""
        self._mean, self._scale = float(accuracy_B.mean()), float(accuracy_B.std())
        x_BD = torch.from_numpy(features_BD).to(self.dtype)
        y_B = torch.from_numpy((accuracy_B - self._mean) / self._scale).to(self.dtype)
        optimizer = torch.optim.Adam(
            [*self.weights, *self.biases], lr=self.config.lr, betas=(0.9, 0.99), fused=True
        )
        total = 0.0
        for _ in range(self.config.epochs):
            total = 0.0
            orders_MB = torch.stack([torch.randperm(len(y_B), generator=d) for d in self._draws])
            for start in range(0, len(y_B), self.config.batch_size):
                chosen_MS = orders_MB[:, start : start + self.config.batch_size]
                optimizer.zero_grad(set_to_none=True)
                error_MS = (self._forward(x_BD[chosen_MS]) - y_B[chosen_MS]).abs()
                loss = error_MS.mean(1).sum()  # of each member its own mean
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += float(error_MS.detach().sum())
        return total / (len(y_B) * len(self._draws))

    @torch.no_grad()
    def predict(self, features_BD: NDArray[np.int8]) -> Floats:
        """Return each member's prediction of each accuracy (`M x B`)."""
        x_BD = torch.from_numpy(features_BD).to(self.dtype)
        predicted_MB = self._forward(x_BD.expand(len(self._draws), -1, -1))
        predicted: Floats = predicted_MB.double().numpy() * self._scale + self._mean
        return predicted

    def _forward(self, x_MBD: Tensor) -> Tensor:
        *hidden, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in hidden:
            x_MBD = F.relu(torch.baddbmm(bias, x_MBD, weight))
        return torch.baddbmm(last[1], x_MBD, last[0]).squeeze(2)


def _glorot(num_inputs: int, num_outputs: int, draw: torch.Generator) -> Tensor:
    """Return weights uniform in ±√(6 / (inputs + outputs)): Glorot and Bengio, AISTATS 2010."""
    bound = math.sqrt(6 / (num_inputs + num_outputs))
    drawn = torch.rand(num_inputs, num_outputs, generator=draw, dtype=torch.float64)
    return (2 * drawn - 1) * bound

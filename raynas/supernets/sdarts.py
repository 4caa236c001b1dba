"""SmoothDARTS: w is trained under perturbed mixing weights, so that rounding them hurts less.

Chen and Hsieh, "Stabilizing Differentiable Architecture Search via Perturbation-based
Regularization", ICML 2020. The perturbation acts on θ, not on α, and is drawn from a cube, not from
a Gaussian, as in the code published with the paper.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from pydantic import Field
from torch import Tensor

from raynas.config import Section
from raynas.supernets.bilevel import Step, without_zeros
from raynas.supernets.method import Method
from raynas.supernets.mixture import Mixture


class SdartsOptions(Section):
    """Options of `SdartsRandom`.

    Attributes:
        first_epsilon: Largest perturbation of a weight at the start of the search.
        last_epsilon: Likewise at its end, and while selection tunes; it grows linearly.
    """

    first_epsilon: float = Field(0.03, ge=0, le=1)
    last_epsilon: float = Field(0.3, ge=0, le=1)


class SdartsRandom(Method):
    """SDARTS-RS: perturbations drawn at random; α is trained as in DARTS, unperturbed."""

    Options = SdartsOptions
    options: SdartsOptions

    def epsilon(self, step: Step) -> float:
        """Return the largest perturbation of a weight now."""
        first, last = self.options.first_epsilon, self.options.last_epsilon
        return last if step.tuning else first + (last - first) * step.epoch / step.epochs

    def weights_mixture(self, step: Step) -> Mixture:
        """Return the mixture of perturbed weights; ops pushed to 0 are not run."""
        theta = [rows.detach() for rows in self.theta()]
        return without_zeros(self.mix(self.perturbed(theta, self.epsilon(step), step)))

    def perturbed(self, theta: Sequence[Tensor], epsilon: float, step: Step) -> list[Tensor]:
        """Return rows on the simplex near those of `theta`.

        Args:
            theta: `E x O` a kind, without gradient.
            epsilon: Largest change of an entry before rows are made to sum to 1.
            step: The step.
        """
        return [on_simplex(rows + uniform(rows, epsilon, step.generator)) for rows in theta]


class SdartsAdversarialOptions(SdartsOptions):
    """Options of `SdartsAdversarial`.

    Attributes:
        ascents: Steps towards the perturbation that hurts most.
    """

    ascents: int = Field(7, ge=1)


class SdartsAdversarial(SdartsRandom):
    """SDARTS-ADV: the perturbation that raises the loss most, as projected ascent finds it."""

    Options = SdartsAdversarialOptions
    options: SdartsAdversarialOptions

    def perturbed(self, theta: Sequence[Tensor], epsilon: float, step: Step) -> list[Tensor]:
        """Climb the training loss by signs of its gradient, from a random start (alg. 1).

        The network is in eval mode meanwhile. If all that did not raise the loss, `theta` stays.
        """
        length = 2 * epsilon / self.options.ascents
        with _evaluating(step), step.bilevel.frozen_weights():
            clean = self._loss(theta, step)
            found = super().perturbed(theta, epsilon, step)
            for _ in range(self.options.ascents):
                slopes = self._slopes(found, step)
                found = [
                    on_simplex(old + (rows + length * slope - old).clamp(-epsilon, epsilon))
                    for old, rows, slope in zip(theta, found, slopes, strict=True)
                ]
            raised = self._loss(found, step) > clean
        return found if raised else list(theta)

    @torch.no_grad()
    def _loss(self, theta: Sequence[Tensor], step: Step) -> float:
        mixture = without_zeros(self.mix(theta))
        return step.bilevel.joint(step.bilevel.run(step.train, mixture).loss)

    def _slopes(self, theta: Sequence[Tensor], step: Step) -> list[Tensor]:
        """Return the signs of the gradient of the training loss by θ; 0 of ops that do not run."""
        leaves = [rows.detach().requires_grad_() for rows in theta]
        loss = step.bilevel.run(step.train, without_zeros(self.mix(leaves))).loss
        gradients = step.bilevel.gradient(loss, leaves)
        return [
            torch.zeros_like(rows) if gradient is None else gradient.sign()
            for rows, gradient in zip(theta, gradients, strict=True)
        ]


def uniform(rows: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
    """Return entries drawn from ``[-epsilon, epsilon)``, of the shape of `rows`."""
    draws = torch.rand(rows.shape, generator=generator, device=rows.device, dtype=rows.dtype)
    return (2 * draws - 1) * epsilon


def on_simplex(rows: Tensor) -> Tensor:
    """Return rows brought back to the simplex, as published: clamped, then divided by their sum.

    Of a row that clamping leaves all zero, the largest entry before becomes 1. (The nearest point
    of the simplex would be another one.)
    """
    clamped = rows.clamp(0, 1)
    largest = torch.zeros_like(rows).scatter(1, rows.argmax(dim=1, keepdim=True), 1.0)
    empty = (clamped == 0).all(dim=1, keepdim=True)
    kept = torch.where(empty, largest, clamped)
    return kept / kept.sum(dim=1, keepdim=True)


@contextmanager
def _evaluating(step: Step) -> Iterator[None]:
    supernet = step.bilevel.supernet
    was_training = supernet.training
    supernet.eval()
    try:
        yield
    finally:
        supernet.train(was_training)

"""GDAS: every forward pass runs one op of each edge, drawn with Gumbel noise.

Dong and Yang, "Searching for a Robust Neural Architecture in Four GPU Hours", CVPR 2019.
"""

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from raynas.config import Section
from raynas.supernets.bilevel import Step, without_zeros
from raynas.supernets.method import Method
from raynas.supernets.mixture import Mixture


class GdasOptions(Section):
    """Options of `Gdas`.

    Attributes:
        first_temperature: Of the softmax whose gradient is used, at the start of the search.
        last_temperature: Likewise at its end, and while selection tunes; it falls linearly.
    """

    first_temperature: float = Field(10.0, gt=0)
    last_temperature: float = Field(1.0, gt=0)


class Gdas(Method):
    """GDAS: w and α both learn from networks of one op an edge."""

    Options = GdasOptions
    options: GdasOptions

    def temperature(self, step: Step) -> float:
        """Return τ now."""
        first, last = self.options.first_temperature, self.options.last_temperature
        return last if step.tuning else first + (last - first) * step.epoch / step.epochs

    def draw(self, step: Step) -> Mixture:
        """Return a mixture of one op an edge, whose gradient is that of the soft weights (eq. 6).

        Of the ops that are not run nothing is known, so their weights get no gradient of their own;
        they move through the softmax.
        """
        hard, soft = [], []
        for theta in self.theta():
            noise = torch.empty_like(theta).exponential_(generator=step.generator).log()
            weights = ((theta.log() - noise) / self.temperature(step)).softmax(dim=1)
            chosen = weights.argmax(dim=1, keepdim=True)
            hard.append(torch.zeros_like(weights).scatter(1, chosen, 1.0))
            soft.append(weights)
        active = without_zeros(self.mix(hard)).active
        return replace(self.mix(self._straight_through(hard, soft)), active=active)

    @staticmethod
    def _straight_through(hard: list[Tensor], soft: list[Tensor]) -> list[Tensor]:
        return [one + (many - many.detach()) for one, many in zip(hard, soft, strict=True)]

"""DrNAS: mixing weights are drawn from Dirichlet distributions whose concentrations are learnt.

Chen et al., "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from raynas.config import Section
from raynas.errors import ConfigError
from raynas.spaces.mixture import CellKind
from raynas.supernets.bilevel import Step
from raynas.supernets.config import SupernetTrainingConfig
from raynas.supernets.dirichlet import divergence_from_uniform, draw_dirichlet
from raynas.supernets.method import Method, masked_softmax
from raynas.supernets.mixture import Mixture

_SMALLEST = 1e-6


class DrNasOptions(Section):
    """Options of `DrNas`.

    Attributes:
        regulariser: What pulls the concentrations to 1: ``l2`` is weight decay on β, ``kl`` the
            divergence of the distributions from the uniform one.
        strength: λ, of ``kl``; that of ``l2`` is `training.alpha_weight_decay`.
    """

    regulariser: Literal["l2", "kl"] = "l2"
    strength: float = Field(1e-3, ge=0, allow_inf_nan=False)


class DrNas(Method):
    """DrNAS in one stage, as the published results on NAS-Bench-201 were made.

    `alphas` holds β: concentrations are ``elu(β) + 1``.
    """

    Options: ClassVar[type[Section]] = DrNasOptions
    options: DrNasOptions

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Either regulariser, not both."""
        return {"alpha_weight_decay": 0.0} if self.options.regulariser == "kl" else {}

    def concentrations(self) -> list[Tensor]:
        """Return c, `E x O` a kind, positive.

        In float32 ``elu(β) + 1`` is 0 from about β = -18 on, which no Dirichlet distribution has.
        """
        return [(F.elu(beta) + 1).clamp(min=_SMALLEST) for beta in self.alphas]

    def theta(self) -> list[Tensor]:
        """Return the means of the distributions."""
        kept = [
            rows * torch.from_numpy(self.decisions.allowed(number)).to(rows)
            for number, rows in enumerate(self.concentrations())
        ]
        return [rows / rows.sum(dim=1, keepdim=True) for rows in kept]

    def strengths(self) -> list[Tensor]:
        """Return the softmax of β, which selection compares as published."""
        return [
            masked_softmax(beta, self.decisions.allowed(number))
            for number, beta in enumerate(self.alphas)
        ]

    def draw(self, step: Step) -> Mixture:
        """Return a mixture drawn from the distributions, with gradient along the path (eq. 3)."""
        pairs = enumerate(self.concentrations())
        theta = [
            draw_dirichlet(rows, self.decisions.allowed(number), step.generator)
            for number, rows in pairs
        ]
        return self.mix(theta)

    def penalty(self) -> Tensor | None:
        """Return ``λ Σ_edges KL(Dir(c) || Dir(1))`` if that is the regulariser."""
        if self.options.regulariser != "kl":
            return None
        divergences = [
            divergence_from_uniform(rows, self.decisions.allowed(number)).sum()
            for number, rows in enumerate(self.concentrations())
        ]
        return self.options.strength * torch.stack(divergences).sum()


class ProgressiveOptions(DrNasOptions):
    """Options of `ProgressiveDrNas`.

    Attributes:
        partials: K of each stage: one of K channels goes through the mixed ops.
        ops: Ops kept on an edge from each stage to the next.
    """

    partials: tuple[int, ...] = (6, 4)
    ops: tuple[int, ...] = (4,)

    @model_validator(mode="after")
    def _check_together(self) -> "ProgressiveOptions":
        if len(self.partials) != len(self.ops) + 1:
            raise ValueError(
                f"{len(self.partials)} stages need ops {len(self.partials) - 1} times, "
                f"not {len(self.ops)}"
            )
        if min(self.partials) < 1 or min(self.ops, default=1) < 1:
            raise ValueError("partials and ops must be 1 or more")
        return self


class ProgressiveDrNas(DrNas):
    """DrNAS in stages of equal length: from each to the next, ops are pruned and channels added.

    The defaults are those of the search on CIFAR-10, two stages of 25 epochs.
    """

    Options: ClassVar[type[Section]] = ProgressiveOptions
    options: ProgressiveOptions
    frozen_share: ClassVar[float] = 0.4  # 10 epochs of each stage of 25

    _stage = 0

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Settings of the paper's search on CIFAR-10."""
        return {**super().defaults, "lr": 0.1, "min_lr": 0.0, "alpha_lr": 6e-4}

    @property
    def partials(self) -> tuple[int, ...]:
        """K of each stage."""
        return self.options.partials

    @property
    def partial(self) -> int:
        """K of the stage."""
        return self.partials[self._stage]

    def check(self, kinds: Sequence[CellKind], config: SupernetTrainingConfig) -> None:
        """Refuse stages that keep more ops than there are, add none, or have no epochs to learn."""
        length, frozen = config.epochs // len(self.partials), self.frozen_epochs(config)
        if frozen >= length:
            raise ConfigError(
                f"training.alpha_frozen_epochs: {frozen} leave none of the {length} epochs of a "
                "stage for alpha to learn in"
            )
        counts = (min(kind.num_ops for kind in kinds), *self.options.ops)
        for before, after in pairwise(counts):
            if after > before:
                raise ConfigError(
                    f"method.ops: a stage cannot keep {after} ops of an edge where {before} are"
                )
        for k, wider in pairwise(self.partials):
            if wider > k:
                raise ConfigError(
                    f"method.partials: channels are only added, but 1 of {wider} is less than "
                    f"1 of {k}"
                )

    def frozen_epochs(self, config: SupernetTrainingConfig) -> int:
        """Return the number of epochs at the start of each stage in which β is left alone."""
        frozen = config.alpha_frozen_epochs
        length = config.epochs // len(self.partials)
        return round(self.frozen_share * length) if frozen is None else frozen

    def trains_alpha(self, epoch: int, tuning: bool) -> bool:
        """Return whether β learns: not in the first epochs of a stage."""
        begun = self._starts(self.config)[self._stage]
        return tuning or epoch - begun >= self.frozen_epochs(self.config)

    def begin_epoch(self, epoch: int) -> None:
        """Prune when a stage begins: of each edge, the ops with the largest β stay."""
        starts = self._starts(self.config)
        stage = max(number for number, start in enumerate(starts) if start <= epoch)
        while self._stage < stage:
            for number in range(len(self.kinds)):
                self._prune(number, self.options.ops[self._stage])
            self._stage += 1

    def _prune(self, number: int, count: int) -> None:
        beta = self.alphas[number].detach()
        for edge in self.decisions.undecided_edges(number):
            allowed = np.flatnonzero(self.decisions.allowed(number)[edge])
            order = beta[edge, allowed.tolist()].argsort(descending=True, stable=True)
            for op in allowed[order[count:].cpu().numpy()].tolist():
                self.decisions.prune_op(number, edge, op)
                beta[edge, op] = 0.0

    def _starts(self, config: SupernetTrainingConfig) -> list[int]:
        """Return the epoch, from 0, with which each stage begins."""
        stages = len(self.partials)
        return [config.epochs * stage // stages for stage in range(stages)]

    def state_dict(self) -> dict[str, Any]:
        """Return the stage."""
        return {"stage": self._stage}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._stage = int(state["stage"])

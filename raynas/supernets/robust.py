"""R-DARTS: DARTS that watches the curvature of its validation loss, and stops or regularises more.

Zela et al., "Understanding and Robustifying Differentiable Architecture Search", ICLR 2020: before
an architecture degenerates, the dominant eigenvalue of the Hessian of the validation loss by α
rises sharply. R-DARTS (DP) and (L2) are `training.drop_path` and `training.weight_decay`.
"""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from raynas.config import Section
from raynas.supernets.bilevel import Epoch
from raynas.supernets.config import SupernetTrainingConfig
from raynas.supernets.curvature import alpha_eigenvalue
from raynas.supernets.darts import Darts, DartsOptions
from raynas.supernets.decisions import Decisions


class RobustOptions(DartsOptions):
    """Options of `RobustDarts`.

    Attributes:
        order: See `Darts`; the paper's runs are of second order.
        on_rise: What a sharp rise leads to: ``stop`` (DARTS-ES), ``regularise`` (DARTS-ADA), or
            ``nothing`` but a record.
        every: Epochs between two looks at the eigenvalue.
        window: Looks that are averaged.
        lag: Looks between the averages that are compared.
        ratio: A rise by more than this factor is sharp.
        earliest: Epoch, from 0, before which the search never goes back; nor does it go back
            before where it went back to last.
        factor: By what weight decay grows after a rise.
        most_weight_decay: Up to where it grows.
        batches: Batches of validation images the eigenvalue is taken on.
        exact_up_to: Number of α up to which the whole Hessian is computed; of more, Lanczos'
            iteration finds the eigenvalue.
        iterations: Of Lanczos.
    """

    order: Literal[1, 2] = 2
    on_rise: Literal["stop", "regularise", "nothing"] = "stop"
    every: int = Field(2, ge=1)
    window: int = Field(5, ge=1)
    lag: int = Field(4, ge=1)
    ratio: float = Field(1.3, gt=1)
    earliest: int = Field(10, ge=0)
    factor: float = Field(3.0, gt=1)
    most_weight_decay: float = Field(0.0243, gt=0)
    batches: int = Field(1, ge=1)
    exact_up_to: int = Field(64, ge=0)
    iterations: int = Field(30, ge=1)


class RobustDarts(Darts):
    """R-DARTS with the published rules.

    On a sharp rise the search goes back to where the rise began, and either ends there (DARTS-ES)
    or goes on with a larger weight decay (DARTS-ADA).
    """

    Options: ClassVar[type[Section]] = RobustOptions
    options: RobustOptions

    def begin(
        self,
        decisions: Decisions,
        config: SupernetTrainingConfig,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        """Make the parameters, and an empty record."""
        super().begin(decisions, config, generator, device)
        self._looks: list[tuple[int, float]] = []  # epoch from 0, eigenvalue
        self._weight_decay = config.weight_decay
        self._earliest = self.options.earliest
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether a rise ended the search."""
        return self._stopped

    def weight_decay(self) -> float:
        """Return the weight decay on w now."""
        return self._weight_decay

    def end_epoch(self, epoch: Epoch) -> dict[str, Any]:
        """Look at the eigenvalue, when it is time."""
        if epoch.tuning or epoch.number % self.options.every:
            return {"eigenvalue": None}
        value = alpha_eigenvalue(
            epoch,
            self,
            batches=self.options.batches,
            exact_up_to=self.options.exact_up_to,
            iterations=self.options.iterations,
        )
        self._looks.append((epoch.number, value))
        return {"eigenvalue": value}

    def remembers(self, epoch: int) -> Collection[int]:
        """Return the epochs trained at the looks that a rise may lead back to, now or later."""
        if self.options.on_rise == "nothing":
            return ()
        reach = self.options.every * (self.options.window // 2 + self.options.lag)
        numbers = range(max(self._earliest, epoch - 1 - reach), epoch)
        return [number + 1 for number in numbers if number % self.options.every == 0]

    def rewinds_to(self) -> int | None:
        """Return the epochs trained at the look with which a sharp rise began; None: no rise."""
        regularised = self._weight_decay >= self.options.most_weight_decay
        if self.options.on_rise == "nothing" or (
            self.options.on_rise == "regularise" and regularised
        ):
            return None
        look = self._rise()
        return None if look is None else self._looks[look][0] + 1

    def rewound(self) -> None:
        """Stop there, or go on from there with more weight decay."""
        look = self._rise()
        assert look is not None
        del self._looks[look + 1 :]
        self._earliest = self._looks[look][0]
        if self.options.on_rise == "stop":
            self._stopped = True
        else:
            larger = self._weight_decay * self.options.factor
            self._weight_decay = min(larger, self.options.most_weight_decay)

    def _rise(self) -> int | None:
        """Return the number of the look with which a sharp rise that is seen now began."""
        values, half = [value for _, value in self._looks], self.options.window // 2
        centre = len(values) - 1 - half
        before = centre - self.options.lag
        if before - half < 0 or self._looks[before][0] < self._earliest:
            return None

        def mean(middle: int) -> float:
            near = values[middle - half : middle + half + 1]
            return sum(near) / len(near)

        return before if mean(centre) / mean(before) > self.options.ratio else None

    def state_dict(self) -> dict[str, Any]:
        """Return the record, the weight decay, and whether the search was stopped."""
        return {
            "looks": [list(look) for look in self._looks],
            "weight_decay": self._weight_decay,
            "earliest": self._earliest,
            "stopped": self._stopped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._looks = [(int(number), float(value)) for number, value in state["looks"]]
        self._weight_decay = float(state["weight_decay"])
        self._earliest = int(state["earliest"])
        self._stopped = bool(state["stopped"])

"""What selection needs of a supernet under training (Protocol)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from torch import Tensor

from raynas.supernets.decisions import Decisions, Question
from raynas.supernets.mixture import Mixture
from raynas.supernets.supernet import Supernet


class Trainable(Protocol):
    """A supernet under training, as `raynas.supernets.training.SupernetTraining` is.

    Attributes:
        decisions: What is decided so far; selection changes it.
        epoch: Epochs trained, search and tuning alike.
    """

    decisions: Decisions
    epoch: int

    @property
    def supernet(self) -> Supernet:
        """Return the network; a method may put another in its place between epochs."""
        ...

    @property
    def search_epochs(self) -> int:
        """Return how many epochs the search takes, unless the method stops it earlier."""
        ...

    @property
    def searched(self) -> bool:
        """Return whether the search is over: all its epochs done, or stopped by the method."""
        ...

    def train_epoch(self) -> Mapping[str, Any]:
        """Train one epoch and return its metrics, JSON values."""
        ...

    def questions(self) -> Sequence[Question]:
        """Return what the method itself wants decided before it trains on, and is open yet."""
        ...

    def answered(self, question: Question, chosen: Sequence[int]) -> None:
        """Take note that a question is answered; `decisions` holds the answer already."""
        ...

    def theta(self) -> Sequence[Tensor]:
        """Return `E x O` a kind: mixing weights free of noise and of what is decided."""
        ...

    def strengths(self) -> Sequence[Tensor]:
        """Return `E x O` a kind: what magnitude compares, across ops and across edges.

        `theta`, times the weights of edges where the method has any.
        """
        ...

    def mixture(self) -> Mixture:
        """Return the mixture of `theta` under what is decided, without gradients."""
        ...

    def begin_tuning(self, lr: float, schedule: Literal["constant", "cosine"], epochs: int) -> None:
        """Go on with a new optimiser of the weights, for so many epochs."""
        ...

    def selection_batches(
        self, batch_size: int, *, augmented: bool = False, shuffle_seed: int | None = None
    ) -> Iterable[tuple[Tensor, Tensor]]:
        """Return the validation batches: in their fixed order, or shuffled by a seed.

        Augmented ones need a seed.
        """
        ...

    def num_selection_batches(self, batch_size: int) -> int:
        """Return how many validation batches there are."""
        ...

    def save(self) -> dict[str, Any]:
        """Return all that a bit-equal resume needs."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Restore what `save` returned."""
        ...

"""The pool at one moment, as a proposer sees it: frozen values that can cross processes."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PoolRecord:
    """One candidate as a predictor sees it (see `Candidate` for the fields)."""

    id: int
    text: str
    key: str
    level: int
    level_accuracy: tuple[float, ...]
    proxies: Mapping[str, float]
    failed: bool
    costs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoredRecord:
    """One architecture of level 0: known by its proxies alone."""

    text: str
    key: str
    proxies: Mapping[str, float]
    costs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """The pool at one moment: what proposers learn from. Frozen, so it can cross processes.

    Attributes:
        round: Number of the proposal it is made for.
        epochs_per_level: Epochs of each level, lowest first.
        candidates: Every candidate, in order of admission.
        scored: Level-0 architectures that were never admitted, in order of scoring.
    """

    round: int
    epochs_per_level: tuple[int, ...]
    candidates: tuple[PoolRecord, ...]
    scored: tuple[ScoredRecord, ...]

    def keys(self) -> set[str]:
        """Keys of every candidate (level 0 not included)."""
        return {record.key for record in self.candidates}

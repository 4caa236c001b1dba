"""An architecture: an immutable, hashable point of a search space with one canonical text."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Architecture:
    """One point of a search space.

    Attributes:
        space: Name of the space, e.g. ``"nasbench201"``.
        text: Canonical text; ``space.parse(text)`` gives an equal architecture back. It is the
            whole of the architecture: it can be stored, printed, sent and compared.
    """

    space: str
    text: str

    def __str__(self) -> str:
        return self.text

"""What a diagnostic is: parts that can be measured anywhere, and what is made of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from raynas.diagnostics.options import DiagnoseOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = dict[str, Any]
"""A row of a table."""

Value = Any
"""JSON values: what a part comes to, so that it can be kept."""

_Subject = TypeVar("_Subject", contravariant=True)


@dataclass(frozen=True, slots=True)
class Part:
    """A measurement that depends on no other.

    Attributes:
        label: What progress calls it.
        work: A function of a module: called with the subject and `arguments`.
        arguments: JSON values; with `work` they say all that the result depends on.
    """

    label: str
    work: Callable[..., Value]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What is measured, whoever asked for it."""
        return f"{self.work.__module__}.{self.work.__qualname__}"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a diagnostic found.

    Attributes:
        rows: The table.
        sentences: One or two sentences on this run.
        settings: What it was measured with, JSON values.
    """

    rows: list[Record]
    sentences: list[str]
    settings: Record = field(default_factory=dict)


class Diagnostic(Protocol[_Subject]):
    """Looks at one thing.

    Attributes:
        title: What it answers, as a heading.
    """

    title: str

    def check(self, subject: _Subject) -> None:
        """Raise `ConfigError` if it says nothing of such a run, and why in one line."""
        ...

    def parts(self, subject: _Subject) -> list[Part]:
        """Return what has to be measured; nothing if all stands in the run folder."""
        ...

    def conclude(self, subject: _Subject, results: Sequence[Value]) -> Finding:
        """Make a table and sentences of it.

        Args:
            subject: The run.
            results: Of each part, in order.
        """
        ...

    def draw(self, rows: Sequence[Record]) -> "Figure":
        """Draw the table."""
        ...


class Base(Generic[_Subject]):
    """Defaults: made of options, fits every run, measures nothing.

    Args:
        options: What it may cost.
    """

    def __init__(self, options: DiagnoseOptions) -> None:
        self.options = options

    def check(self, subject: _Subject) -> None:
        """Accept every run."""

    def parts(self, subject: _Subject) -> list[Part]:
        """Return nothing."""
        return []

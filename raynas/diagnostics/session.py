"""From names of diagnostics to tables, plots and sentences in the run folder."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from raynas.diagnostics.diagnostic import Diagnostic, Part, Value
from raynas.diagnostics.drawing import style
from raynas.diagnostics.keeping import Entry, Shelf, write_finding
from raynas.diagnostics.options import DiagnoseOptions
from raynas.diagnostics.subject import SupernetSubject
from raynas.errors import ConfigError
from raynas.networks.seeding import seeded
from raynas.registry import lookup
from raynas.report.palette import new_figure
from raynas.seeds import derive_seed
from raynas.storage import Location

Listener = Callable[[str, int, int, str], object]
"""Hears of a diagnostic, how many of its parts are done, how many there are, and the latest."""


class Runner(Protocol):
    """Measures parts, anywhere and in any order."""

    def __call__(
        self, subject: Any, seed: int, parts: Sequence[Part]
    ) -> Iterator[tuple[int, Value]]:
        """Yield the number of a part and what it came to, as they are done."""
        ...


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a diagnosis came to.

    Attributes:
        folder: ``RUN/diagnostics``, local or in a store.
        entries: What `summary.json` says of each diagnostic that was run, in order.
        skipped: Why others were not, by name.
    """

    folder: Location
    entries: list[Entry] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def measure(subject: Any, seed: int, part: Part) -> Value:
    """Measure a part, alike in every process: on one thread, draws from its own seed."""
    device = torch.device("cpu")
    if isinstance(subject, SupernetSubject):
        device = subject.job.training.placement().device
    arguments = json.dumps(dict(part.arguments), sort_keys=True)
    with _one_thread(), seeded(derive_seed(seed, part.name, arguments), device):
        return part.work(subject, **part.arguments)


def run_here(subject: Any, seed: int, parts: Sequence[Part]) -> Iterator[tuple[int, Value]]:
    """Measure parts in this process, one after another: a `Runner`."""
    for number, part in enumerate(parts):
        yield number, measure(subject, seed, part)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(slots=True)
class _Work:
    """A diagnostic, and what its parts came to so far."""

    name: str
    diagnostic: Diagnostic[Any]
    parts: list[Part]
    results: list[tuple[Value] | None]

    @property
    def num_done(self) -> int:
        return sum(result is not None for result in self.results)


class DiagnosisSession:
    """Runs diagnostics on one run.

    Args:
        folder: The run folder.
        subject: The run, as its diagnostics want it.
        table: Of each name, where the diagnostic is.
        identity: What tells this run from others, JSON values.
        options: What it may cost.
        runner: Measures parts.
        listener: Hears of every part that is done.
    """

    def __init__(
        self,
        folder: Path,
        subject: Any,
        table: Mapping[str, str],
        identity: Mapping[str, Any],
        options: DiagnoseOptions,
        runner: Runner,
        listener: Listener | None = None,
    ) -> None:
        self._folder = folder / "diagnostics"
        self._subject = subject
        self._table = table
        self._options = options
        self._runner = runner
        self._listener = listener
        self._shelf = Shelf(self._folder / "parts", {**identity, "seed": options.seed})

    def run(self, names: Sequence[str], *, skipping: bool) -> Diagnosis:
        """Run diagnostics.

        Args:
            names: Which.
            skipping: Whether those that say nothing of this run are passed over.

        Raises:
            ConfigError: one says nothing of this run, and none is to be skipped.
            UsageError: matplotlib is not installed.
            RaynasError: a part failed; those that are done are kept.
        """
        new_figure(1, 1)  # before anything is measured: that it can be drawn
        diagnosis = Diagnosis(self._folder)
        todo = []
        for name in names:
            diagnostic = lookup("diagnostic", name, self._table)(self._options)
            try:
                diagnostic.check(self._subject)
            except ConfigError as error:
                if not skipping:
                    raise
                diagnosis.skipped[name] = str(error)
                continue
            parts = diagnostic.parts(self._subject)
            found = [self._shelf.find(part) for part in parts]
            todo.append(_Work(name, diagnostic, parts, found))
        self._measure(todo, diagnosis)
        return diagnosis

    def _measure(self, todo: list[_Work], diagnosis: Diagnosis) -> None:
        places: dict[str, list[tuple[_Work, int]]] = {}
        missing: dict[str, Part] = {}
        for work in todo:
            for number, part in enumerate(work.parts):
                if work.results[number] is None:  # two diagnostics may ask for the same part
                    key = json.dumps([part.name, dict(part.arguments)], sort_keys=True)
                    missing.setdefault(key, part)
                    places.setdefault(key, []).append((work, number))
            self._conclude_if_done(work, diagnosis)
        if not missing:
            return
        keys, parts = list(missing), list(missing.values())
        for number, value in self._runner(self._subject, self._options.seed, parts):
            kept = self._shelf.put(parts[number], value)
            for work, place in places[keys[number]]:
                work.results[place] = (kept,)
                self._tell(work, work.parts[place].label)
                self._conclude_if_done(work, diagnosis)

    def _conclude_if_done(self, work: _Work, diagnosis: Diagnosis) -> None:
        results = [result[0] for result in work.results if result is not None]
        if len(results) < len(work.parts):
            return
        finding = work.diagnostic.conclude(self._subject, results)
        with style():
            figure = work.diagnostic.draw(finding.rows)
            entry = write_finding(self._folder, work.name, work.diagnostic.title, finding, figure)
        diagnosis.entries.append(entry)
        self._tell(work, "done")

    def _tell(self, work: _Work, label: str) -> None:
        if self._listener is not None:
            self._listener(work.name, work.num_done, len(work.parts), label)

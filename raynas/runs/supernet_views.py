"""The Parquet views of a supernet run's journal, and `best.json`.

As with a search, each is rewritten whole and can be lost and made again; only the journal counts.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from raynas.runs.folder import RunFolder, replace_file
from raynas.runs.supernet_journal import Record, SupernetLog
from raynas.runs.tables import write_rows
from raynas.spaces.mixture import CellKind

_PAUSE_FACTOR = 10.0
"""A rewrite may take at most one part in about ten of the run's time."""


class SupernetViews:
    """Keeps the views of one run current.

    Args:
        folder: Where they go.
        kinds: The kinds of cells that are mixed.
        describe: Facts about a selected architecture that go into `best.json`.
    """

    def __init__(
        self,
        folder: RunFolder,
        kinds: Sequence[CellKind],
        describe: Callable[[str], Mapping[str, Any]],
    ) -> None:
        self._path = folder.path
        self._kinds = {kind.name: kind for kind in kinds}
        self._describe = describe
        self._written_at = -math.inf
        self._cost_s = 0.0

    def refresh(self, log: SupernetLog, *, force: bool = False) -> None:
        """Rewrite the views, unless that would take too large a share of the run's time."""
        now = time.monotonic()
        if not force and now - self._written_at < _PAUSE_FACTOR * self._cost_s:
            return
        write_rows(self._path / "history.parquet", [history_row(step) for step in log.epochs])
        write_rows(self._path / "decisions.parquet", decision_rows(log))
        write_rows(self._path / "alpha.parquet", list(self._alpha_rows(log)))
        if log.architecture is not None:
            text = json.dumps(self._best(log, log.architecture), indent=2)
            replace_file(self._path / "best.json", text.encode() + b"\n")
        self._written_at = time.monotonic()
        self._cost_s = self._written_at - now

    def _best(self, log: SupernetLog, architecture: str) -> Record:
        epochs = log.epochs
        return {
            "kind": "supernet",
            "architecture": architecture,
            **self._describe(architecture),
            "supernet": epochs[-1]["metrics"] if epochs else {},
            "epochs": {
                phase: sum(step["phase"] == phase for step in epochs)
                for phase in ("search", "select")
            },
            "decisions": len(log.decisions),
            "wall_s": log.elapsed_s,
        }

    def _alpha_rows(self, log: SupernetLog) -> Iterator[Record]:
        for step in log.epochs:
            for mixed in step["mixing"]:
                kind = self._kinds[mixed["kind"]]
                for edge, (source, target) in enumerate(kind.edges):
                    for column, op in enumerate(kind.ops[edge]):
                        yield {
                            "step": step["step"],
                            "phase": step["phase"],
                            "epoch": step["epoch"],
                            "kind": kind.name,
                            "edge": edge,
                            "source": source,
                            "target": target,
                            "op": op,
                            "alpha": _at(mixed.get("alpha"), edge, column),
                            "theta": mixed["theta"][edge][column],
                            "decided": mixed["decided"][edge] == column,
                            "kept": mixed["kept"][edge],
                        }


def history_row(step: Record) -> Record:
    """Return an epoch's row of `history.parquet`; figures of kinds of cells are columns each."""
    row = {"step": step["step"], "phase": step["phase"], "epoch": step["epoch"]}
    for name, value in step["metrics"].items():
        if isinstance(value, dict):
            row |= {f"{name}_{kind}": of_kind for kind, of_kind in value.items()}
        elif not isinstance(value, list):
            row[name] = value
    return {**row, "elapsed_s": step["elapsed_s"]}


def decision_rows(log: SupernetLog) -> list[Record]:
    """Return the rows of `decisions.parquet`: one for every option of every decision, or for every
    round of it, where the edges of a node are dropped one after another.
    """
    rows = []
    for number, (decision, step) in enumerate(log.decisions, start=1):
        asked = {
            "decision": number,
            "step": step["step"],
            "phase": step["phase"],
            "epoch": step["epoch"],
            **{key: decision[key] for key in ("kind", "edge", "node", "source", "target", "rule")},
        }
        answered = {
            "margin": decision["margin"],
            "unmasked_accuracy": (decision["unmasked"] or {}).get("accuracy"),
            "time_s": decision["time_s"],
            "workers": ", ".join(decision.get("workers", [])),
        }
        rows += [
            {**asked, **option, "chosen": option["option"] in decision["chosen"], **answered}
            for option in _options(decision)
        ]
    return rows


def _options(decision: Record) -> Iterator[Record]:
    strengths = decision["strengths"] or [None] * len(decision["options"])
    strength = dict(zip(decision["options"], strengths, strict=True))
    if decision["candidates"]:
        for scored in decision["candidates"]:
            yield {**scored, "strength": strength[scored["option"]]}
        return
    for option, name in zip(decision["options"], decision["names"], strict=True):
        yield {"option": option, "name": name, "strength": strength[option]}


def _at(rows: Sequence[Sequence[float]] | None, edge: int, column: int) -> float | None:
    return None if rows is None else rows[edge][column]

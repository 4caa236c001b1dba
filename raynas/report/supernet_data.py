"""A supernet run as its report reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from raynas.config import validate
from raynas.errors import RunFolderError
from raynas.report.reading import read_object, read_parquet
from raynas.runs.folder import RunFolder
from raynas.runs.supernet_journal import Record, SupernetLog, read_supernet_journal
from raynas.runs.supernet_views import decision_rows, history_row
from raynas.supernet_config import SupernetConfig

SEARCH, SELECT = "search", "select"
"""The phases of a run."""

_THETA = (
    *("step", "phase", "epoch", "kind", "edge", "source", "target"),
    *("op", "theta", "decided", "kept"),
)


@dataclass(frozen=True, slots=True)
class SupernetRun:
    """Everything a report of a supernet run is drawn from.

    Attributes:
        path: The run folder.
        config: What was asked.
        manifest: What ran it.
        log: What happened.
        history: As in `history.parquet`; one row or more.
        decisions: As in `decisions.parquet`.
        theta: As in `alpha.parquet`; empty where that is missing.
        best: As in `best.json`; empty before the end.
    """

    path: Path
    config: SupernetConfig
    manifest: Mapping[str, Any]
    log: SupernetLog
    history: pd.DataFrame
    decisions: pd.DataFrame
    theta: pd.DataFrame
    best: Mapping[str, Any]

    @property
    def num_search(self) -> int:
        """Epochs of the search phase so far."""
        return int((self.history["phase"] == SEARCH).sum())

    @property
    def kinds(self) -> list[str]:
        """Names of the kinds of cells that θ is known of."""
        return [] if self.theta.empty else list(dict.fromkeys(map(str, self.theta["kind"])))

    @property
    def searched(self) -> pd.DataFrame:
        """θ after the last epoch of the search phase."""
        of = self.theta[self.theta["phase"] == SEARCH] if not self.theta.empty else self.theta
        return of if of.empty else of[of["step"] == of["step"].max()]

    @property
    def last(self) -> Record:
        """The row of the latest epoch."""
        return history_row(self.log.epochs[-1])


def read_supernet(folder: RunFolder) -> SupernetRun:
    """Read a supernet run.

    Raises:
        RunFolderError: no epoch has been trained yet, or a file cannot be read.
    """
    config = validate(SupernetConfig, folder.read_config(), where=f"{folder.config_name}: ")
    log, _ = read_supernet_journal(folder.journal)
    if not log.epochs:
        raise RunFolderError(f"{folder}: no epoch has been trained yet: nothing to report")
    theta, best = folder.path / "alpha.parquet", folder.path / "best.json"
    return SupernetRun(
        folder.path,
        config,
        folder.read_manifest(),
        log,
        pd.DataFrame([history_row(step) for step in log.epochs]),
        pd.DataFrame(decision_rows(log)),
        read_parquet(theta, _THETA) if theta.exists() else pd.DataFrame(),
        read_object(best) if best.exists() else {},
    )

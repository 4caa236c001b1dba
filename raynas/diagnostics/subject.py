"""The run under diagnosis: its tables, and its supernet at each checkpoint that is left."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from raynas.errors import ConfigError, RunFolderError
from raynas.runs.folder import RunFolder
from raynas.runs.supernet_books import CHECKPOINT, saved_steps, step_name
from raynas.runs.supernet_journal import read_supernet_journal
from raynas.spaces.mixture import CellKind
from raynas.storage import Location, StorePath
from raynas.supernet_setup import SupernetJob
from raynas.supernets.mixture import Mixture
from raynas.supernets.supernet import Supernet
from raynas.supernets.training import SupernetTraining
from raynas.supernets.workers import Alone
from raynas.training.data import DataSplits, load_data_once


@dataclass(frozen=True, slots=True)
class Moment:
    """A checkpoint of the search.

    Attributes:
        step: Its step.
        epoch: Epochs trained by then.
        accuracy: Validation accuracy of the supernet, as the run noted it.
    """

    step: int
    epoch: int
    accuracy: float


@dataclass(frozen=True, slots=True)
class SupernetSubject:
    """A supernet run; goes to whoever measures.

    Attributes:
        folder: The run folder, or copies of its small files.
        checkpoints: Its checkpoints, reachable by all who measure.
        job: What made it, with the data.
        moments: Checkpoints of the search that are left, in order; at least one.
        against: Another supernet run to compare with.
    """

    folder: Path
    checkpoints: Location
    job: SupernetJob
    moments: tuple[Moment, ...]
    against: Path | None = None

    @property
    def kinds(self) -> tuple[CellKind, ...]:
        """The kinds of cells."""
        return self.job.space.kinds

    @property
    def end(self) -> Moment:
        """The latest checkpoint of the search: where selection begins."""
        return self.moments[-1]

    def without_gpus(self) -> "SupernetSubject":
        """Return the run for those who hold no GPU."""
        return replace(self, job=self.job.without_gpus())

    def training(self, step: int) -> SupernetTraining:
        """Return the supernet of a step, a copy of one's own.

        Raises:
            CheckpointError: it cannot be read, or is of another run.
        """
        training = replace(self.job, start=self._path(step)).program(Alone()).training
        assert isinstance(training, SupernetTraining)
        return training

    def restored(self, step: int) -> SupernetTraining:
        """Return the supernet of a step, to be left as it is: kept for the next who asks."""
        path = self._path(step)
        version = path.version() if isinstance(path, StorePath) else path.stat().st_mtime_ns
        key = (str(path.resolve()), version, self.job.training.device)
        if key not in _RESTORED:
            _RESTORED.clear()
            _RESTORED[key] = self.training(step)
        return _RESTORED[key]

    def data(self) -> DataSplits:
        """Return the images, on the device."""
        return load_data_once(self.job.data, self.job.training.placement().device)

    def valid_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the validation part, which neither w nor α has learnt from, in its fixed order."""
        data, training = self.data(), self.job.training
        placement, size = training.placement(), training.valid_batch_size
        images, labels = data.valid.images, data.valid.labels
        pairs = zip(torch.split(images, size), torch.split(labels, size), strict=True)
        for images, labels in pairs:
            yield placement.lay_out(data.normalise(images)), labels

    def _path(self, step: int) -> Location:
        return self.checkpoints / step_name(step) / CHECKPOINT


_RESTORED: dict[tuple[str, object, str], SupernetTraining] = {}


def supernet_subject(run: RunFolder, job: SupernetJob, against: Path | None) -> SupernetSubject:
    """Return a supernet run, ready to be looked at.

    Raises:
        RunFolderError: no checkpoint of its search is left.
    """
    folder, checkpoints = run.path.resolve(), run.checkpoints.resolve()
    log, _ = read_supernet_journal(folder / "journal.jsonl")
    there = set(saved_steps(checkpoints))
    moments = []
    for step in log.epochs:
        if step["phase"] == "search" and step["step"] in there:
            moments.append(Moment(step["step"], step["epoch"], step["metrics"]["accuracy"]))
    if not moments:
        raise RunFolderError(f"{run}: no checkpoint of its search yet, so nothing to diagnose")
    return SupernetSubject(folder, checkpoints, job, tuple(moments), against)


@dataclass(frozen=True, slots=True)
class SearchSubject:
    """A search.

    Attributes:
        folder: The run folder.
        levels: Epochs of each level.
    """

    folder: Path
    levels: tuple[int, ...]

    def table(self, name: str) -> pd.DataFrame:
        """Return one of its Parquet views.

        Raises:
            ConfigError: it is not there.
        """
        return read_view(self.folder, name)


def search_subject(folder: Path, levels: tuple[int, ...]) -> SearchSubject:
    """Return a search, ready to be looked at.

    Raises:
        RunFolderError: no architecture has reached a level yet.
    """
    path = folder / "architectures.parquet"
    if not path.exists() or not (read_view(folder, path.name)["level"] > 0).any():
        raise RunFolderError(
            f"{folder}: no architecture has finished a level yet, so nothing to diagnose"
        )
    return SearchSubject(folder.resolve(), levels)


def read_view(folder: Path, name: str) -> pd.DataFrame:
    """Return a Parquet view of a run.

    Raises:
        ConfigError: it is not there.
        RunFolderError: it cannot be read.
    """
    try:
        return pd.read_parquet(folder / name)
    except FileNotFoundError:
        raise ConfigError(f"{folder}: has no {name} yet") from None
    except (OSError, ValueError, MemoryError) as error:  # Arrow's errors are some of these
        words = " ".join(str(error).split())
        raise RunFolderError(f"{folder / name}: cannot be read: {words}") from None


def some_batches(training: SupernetTraining, count: int) -> list[tuple[Tensor, Tensor]]:
    """Return the first fixed batches of the half of α, as large as those of the search."""
    return list(islice(training.selection_batches(training.config.batch_size), count))


def whole(training: SupernetTraining) -> tuple[Supernet, Mixture]:
    """Return a supernet and its clean mixture under what is decided."""
    return training.supernet, training.mixture()

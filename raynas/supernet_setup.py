"""From a config to the objects of a supernet run. Everything a user can get wrong is found here,
before anything is written or started.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from raynas.config import construct
from raynas.errors import CheckpointError, ConfigError, SpaceError
from raynas.networks.cost import num_params
from raynas.registry import lookup
from raynas.runs.supernet_books import CHECKPOINT, last_of_search, saved_steps, step_name
from raynas.runs.supernet_journal import read_supernet_journal
from raynas.selection import SELECTIONS
from raynas.selection.answer import Selection
from raynas.selection.config import SelectionConfig, selection_config
from raynas.selection.program import SupernetProgram
from raynas.spaces import SPACES
from raynas.spaces.mixture import MixableSpace
from raynas.storage import Location, location
from raynas.supernet_config import SupernetConfig
from raynas.supernets.config import SupernetTrainingConfig
from raynas.supernets.halves import selection_batches, split_halves
from raynas.supernets.method import Method, make_method
from raynas.supernets.training import SupernetTraining
from raynas.supernets.workers import Workers
from raynas.training.checkpoint import load_checkpoint
from raynas.training.data import DataSpec, load_data_once, make_spec


@dataclass(frozen=True, slots=True)
class SupernetParts:
    """A user's own objects; None where the config decides.

    Attributes:
        space: A search space that says what a supernet of it mixes.
        method: How weights and mixing weights are trained.
        selection: How the architecture is read off.
    """

    space: MixableSpace | None = None
    method: Method | None = None
    selection: Selection | None = None

    def given(self) -> list[str]:
        """Return the kinds of objects the user brought."""
        return [kind.name for kind in fields(self) if getattr(self, kind.name) is not None]


@dataclass(frozen=True, slots=True)
class SupernetJob:
    """A run, ready to be sent to workers; they make the objects, with the data where they are.

    Attributes:
        space: What is searched.
        data: What is trained on.
        method: A method that no training has used yet.
        training: Its settings.
        selecting: How the architecture is selected.
        selection: A user's own object for that.
        seed: Every draw derives from it.
        start: A checkpoint of the search phase to begin with; None: begin anew.
    """

    space: MixableSpace
    data: DataSpec
    method: Method
    training: SupernetTrainingConfig
    selecting: SelectionConfig
    selection: Selection | None
    seed: int
    start: Location | None = None

    def program(self, workers: Workers) -> SupernetProgram:
        """Return the program, as it begins.

        Raises:
            UsageError: data, space, method and settings do not fit each other.
            CheckpointError: `start` is of another run, or cannot be read.
        """
        device = self.training.placement().device
        training = SupernetTraining(
            self.space,
            load_data_once(self.data, device),
            deepcopy(self.method),
            self.training,
            self.seed,
            workers,
        )
        if self.start is not None:
            training.load(_training_state(self.start))
        return SupernetProgram(
            self.space, training, self.selecting, self.seed, deepcopy(self.selection)
        )

    @property
    def needs_scores(self) -> bool:
        """Whether candidates are scored at all."""
        return self.selection is not None or self.selecting.name != "magnitude"

    def without_gpus(self) -> "SupernetJob":
        """Return the job for workers that hold no GPU: they must not use one of somebody else."""
        on_cpu = self.training.model_copy(update={"device": "cpu"})
        return replace(self, training=on_cpu)

    def validation(self, device: str) -> "Validation":
        """Return the images that candidates are scored on.

        Args:
            device: Where: ``cpu`` or ``cuda``.
        """
        return Validation(self.data, self.training.model_copy(update={"device": device}))


class Validation:
    """The half of the training images that candidates are scored on, held in memory.

    Args:
        data: The data set.
        training: How it is cut, and where it lies.

    Attributes:
        placement: Device and memory format.
    """

    def __init__(self, data: DataSpec, training: SupernetTrainingConfig) -> None:
        self.placement = training.placement()
        self._data = load_data_once(data, self.placement.device)
        self._part = split_halves(self._data, training.split).alpha

    def batches(
        self, batch_size: int, *, augmented: bool, shuffle_seed: int | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield them in batches, as `SupernetTraining.selection_batches` does."""
        return selection_batches(
            self._data,
            self._part,
            self.placement,
            batch_size,
            augmented=augmented,
            shuffle_seed=shuffle_seed,
        )


@dataclass(frozen=True, slots=True)
class _Planned:
    """Workers that are not there yet."""

    size: int
    rank: int = 0

    def all_reduce_(self, tensors: Any, *, mean: bool = False) -> None:
        raise NotImplementedError

    def broadcast(self, value: Any) -> Any:
        raise NotImplementedError


def set_up_supernet(
    config: SupernetConfig, parts: SupernetParts, *, begun: bool = False
) -> tuple[SupernetJob, dict[str, Any]]:
    """Make every object a run needs, once, to see that all fits.

    Args:
        config: The checked config.
        parts: A user's own objects.
        begun: Whether the run has checkpoints of its own, so that `init_from` is of no more use.

    Returns:
        The job, and what the manifest says of it.

    Raises:
        UsageError: whatever the user got wrong, in one line.
    """
    space = _space(config) if parts.space is None else parts.space
    if not isinstance(space, MixableSpace):
        raise SpaceError(
            f"space {space.name!r} has no supernet: it does not say what one would mix"
        )
    if parts.selection is None:
        lookup("selection", config.selection.name, SELECTIONS)
    method = parts.method or make_method(config.method.name, config.method.options)
    job = SupernetJob(
        space=space,
        data=make_spec(config.data.name, **config.data.options),
        method=method,
        training=method.training_config(config.training),
        selecting=selection_config(config.selection),
        selection=parts.selection,
        seed=config.seed,
        start=None if config.init_from is None or begun else _start(location(config.init_from)),
    )
    return job, _tried(job, config)


def _space(config: SupernetConfig) -> Any:
    target = lookup("space", config.space.name, SPACES)
    return construct("space", target, config.space.options)


def _tried(job: SupernetJob, config: SupernetConfig) -> dict[str, Any]:
    """Make the program on the CPU as its workers will, and describe what came of it."""
    on_cpu = job.training.model_copy(update={"device": "cpu", "amp": "off"})
    try:
        program = replace(job, training=on_cpu).program(_Planned(config.workers))
    except CheckpointError as error:
        raise ConfigError(f"init_from: {job.start}: {error}") from None
    splits = load_data_once(job.data, torch.device("cpu"))
    task = splits.task
    return {
        "data": {
            "name": splits.spec.name,
            "fingerprint": splits.fingerprint(),
            "train_images": len(splits.train),
            "valid_images": len(splits.valid),
        },
        "task": {
            "in_channels": task.in_channels,
            "image_size": task.image_size,
            "num_classes": task.num_classes,
        },
        "supernet": {"num_params": num_params(program.training.supernet)},
        "training": job.training.model_dump(mode="json"),
        "selection": job.selecting.model_dump(mode="json"),
        "num_epochs": program.num_epochs,
    }


def _training_state(path: Location) -> dict[str, Any]:
    state = load_checkpoint(path).get("training")
    if not isinstance(state, dict):
        raise CheckpointError("not a checkpoint of a supernet run")
    return state


def _start(path: Location) -> Location:
    """Return the checkpoint that a run folder, a folder of one or a file means.

    Raises:
        ConfigError: there is none.
    """
    if path.is_file():
        return path.resolve()
    if (path / CHECKPOINT).is_file():
        return (path / CHECKPOINT).resolve()
    checkpoints = path / "checkpoints"
    there = set(saved_steps(checkpoints))
    log, _ = read_supernet_journal(path / "journal.jsonl")
    for step in last_of_search(log):
        if step in there:
            return (checkpoints / step_name(step) / CHECKPOINT).resolve()
    raise ConfigError(
        f"init_from: {path} is no supernet run with a checkpoint of its search, nor a checkpoint"
    )

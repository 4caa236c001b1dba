"""Load what a run found: the network of `best.json`, with the weights it was trained to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.config import construct, read_choice
from raynas.errors import CheckpointError, ConfigError, RunFolderError, StorageError
from raynas.plain import parse_json
from raynas.registry import foreign_code, lookup
from raynas.runs.folder import check_contained
from raynas.spaces import SPACES
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import SearchSpace, TaskShape
from raynas.storage import Location, location
from raynas.training.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from torch import nn


_MOST = 1_000_000
"""Largest number of channels, pixels of a side, or classes, of a network that is loaded."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A trained network and what it is.

    Attributes:
        network: In eval mode, on the CPU.
        space: What built it.
        architecture: Which architecture of the space it is.
        task: What it fits.
        facts: All that `best.json` says.
        folder: The run folder.
    """

    network: "nn.Module"
    space: SearchSpace
    architecture: Architecture
    task: TaskShape
    facts: Mapping[str, Any]
    folder: Location


def load(best: Location | str, *, trust_code: bool = False) -> "nn.Module":
    """Return the best network of a search or a retraining, in eval mode, on the CPU.

    Args:
        best: A run folder or its URI, or the `best.json` in it.
        trust_code: Import a space outside raynas that the file names.

    Raises:
        RunFolderError: no such file, or not one a search with the ``ray`` engine or a retraining
            wrote.
        ConfigError: it names a space outside raynas and that is not trusted.
        CheckpointError: the weights cannot be read.
    """
    return load_with_facts(best, trust_code=trust_code).network


def load_with_facts(best: Location | str, *, trust_code: bool = False) -> Loaded:
    """Return the network as `load` does, and what is known of it."""
    path = location(best)
    path = path / "best.json" if path.is_dir() else path
    try:
        facts = parse_json(path.read_text())
        if facts.get("kind") == "supernet":
            raise RunFolderError(
                f"{path.parent}: a supernet run selects an architecture and trains no network of "
                f"it: `raynas retrain {path.parent}` does"
            )
        choice = read_choice(facts["space"], "space")
        task = _task(**facts["task"])
        text, checkpoint = str(facts["architecture"]), Path(facts["checkpoint"])
        if checkpoint != Path("checkpoints", checkpoint.name):
            raise ValueError(f"its checkpoint {str(checkpoint)!r} is not one of the run's own")
    except StorageError:
        raise
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{path}: not the best.json of a run: {error}") from None
    code = None if trust_code else foreign_code("space", choice.name, choice.options, SPACES)
    if code is not None:
        raise ConfigError(f"{path}: space {code!r} is code outside raynas: trust_code=True")
    space = construct("space", lookup("space", choice.name, SPACES), choice.options)
    architecture = space.parse(text)
    network: nn.Module = space.build(architecture, task)
    check_contained(path.parent, ["checkpoints", "export"])
    _load_weights(network, path.parent / checkpoint.as_posix())
    return Loaded(network.eval(), space, architecture, task, facts, path.parent)


def _task(in_channels: int, image_size: int, num_classes: int) -> TaskShape:
    """Return what a network fits; raises `ValueError` unless it is three plain numbers.

    They stand in the source that is exported, so nothing else may.
    """
    for value in (in_channels, image_size, num_classes):
        if type(value) is not int or not 1 <= value <= _MOST:
            raise ValueError(f"its task holds {value!r}, no number from 1 to {_MOST}")
    return TaskShape(in_channels, image_size, num_classes)


def _load_weights(network: "nn.Module", path: Location) -> None:
    try:
        state = load_checkpoint(path)["state"]
        network.load_state_dict(state["ema"]["network"] if "ema" in state else state["network"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        words = " ".join(str(error).split())
        raise CheckpointError(f"{path.name} is not of this network: {words}"[:400]) from None

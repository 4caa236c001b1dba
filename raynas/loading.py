"""Load what a run found: the network of `best.json`, with the weights it was trained to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.config import Choice, construct
from raynas.errors import ConfigError, RunFolderError
from raynas.registry import foreign_code, lookup
from raynas.spaces import SPACES
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import SearchSpace, TaskShape
from raynas.training.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from torch import nn


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
    folder: Path


def load(best: Path | str, *, trust_code: bool = False) -> "nn.Module":
    """Return the best network of a search or a retraining, in eval mode, on the CPU.

    Args:
        best: A run folder, or the `best.json` in it.
        trust_code: Import a space outside raynas that the file names.

    Raises:
        RunFolderError: no such file, or not one a search with the ``ray`` engine or a retraining
            wrote.
        ConfigError: it names a space outside raynas and that is not trusted.
        CheckpointError: the weights cannot be read.
    """
    return load_with_facts(best, trust_code=trust_code).network


def load_with_facts(best: Path | str, *, trust_code: bool = False) -> Loaded:
    """Return the network as `load` does, and what is known of it."""
    path = Path(best)
    path = path / "best.json" if path.is_dir() else path
    try:
        facts = json.loads(path.read_text())
        if facts.get("kind") == "supernet":
            raise RunFolderError(
                f"{path.parent}: a supernet run selects an architecture and trains no network of "
                f"it: `raynas retrain {path.parent}` does"
            )
        choice = Choice.model_validate(facts["space"])
        task = TaskShape(**facts["task"])
        text, checkpoint = facts["architecture"], Path(facts["checkpoint"])
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{path}: not the best.json of a run: {error}") from None
    code = None if trust_code else foreign_code("space", choice.name, choice.options, SPACES)
    if code is not None:
        raise ConfigError(f"{path}: space {code!r} is code outside raynas: trust_code=True")
    space = construct("space", lookup("space", choice.name, SPACES), choice.options)
    architecture = space.parse(text)
    network: nn.Module = space.build(architecture, task)
    state = load_checkpoint(path.parent / "checkpoints" / checkpoint.name)["state"]
    network.load_state_dict(state["ema"]["network"] if "ema" in state else state["network"])
    return Loaded(network.eval(), space, architecture, task, facts, path.parent)

"""Load what a search found: the network of `best.json`, with the weights it was trained to."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from raynas.config import Choice, construct
from raynas.errors import ConfigError, RunFolderError
from raynas.registry import foreign_code, lookup
from raynas.spaces import SPACES
from raynas.spaces.space import TaskShape
from raynas.training.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from torch import nn


def load(best: Path | str, *, trust_code: bool = False) -> "nn.Module":
    """Return the best network of a run, in eval mode, on the CPU.

    Args:
        best: A run folder, or the `best.json` in it.
        trust_code: Import a space outside raynas that the file names.

    Raises:
        RunFolderError: no such file, or not one a search with the ``ray`` engine wrote.
        ConfigError: it names a space outside raynas and that is not trusted.
        CheckpointError: the weights cannot be read.
    """
    path = Path(best)
    path = path / "best.json" if path.is_dir() else path
    try:
        facts = json.loads(path.read_text())
        if facts.get("kind") == "supernet":
            raise ValueError(
                "a supernet run selects an architecture and trains no network of it (build one "
                "with space.build(space.parse(architecture), task))"
            )
        choice = Choice.model_validate(facts["space"])
        task = TaskShape(**facts["task"])
        text, checkpoint = facts["architecture"], Path(facts["checkpoint"])
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{path}: not the best.json of a search: {error}") from None
    code = None if trust_code else foreign_code("space", choice.name, choice.options, SPACES)
    if code is not None:
        raise ConfigError(f"{path}: space {code!r} is code outside raynas: trust_code=True")
    space = construct("space", lookup("space", choice.name, SPACES), choice.options)
    network: nn.Module = space.build(space.parse(text), task)
    weights = path.parent / "checkpoints" / checkpoint.name
    network.load_state_dict(load_checkpoint(weights)["state"]["network"])
    return network.eval()

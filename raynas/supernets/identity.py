"""What a checkpoint of a supernet must agree on with the training that loads it."""

from collections.abc import Mapping
from typing import Any

from raynas.errors import CheckpointError
from raynas.spaces.mixture import MixableSpace
from raynas.supernets.config import SupernetTrainingConfig
from raynas.supernets.method import Method

_FORMAT = 1


def identity(
    space: MixableSpace, method: Method, config: SupernetTrainingConfig, seed: int
) -> dict[str, Any]:
    """Return what a training is, as plain values: all that decides its result."""
    kinds = [
        {
            "name": kind.name,
            "edges": [list(edge) for edge in kind.edges],
            "ops": [list(ops) for ops in kind.ops],
            "keep": kind.keep,
        }
        for kind in space.kinds
    ]
    return {
        "format": _FORMAT,
        "space": space.name,
        "kinds": kinds,
        "method": method.name,
        "method_options": method.options.model_dump(mode="json"),
        "recipe": config.recipe(),
        "seed": seed,
    }


def check_identity(state: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another training.

    Args:
        state: The checkpoint.
        mine: `identity` of the training here.

    Raises:
        CheckpointError: what they differ in first, in one line.
    """
    if state.get("format") != _FORMAT:
        raise CheckpointError(
            f"a checkpoint of format {state.get('format')!r}, not {_FORMAT} as written here"
        )
    if state["space"] != mine["space"]:
        raise CheckpointError(f"a supernet of space {state['space']}, not of {mine['space']}")
    if state["kinds"] != mine["kinds"]:
        raise CheckpointError(f"a supernet of space {mine['space']} with other cells or ops")
    for key in ("method", "seed"):
        if state[key] != mine[key]:
            raise CheckpointError(f"trained with {key} {state[key]!r}, not {mine[key]!r}")
    for key, prefix in (("method_options", "method."), ("recipe", "training.")):
        for name, value in mine[key].items():
            old = state[key].get(name)
            if old != value:
                raise CheckpointError(f"trained with {prefix}{name} {old!r}, not {value!r}")

"""A network as a Python file of its own: nothing but torch, only what this network uses.

The modules have the names that raynas gives them, so the weights are the network's own, in
safetensors. Each kind of network has a writer; a network of somebody else's has none.
"""

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from raynas.errors import UsageError
from raynas.exporting.checking import largest_difference
from raynas.exporting.darts_source import darts_source
from raynas.exporting.nasbench_source import (
    nasbench101_source,
    nasbench201_source,
    user_cell_source,
)
from raynas.loading import Loaded
from raynas.networks.cell_network import CellNetwork
from raynas.networks.nasbench101_network import NasBench101Network
from raynas.networks.nasbench201_network import NasBench201Network
from raynas.networks.user_cell_network import UserCellNetwork
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.darts import DartsFamily
from raynas.spaces.nasbench101 import NasBench101
from raynas.spaces.nasbench201 import NasBench201

_WRITERS: dict[type, tuple[type, Callable[[Any, Any, Any], str]]] = {
    CellNetwork: (DartsFamily, darts_source),
    NasBench201Network: (NasBench201, nasbench201_source),
    NasBench101Network: (NasBench101, nasbench101_source),
    UserCellNetwork: (CellSpace, user_cell_source),
}
"""For each kind of network the space that says what it is, and the writer of its modules."""

_HEAD = '''\
"""{title}

{text}

Takes images B x {channels} x {size} x {size} (float32{normalised}); gives logits B x {classes}.
Needs torch and safetensors, nothing else. Written by raynas {version}.

    network = load("{weights}")
    classes = network(images).argmax(1)
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

'''

_TAIL = '''

def load(weights=Path(__file__).with_name("{weights}")):
    """Return the trained network, in eval mode, on the CPU."""
    network = Network()
    network.load_state_dict(load_file(weights))
    return network.eval()


if __name__ == "__main__":
    print(load()(torch.zeros(1, {channels}, {size}, {size})))
'''


def write_source(loaded: Loaded, path: Path, notes: Mapping[str, Any]) -> float:
    """Write the file, and its weights beside it; return how far its logits are from the network's.

    Args:
        loaded: The network and what it is.
        path: The ``.py`` file; the weights get the suffix ``.safetensors``.
        notes: ``mean``, ``std`` and ``raynas`` are used.

    Raises:
        UsageError: raynas has no writer for such a network, or it computes something else.
    """
    weights = path.with_suffix(".safetensors")
    code = source_of(loaded, weights.name, notes)
    module: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    exec(compile(code, path.name, "exec"), module)  # our own text, to try it
    network: nn.Module = module["Network"]()
    # Parameters that never run (edges that lead nowhere) have no place in the file.
    state = loaded.network.state_dict()
    kept = {name: state[name].contiguous() for name in network.state_dict()}
    network.load_state_dict(kept)
    difference = largest_difference(loaded.network, network.eval(), loaded.task, path.name)
    path.write_text(code)
    save_file(kept, weights, metadata={"architecture": loaded.architecture.text})
    return difference


def source_of(loaded: Loaded, weights: str, notes: Mapping[str, Any]) -> str:
    """Return the text of the file.

    Args:
        loaded: The network and what it is.
        weights: Name of the file of the weights.
        notes: See `write_source`.

    Raises:
        UsageError: raynas has no writer for such a network.
    """
    kind, space, task = type(loaded.network), loaded.space, loaded.task
    family, writer = _WRITERS.get(kind, (None, None))
    if family is None or writer is None or not isinstance(space, family):
        raise UsageError(
            f"format: raynas writes no source of {kind.__name__}, which is code of its own "
            "(allowed for it: pt2, onnx)"
        )
    mean, std = notes.get("mean"), notes.get("std")
    known = mean is not None and std is not None
    fields = {
        "title": f"The network of an architecture of the space {space.name}.",
        "text": "\n".join(textwrap.wrap(loaded.architecture.text, 96, break_on_hyphens=False)),
        "channels": task.in_channels,
        "size": task.image_size,
        "classes": task.num_classes,
        "normalised": ", (pixel - MEAN) / STD of each channel" if known else "",
        "weights": weights,
        "version": notes["raynas"],
    }
    constants = f"MEAN = {_numbers(mean)}\nSTD = {_numbers(std)}\n" if known else ""
    body: str = writer(space, loaded.architecture, task)
    return (
        _HEAD.format(**fields)
        + constants
        + "\n\n"
        + body.strip("\n")
        + "\n"
        + _TAIL.format(**fields)
    )


def _numbers(values: Any) -> str:
    return "(" + "".join(f"{value:.6g}, " for value in values).strip() + ")"

"""A network as a torch.export program (``.pt2``): graph and weights in one file, any batch size."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from raynas.errors import UsageError
from raynas.exporting.checking import example_images, largest_difference, plain_layout
from raynas.spaces.space import TaskShape
from raynas.training.arrays import one_line

NOTES = "raynas.json"
"""Name of the notes in the file (``extra_files`` of `torch.export.load`)."""


def trace(network: nn.Module, task: TaskShape) -> torch.export.ExportedProgram:
    """Return the program of a network in eval mode, for any number of images.

    Raises:
        UsageError: torch cannot follow what the network does.
    """
    images = example_images(task, 2)
    batch = torch.export.Dim("batch", min=1)
    try:
        with torch.no_grad():
            return torch.export.export(
                plain_layout(network), (images,), dynamic_shapes=({0: batch},)
            )
    except Exception as error:  # a network of somebody else's can do anything
        raise UsageError(
            f"torch.export cannot follow {type(network).__name__}: {one_line(error)}"
        ) from error


def write_program(
    network: nn.Module, task: TaskShape, path: Path, notes: Mapping[str, Any]
) -> float:
    """Write the program and return how far its logits are from the network's.

    Args:
        network: In eval mode, on the CPU.
        task: What it fits.
        path: The ``.pt2`` file.
        notes: JSON values to keep in the file.

    Raises:
        UsageError: it cannot be exported, or computes something else.
    """
    torch.export.save(trace(network, task), path, extra_files={NOTES: json.dumps(notes)})
    again = torch.export.load(path).module()
    return largest_difference(network, again, task, path.name)

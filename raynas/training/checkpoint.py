"""Checkpoints: written whole or not at all, and read without running anything in them."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from raynas.errors import CheckpointError


def save_checkpoint(path: Path, state: dict[str, Any], *, sync: bool = False) -> None:
    """Write `state` to a temporary file beside `path` and swap it in.

    Args:
        path: Where the checkpoint goes; its folder must exist.
        state: Tensors, numbers, strings and containers of them.
        sync: Wait until it is on disk, so that it survives a power cut too, not only a kill.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing in it is ever executed (``weights_only``).

    Raises:
        CheckpointError: missing, truncated, or holding anything but plain values.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        words = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path.name} cannot be read: {words}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path.name} holds no state")
    return state

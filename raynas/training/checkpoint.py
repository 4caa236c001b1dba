"""Checkpoints: written whole or not at all, and read without running anything in them."""

import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch

from raynas.errors import CheckpointError
from raynas.training.arrays import one_line


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


def earlier(path: Path) -> Path:
    """Return where `keep_as_earlier` keeps what a checkpoint was."""
    return path.with_name(f"{path.stem}-earlier{path.suffix}")


def keep_as_earlier(path: Path) -> None:
    """Keep a checkpoint, which is about to be replaced, as the one to fall back to.

    At every moment both files are whole, or not there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.earlier.tmp")
    try:
        try:
            os.link(path, temporary)
        except OSError:  # some mounts know no hard links
            shutil.copyfile(path, temporary)
        temporary.replace(earlier(path))
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing in it is ever executed (``weights_only``).

    Raises:
        CheckpointError: missing, truncated, or holding anything but plain values.
    """
    try:
        # Torch would take another file for one of its older formats, with more ways to fail.
        if not zipfile.is_zipfile(path):
            path.stat()  # missing? then say so
            raise CheckpointError(f"{path.name} cannot be read: truncated, or not a checkpoint")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError:  # torch's message advises to load it all the same
        raise CheckpointError(
            f"{path.name} cannot be read: it holds objects other than tensors and plain values"
        ) from None
    except Exception as error:  # damaged bytes make torch raise nearly anything
        raise CheckpointError(f"{path.name} cannot be read: {one_line(error)}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path.name} holds no state")
    return state

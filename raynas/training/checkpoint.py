"""Checkpoints: written whole or not at all, and read without running anything in them."""

import io
import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch

from raynas.disk import writing
from raynas.errors import CheckpointError, StorageError
from raynas.storage import Location, StorePath
from raynas.training.arrays import one_line


def save_checkpoint(path: Location, state: dict[str, Any], *, sync: bool = False) -> None:
    """Write `state` to a temporary file beside `path` and swap it in; or into a store, whole.

    Args:
        path: Where the checkpoint goes; a local one's folder must exist.
        state: Tensors, numbers, strings and containers of them.
        sync: Wait until it is on disk, so that it survives a power cut too, not only a kill.

    Raises:
        DiskFullError: there is no room; what `path` held is untouched.
        OSError: it cannot be written.
    """
    content = io.BytesIO()
    torch.save(state, content)  # into a full disk it would raise anything but an OSError
    if isinstance(path, StorePath):
        path.write_bytes(content.getvalue())
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with writing(path), temporary.open("wb") as file:
            file.write(content.getbuffer())
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def earlier(path: Location) -> Location:
    """Return where `keep_as_earlier` keeps what a checkpoint was."""
    return path.with_name(_earlier_name(path))


def _earlier_name(path: Location) -> str:
    return f"{path.stem}-earlier{path.suffix}"


def keep_as_earlier(path: Location) -> None:
    """Keep a checkpoint, which is about to be replaced, as the one to fall back to.

    At every moment both files are whole, or not there.
    """
    if isinstance(path, StorePath):
        path.copy_to(path.with_name(_earlier_name(path)))
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.earlier.tmp")
    try:
        try:
            os.link(path, temporary)
        except OSError:  # some mounts know no hard links
            shutil.copyfile(path, temporary)
        temporary.replace(path.with_name(_earlier_name(path)))
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Location) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing in it is ever executed (``weights_only``).

    Raises:
        CheckpointError: missing, truncated, or holding anything but plain values.
        StorageError: the store that it is in cannot be read: no fault of the checkpoint.
    """
    try:
        file: Path | io.BytesIO = path if isinstance(path, Path) else io.BytesIO(path.read_bytes())
        # Torch would take another file for one of its older formats, with more ways to fail.
        if not zipfile.is_zipfile(file):
            if isinstance(path, Path):
                path.stat()  # missing? then say so
            raise CheckpointError(f"{path.name} cannot be read: truncated, or not a checkpoint")
        if not isinstance(file, Path):
            file.seek(0)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (CheckpointError, StorageError):
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

"""Read data sets: digits that ship with scikit-learn, .npz files, image folders, torchvision's.

A reader gives what there is, unsplit. The test part stays unread until it is asked for.
"""

import fcntl
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raynas.errors import DataError, nearest
from raynas.training.arrays import Arrays, Layout, check_arrays, one_line

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel, in raw pixel units."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a data set offers.

    Attributes:
        train: Training part; what is missing below is cut from it.
        valid: Validation part, if it has one of its own.
        read_test: Reads the test part, if it has one of its own.
        flip: Whether a mirrored image still is of its class, unless the user says otherwise.
        statistics: Published normalisation; None to compute it from the training part.
    """

    train: Arrays
    valid: Arrays | None = None
    read_test: Callable[[], Arrays] | None = None
    flip: bool = True
    statistics: Statistics | None = None


def read_digits() -> Source:
    """Read 1,797 real 8 x 8 images of handwritten digits (UCI, shipped with scikit-learn)."""
    from sklearn.datasets import load_digits  # a second to import, needed here only

    digits = load_digits()
    images = digits.images.astype(np.uint8)
    return Source(
        check_arrays(images, digits.target, images_name="digits", labels_name="digits"), flip=False
    )


# -- npz -------------------------------------------------------------------------------------------

_NPZ_KEYS = ("x_train", "y_train", "x_valid", "y_valid", "x_test", "y_test")
_NPZ_ERRORS: tuple[type[Exception], ...] = (
    *(OSError, ValueError, EOFError, MemoryError, KeyError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


def read_npz(path: Path, layout: Layout | None = None) -> Source:
    """Read ``x_train, y_train`` and, where present, ``x_valid, y_valid, x_test, y_test``.

    Raises:
        DataError: no such file, not an .npz, keys missing or misspelt, arrays malformed.
    """
    with _open_npz(path) as file:
        keys = set(file.files)
        _check_npz_keys(path, keys)
        train = _npz_part(path, file, "train", layout)
        valid = _npz_part(path, file, "valid", layout) if "x_valid" in keys else None

    def read_test() -> Arrays:
        with _open_npz(path) as file:
            return _npz_part(path, file, "test", layout)

    return Source(train, valid, read_test if "x_test" in keys else None)


@contextmanager
def _open_npz(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        file = np.load(path, allow_pickle=False)
    except _NPZ_ERRORS as error:
        raise DataError(f"{path}: not a readable .npz file: {_reason(error)}") from None
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise DataError(
            f"{path}: holds one bare array; save an .npz with {', '.join(_NPZ_KEYS[:2])}"
        )
    with file:
        yield file


def _check_npz_keys(path: Path, keys: set[str]) -> None:
    listed = ", ".join(sorted(keys)[:12]) or "nothing"
    for key in sorted(keys - set(_NPZ_KEYS)):
        if key.lower().startswith(("x_", "y_")):
            raise DataError(
                f"{path}: unknown key {key!r}{nearest(key.lower(), _NPZ_KEYS)} "
                f"(allowed: {', '.join(_NPZ_KEYS)})"
            )
    needed = {"x_train", "y_train"}
    for part in ("valid", "test"):
        pair = {f"x_{part}", f"y_{part}"}
        needed |= pair if pair & keys else set()
    for key in sorted(needed - keys):
        hint = nearest(key, keys - set(_NPZ_KEYS))
        raise DataError(f"{path}: no {key!r}{hint} (it holds {listed})")


def _npz_part(path: Path, file: Any, part: str, layout: Layout | None) -> Arrays:
    x, y = f"x_{part}", f"y_{part}"
    return check_arrays(
        _npz_array(path, file, x),
        _npz_array(path, file, y),
        images_name=f"{path}: {x}",
        labels_name=f"{path}: {y}",
        layout=layout,
    )


def _npz_array(path: Path, file: Any, key: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = file[key]
    except _NPZ_ERRORS as error:
        raise DataError(f"{path}: {key} cannot be read: {_reason(error)}") from None
    return array


def _reason(error: Exception) -> str:
    if "allow_pickle" in str(error) or "Object arrays" in str(error):
        return "it holds pickled Python objects, which raynas never loads"
    return one_line(error)


# -- torchvision -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Published:
    """How one of torchvision's data sets is asked for. Statistics: algorithms.md §2.1."""

    train: dict[str, Any]
    test: dict[str, Any]
    flip: bool = True
    statistics: Statistics | None = None


def _of_255(mean: tuple[float, ...], std: tuple[float, ...]) -> Statistics:
    return tuple(255 * m for m in mean), tuple(255 * s for s in std)


_BY_FLAG: dict[str, Any] = {"train": {"train": True}, "test": {"train": False}}
TORCHVISION: dict[str, _Published] = {
    "CIFAR10": _Published(
        **_BY_FLAG, statistics=_of_255((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    ),
    "CIFAR100": _Published(
        **_BY_FLAG, statistics=_of_255((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
    ),
    "SVHN": _Published(
        train={"split": "train"},
        test={"split": "test"},
        flip=False,
        statistics=_of_255((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    ),
    "FashionMNIST": _Published(**_BY_FLAG),
}


def read_torchvision(name: str, folder: Path | None, download: bool) -> Source:
    """Read one of `TORCHVISION` from `folder` (default ``~/.cache/raynas/data``).

    Raises:
        DataError: unknown name, torchvision missing or broken, data not there or damaged.
    """
    if name not in TORCHVISION:
        hint = nearest(name, TORCHVISION) or nearest(name.upper(), TORCHVISION)
        raise DataError(
            f"torchvision:{name}: unknown data set{hint} (allowed: {', '.join(TORCHVISION)})"
        )
    published = TORCHVISION[name]
    folder = folder or Path.home() / ".cache" / "raynas" / "data"

    def read(part: dict[str, Any]) -> Arrays:
        data = _open_torchvision(name, folder, download, part)
        labels = data.targets if hasattr(data, "targets") else data.labels
        label = f"torchvision:{name}"
        return check_arrays(
            np.asarray(data.data), np.asarray(labels), images_name=label, labels_name=label
        )

    return Source(
        read(published.train),
        read_test=lambda: read(published.test),
        flip=published.flip,
        statistics=published.statistics,
    )


def _open_torchvision(name: str, folder: Path, download: bool, part: dict[str, Any]) -> Any:
    try:
        from torchvision import datasets
    except Exception as error:  # a torchvision of another torch fails in many ways
        raise DataError(
            f"torchvision:{name}: cannot import torchvision ({one_line(error)}): "
            "pip install 'raynas[vision]'"
        ) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(folder):
            return getattr(datasets, name)(str(folder), download=download, **part)
    except Exception as error:
        hint = "" if download else "; to fetch it, set data.download to true"
        raise DataError(
            f"torchvision:{name}: cannot be read from {folder}: {one_line(error)}{hint}"
        ) from error


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep two workers of one machine from downloading into the same files."""
    with (folder / ".lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# -- names -----------------------------------------------------------------------------------------

KINDS = ("digits", "npz", "imagefolder", "torchvision")
_USAGE = "allowed: digits, npz:PATH, imagefolder:PATH, torchvision:NAME"


def parse_name(name: str) -> tuple[str, str]:
    """Split ``kind:argument``; paths become absolute, so that workers find them too.

    Raises:
        DataError: unknown kind, or the argument is missing.
    """
    kind, colon, argument = name.partition(":")
    if kind not in KINDS:
        raise DataError(f"data: unknown {name!r}{nearest(kind, KINDS)} ({_USAGE})")
    if kind == "digits" and colon:
        raise DataError(f"data: {name!r}: nothing goes after 'digits' ({_USAGE})")
    if kind != "digits" and not argument:
        raise DataError(f"data: {name!r} does not say which ({_USAGE})")
    if kind in ("npz", "imagefolder"):
        argument = os.path.abspath(os.path.expanduser(argument))
    return kind, argument

"""Read a folder of images, one sub-folder a class, or ``train``, ``valid``, ``test`` of such.

Needs Pillow. All images are held in memory, so this is for data sets of some gigabytes at most.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raynas.errors import DataError
from raynas.training.arrays import Arrays, check_arrays, one_line
from raynas.training.datasets import Source

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm"})
_GREY = frozenset({"1", "L", "LA"})


def read_imagefolder(path: Path, image_size: int | None = None) -> Source:
    """Read the images below `path`; classes are numbered in the order of their names.

    Args:
        path: Holds class folders, or ``train``, ``valid`` (or ``val``), ``test`` with the same
            class folders each.
        image_size: Side to resize to (the shorter side, then the middle is cut out); None if all
            images are square and of one size.

    Raises:
        DataError: nothing there, classes that do not match, an unreadable image, sizes that
            differ, or no Pillow.
    """
    if not path.is_dir():
        raise DataError(f"{path}: no such folder")
    folders = {folder.name for folder in _folders(path)}
    parts = folders & {"train", "valid", "val", "test"}
    if not parts:
        return Source(_Reader(path, image_size).read(path))
    if "train" not in parts:
        raise DataError(f"{path}: has {', '.join(sorted(parts))}, but no train folder")
    if {"valid", "val"} <= parts:
        raise DataError(f"{path}: has both valid and val: which one?")
    reader = _Reader(path / "train", image_size)
    train = reader.read(path / "train")
    grey = train.images.shape[-1] == 1
    valid = next((reader.read(path / p, grey=grey) for p in ("valid", "val") if p in parts), None)
    read_test = (lambda: reader.read(path / "test", grey=grey)) if "test" in parts else None
    return Source(train, valid, read_test)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads parts of a data set whose classes are the sub-folders of `classes_of`."""

    classes_of: Path
    image_size: int | None

    def read(self, folder: Path, *, grey: bool | None = None) -> Arrays:
        """Read one part; `grey` None means: one channel if no image has colours."""
        classes = [sub.name for sub in _folders(self.classes_of)]
        if not classes:
            raise DataError(f"{folder}: no class folders in it")
        unknown = {sub.name for sub in _folders(folder)} - set(classes)
        if unknown:
            raise DataError(
                f"{folder}: class {min(unknown)!r} is not in {self.classes_of} "
                f"(which has {', '.join(classes[:10])})"
            )
        files = [(label, f) for label, name in enumerate(classes) for f in _files(folder / name)]
        if not files:
            raise DataError(f"{folder}: no images in it (of {', '.join(sorted(_SUFFIXES))})")
        images = [_open(file) for _, file in files]
        if grey is None:
            grey = all(image.mode in _GREY for image in images)
        pixels = [
            self._pixels(image.convert("L" if grey else "RGB"), file)
            for image, (_, file) in zip(images, files, strict=True)
        ]
        self._check_sizes(pixels, files)
        labels = np.array([label for label, _ in files])
        name = str(folder)
        return check_arrays(
            np.stack(pixels), labels, images_name=name, labels_name=name, layout="NHWC"
        )

    def _pixels(self, image: Any, file: Path) -> NDArray[np.uint8]:
        if self.image_size is not None:
            image = _resize(image, self.image_size)
        pixels = np.asarray(image, dtype=np.uint8)
        return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]

    def _check_sizes(self, pixels: list[NDArray[np.uint8]], files: list[tuple[int, Path]]) -> None:
        height, width = pixels[0].shape[:2]
        for image, (_, file) in zip(pixels, files, strict=True):
            if image.shape[:2] != (height, width) or height != width:
                raise DataError(
                    f"{file}: {image.shape[1]} x {image.shape[0]} pixels, the first image has "
                    f"{width} x {height}: give data.image_size to make all square and equal"
                )


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(sub for sub in path.iterdir() if sub.is_dir() and not sub.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (f for f in folder.iterdir() if f.suffix.lower() in _SUFFIXES and f.is_file())
    return sorted(f for f in found if not f.name.startswith("."))


def _open(file: Path) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise DataError(
            f"{file.parent}: reading image folders needs the package Pillow: pip install pillow"
        ) from None
    try:
        with Image.open(file) as image:
            image.load()
            # A palette may be of greys or of colours; a converted copy says which.
            return image.convert("RGB") if image.mode == "P" else image.copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: not a readable image: {one_line(error)}") from None


def _resize(image: Any, size: int) -> Any:
    from PIL import Image

    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return resized.crop((left, top, left + size, top + size))

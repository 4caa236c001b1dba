"""Images and labels as a user brings them, checked: every way they can be wrong, in one line."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from raynas.errors import DataError

Layout = Literal["NHWC", "NCHW"]

_SHAPES = "N x H x W, N x H x W x C or N x C x H x W"


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """Checked images and labels.

    Attributes:
        images: `N x S x S x C`, uint8 or float32, finite, as they came (not normalised).
        labels: `N` int64 classes, at least 0.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> "Arrays":
        """Return the images and labels at `indices`, in the order of the data."""
        chosen = np.sort(indices)
        return Arrays(self.images[chosen], self.labels[chosen])


def check_arrays(
    images: NDArray[Any],
    labels: NDArray[Any],
    *,
    images_name: str,
    labels_name: str,
    layout: Layout | None = None,
) -> Arrays:
    """Return the arrays in raynas' own form.

    Args:
        images: Square images, uint8 or integers in [0, 255] or finite floats.
        labels: One integer class per image, from 0.
        images_name: What to call the images in errors.
        labels_name: What to call the labels in errors.
        layout: Where the channels are; None if the shape says it.

    Raises:
        DataError: whatever is wrong first.
    """
    images = _check_images(np.asarray(images), images_name, layout)
    labels = _check_labels(np.asarray(labels), labels_name)
    if len(images) != len(labels):
        raise DataError(
            f"{images_name} holds {len(images)} images, but {labels_name} {len(labels)} labels"
        )
    return Arrays(images, labels)


def check_classes(labels: NDArray[np.int64], name: str, num_classes: int | None = None) -> int:
    """Return the number of classes of training labels; each must have a training image.

    Args:
        labels: `N` classes.
        name: What to call them in errors.
        num_classes: How many there must be; None: as many as the highest says.

    Raises:
        DataError: fewer than two classes, or a class without an image.
    """
    count = (int(labels.max()) + 1 if len(labels) else 0) if num_classes is None else num_classes
    classes = np.unique(labels)
    if len(classes) < min(count, 2) or count < 2:
        raise DataError(f"{name}: {len(labels)} images of {len(classes)} classes; need two classes")
    if len(classes) < count:
        missing = min(set(range(len(classes) + 1)) - set(classes.tolist()))
        raise DataError(
            f"{name}: class {missing} has no training image: "
            f"labels must be 0 to {count - 1} with every class present"
        )
    return count


def check_alike(part: Arrays, train: Arrays, num_classes: int, name: str) -> Arrays:
    """Return `part` if it is of the same kind as the training part.

    Raises:
        DataError: another image shape or type, or a class that was never trained on.
    """
    if part.images.shape[1:] != train.images.shape[1:]:
        raise DataError(
            f"{name}: images are {_size(part.images)}, but training images {_size(train.images)}"
        )
    if part.images.dtype != train.images.dtype:
        raise DataError(
            f"{name}: pixels are {part.images.dtype}, but training pixels {train.images.dtype}"
        )
    highest = int(part.labels.max())
    if highest >= num_classes:
        raise DataError(
            f"{name}: label {highest} is out of range: "
            f"the training part has classes 0 to {num_classes - 1}"
        )
    return part


def one_line(error: BaseException) -> str:
    """Return the message of an error of somebody else's on one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _size(images: NDArray[Any]) -> str:
    return " x ".join(map(str, images.shape[1:]))


def _check_images(images: NDArray[Any], name: str, layout: Layout | None) -> NDArray[Any]:
    if images.ndim not in (3, 4):
        raise DataError(f"{name}: images must be {_SHAPES}, not of shape {images.shape}")
    if 0 in images.shape:
        raise DataError(f"{name}: holds no images (shape {images.shape})")
    return np.ascontiguousarray(_check_pixels(_channels_last(images, name, layout), name))


def _channels_last(images: NDArray[Any], name: str, layout: Layout | None) -> NDArray[Any]:
    if images.ndim == 3:
        images, layout = images[..., np.newaxis], "NHWC"
    _, a, b, c = images.shape
    if layout is None:
        if a == b == c:
            raise DataError(
                f"{name}: shape {images.shape} does not say where the channels are: "
                "give data.layout, NHWC or NCHW"
            )
        layout = "NCHW" if b == c else "NHWC"
    if layout == "NCHW":
        images = images.transpose(0, 2, 3, 1)
    if images.shape[1] != images.shape[2]:
        raise DataError(
            f"{name}: images of shape {(a, b, c) if c > 1 else (a, b)} are not square: "
            "networks need S x S pixels"
        )
    return images


def _check_pixels(images: NDArray[Any], name: str) -> NDArray[Any]:
    kind = images.dtype.kind
    if kind == "b":
        return images.astype(np.uint8)
    if kind in "iu":
        low, high = int(images.min()), int(images.max())
        if low < 0 or high > 255:
            raise DataError(f"{name}: integer pixels from {low} to {high}; allowed: 0 to 255")
        return images.astype(np.uint8)
    if kind != "f":
        raise DataError(f"{name}: pixels of type {images.dtype}; allowed: uint8 or floats")
    with np.errstate(over="ignore"):  # an overflow shows as inf just below
        images = images.astype(np.float32)
    broken = ~np.isfinite(images).reshape(len(images), -1).all(axis=1)
    if broken.any():
        raise DataError(
            f"{name}: {int(broken.sum())} images hold NaN or infinite pixels, "
            f"the first is number {int(broken.argmax())}"
        )
    return images


def _check_labels(labels: NDArray[Any], name: str) -> NDArray[np.int64]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"{name}: labels must be one class number per image, not of shape {labels.shape}"
        )
    if labels.dtype.kind not in "iub":
        raise DataError(f"{name}: labels must be integers from 0, not {labels.dtype}")
    if len(labels) and int(labels.min()) < 0:
        raise DataError(f"{name}: label {int(labels.min())} is negative: classes count from 0")
    if len(labels) and int(labels.max()) >= 2**31:
        raise DataError(f"{name}: label {int(labels.max())} is out of range")
    return labels.astype(np.int64)

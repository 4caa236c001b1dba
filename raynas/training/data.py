"""Data sets, split once and for all: what is trained on, what decides, what is kept for the end.

The test part is never loaded unless asked for by name (`DataSplits.load_test`), so nothing in a
search can select by it.
"""

import hashlib
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from raynas.config import Section, validate
from raynas.errors import ConfigError, DataError
from raynas.seeds import derive_rng
from raynas.spaces.space import TaskShape
from raynas.training.arrays import Arrays, Layout, check_alike, check_classes
from raynas.training.augment import Augmentation, default_crop_padding
from raynas.training.datasets import (
    Source,
    Statistics,
    parse_name,
    read_digits,
    read_npz,
    read_torchvision,
)
from raynas.training.imagefolder import read_imagefolder
from raynas.training.splitting import Cut, cut, stratified_order


class DataSpec(Section):
    """Which data and how it is split; small, hashable, and enough to load it anywhere.

    Attributes:
        name: ``digits``, ``npz:PATH``, ``imagefolder:PATH`` or ``torchvision:NAME``.
        seed: Decides splits and subsets; not the run's seed, so that all runs share them.
        valid_fraction: Share of the training images that validate, where no part of their own is.
        test_fraction: Share kept for the end, likewise.
        train_size: Train on that many only (class shares kept); None for all.
        valid_size: Validate on that many only; None for all.
        crop_padding: Border of random crops; None: 4 from 32 pixels on, 2 for 16, 1 for 8.
        flip: Mirror images at random; None: yes but for digits and house numbers.
        image_size: Side to resize the images of a folder to.
        layout: Where an array's channels are, if its shape does not say.
        folder: Where torchvision keeps its files; None: ``~/.cache/raynas/data``.
        download: Whether torchvision may fetch what is not there.
    """

    name: str = "digits"
    seed: int = Field(0, ge=0)
    valid_fraction: float = Field(0.2, gt=0, lt=1)
    test_fraction: float = Field(0.15, ge=0, lt=1)
    train_size: int | None = Field(None, ge=2)
    valid_size: int | None = Field(None, ge=1)
    crop_padding: int | None = Field(None, ge=0)
    flip: bool | None = None
    image_size: int | None = Field(None, ge=4)
    layout: Layout | None = None
    folder: str | None = None
    download: bool = False


_ONLY_FOR = {"image_size": "imagefolder", "layout": "npz", "folder": "torchvision"}
_ONLY_FOR |= {"download": "torchvision"}


def make_spec(name: str, **options: Any) -> DataSpec:
    """Check a name and its options without reading any data.

    Raises:
        DataError: unknown kind of data.
        ConfigError: an option that is unknown, out of range, or not for this kind.
    """
    kind, argument = parse_name(name)
    resolved = f"{kind}:{argument}" if argument else kind
    spec = validate(DataSpec, {**options, "name": resolved}, where="data.")
    for option, only in _ONLY_FOR.items():
        if option in options and kind != only:
            raise ConfigError(f"data.{option}: is for {only} only, not for {kind!r}")
    if spec.valid_fraction + spec.test_fraction >= 1:
        raise ConfigError(
            f"data.valid_fraction: {spec.valid_fraction:g} and test_fraction "
            f"{spec.test_fraction:g} leave nothing to train on"
        )
    return spec


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Images as they came, and their classes.

    Attributes:
        images: `N x S x S x C`, uint8 or float32 (that order makes channels-last batches free).
        labels: `N` int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Part":
        """Return the part on `device`."""
        return Part(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, slots=True, eq=False)
class DataSplits:
    """A data set ready to train on.

    Attributes:
        spec: Where it came from.
        task: What a network must fit.
        train: Training part.
        valid: Validation part.
        mean: `C` float32, mean of each channel in raw pixel units.
        std: `C` float32, standard deviation likewise.
        augmentation: What training images go through by default.
        has_test: Whether there is a part that is kept for the end.
    """

    spec: DataSpec
    task: TaskShape
    train: Part
    valid: Part
    mean: Tensor
    std: Tensor
    augmentation: Augmentation
    has_test: bool = True

    def normalise(self, images: Tensor) -> Tensor:
        """Turn raw images `B x S x S x C` into what networks see: `B x C x S x S` float32."""
        return ((images - self.mean) / self.std).permute(0, 3, 1, 2)

    def to(self, device: torch.device) -> "DataSplits":
        """Return the splits with all tensors on `device`."""
        return replace(
            self,
            train=self.train.to(device),
            valid=self.valid.to(device),
            mean=self.mean.to(device),
            std=self.std.to(device),
        )

    def train_on_all(self) -> "DataSplits":
        """Return the splits with the validation images among those to train on, and none left."""
        images = torch.cat([self.train.images, self.valid.images])
        labels = torch.cat([self.train.labels, self.valid.labels])
        return replace(
            self,
            train=Part(images, labels),
            valid=Part(images[len(images) :], labels[len(labels) :]),
        )

    def load_test(self) -> Part:
        """Read the part that nothing in a search has seen. For final figures only.

        Raises:
            DataError: there is none, or it is malformed.
        """
        source = _read(self.spec)
        num_classes = self.task.num_classes
        if source.read_test is not None:
            arrays = source.read_test()
            arrays = check_alike(arrays, source.train, num_classes, f"{self.spec.name}: test")
        else:
            arrays = source.train.take(_cut(source, self.spec).test)
        if not len(arrays):
            raise DataError(f"{self.spec.name}: has no test part (data.test_fraction is too small)")
        return _part(arrays).to(self.train.images.device)

    def fingerprint(self) -> str:
        """Return a hash of the training and validation arrays."""
        digest = hashlib.blake2b(digest_size=16)
        for tensor in self._tensors():
            array = tensor.cpu().numpy()
            digest.update(f"{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.train.images, self.train.labels, self.valid.images, self.valid.labels


def load_data(spec: str | DataSpec, **options: Any) -> DataSplits:
    """Read, check and split a data set.

    Args:
        spec: ``digits``, ``npz:PATH``, ``imagefolder:PATH``, ``torchvision:NAME``; or a spec.
        options: Fields of `DataSpec`, with a name.

    Raises:
        DataError: what is wrong with the data, in one line.
        ConfigError: what is wrong with the options.
    """
    if isinstance(spec, str):
        spec = make_spec(spec, **options)
    elif options:
        raise ConfigError("data: give a spec, or a name with options, not both")
    source = _read(spec)
    name = spec.name
    num_classes = check_classes(source.train.labels, name)
    parts = _cut(source, spec)
    valid = source.train.take(parts.valid) if source.valid is None else source.valid
    train = _subset(source.train.take(parts.train), spec.train_size, spec, "train_size")
    valid = _subset(valid, spec.valid_size, spec, "valid_size")
    if not len(valid):
        raise DataError(f"{name}: no image is left to validate on (data.valid_fraction)")
    check_classes(train.labels, f"{name}, training part", num_classes)
    check_alike(valid, train, num_classes, f"{name}: validation")
    mean, std = source.statistics or _statistics(train.images, name)
    size, channels = train.images.shape[1], train.images.shape[3]
    border = default_crop_padding(size) if spec.crop_padding is None else spec.crop_padding
    return DataSplits(
        spec=spec,
        task=TaskShape(channels, size, num_classes),
        train=_part(train),
        valid=_part(valid),
        mean=torch.tensor(mean),
        std=torch.tensor(std),
        augmentation=Augmentation(border, source.flip if spec.flip is None else spec.flip),
        has_test=source.read_test is not None or len(parts.test) > 0,
    )


def load_data_once(spec: DataSpec, device: torch.device, *, whole: bool = False) -> DataSplits:
    """Return the data on `device`, kept in this process for the next who asks.

    A file that changed meanwhile is read again.

    Args:
        spec: Which data.
        device: Where it is to be.
        whole: Whether the validation images are among those to train on.
    """
    return (_load_whole_once if whole else _load_once)(spec, device, _stamp(spec))


def load_test_once(spec: DataSpec, device: torch.device) -> Part:
    """Return the test part on `device`, kept likewise. For figures that decide nothing."""
    return _load_test_once(spec, device, _stamp(spec))


@lru_cache(maxsize=2)
def _load_once(spec: DataSpec, device: torch.device, stamp: int) -> DataSplits:
    return load_data(spec).to(device)


@lru_cache(maxsize=1)
def _load_whole_once(spec: DataSpec, device: torch.device, stamp: int) -> DataSplits:
    return load_data(spec).train_on_all().to(device)


@lru_cache(maxsize=1)
def _load_test_once(spec: DataSpec, device: torch.device, stamp: int) -> Part:
    return _load_once(spec, device, stamp).load_test()


def _stamp(spec: DataSpec) -> int:
    _, argument = parse_name(spec.name)
    path = Path(argument)
    return path.stat().st_mtime_ns if argument and path.is_absolute() and path.exists() else 0


def _read(spec: DataSpec) -> Source:
    kind, argument = parse_name(spec.name)
    match kind:
        case "digits":
            return read_digits()
        case "npz":
            return read_npz(Path(argument), spec.layout)
        case "imagefolder":
            return read_imagefolder(Path(argument), spec.image_size)
        case _:
            folder = Path(os.path.expanduser(spec.folder)) if spec.folder else None
            return read_torchvision(argument, folder, spec.download)


def _cut(source: Source, spec: DataSpec) -> Cut:
    return cut(
        source.train.labels,
        derive_rng(spec.seed, "split"),
        valid_fraction=spec.valid_fraction if source.valid is None else 0.0,
        test_fraction=spec.test_fraction if source.read_test is None else 0.0,
    )


def _subset(part: Arrays, size: int | None, spec: DataSpec, option: str) -> Arrays:
    if size is None:
        return part
    if size > len(part):
        raise DataError(f"data.{option}: {size} asked for, but {spec.name} has {len(part)} there")
    return part.take(stratified_order(part.labels, derive_rng(spec.seed, option))[:size])


def _part(arrays: Arrays) -> Part:
    return Part(torch.from_numpy(arrays.images), torch.from_numpy(arrays.labels))


def _statistics(images: NDArray[Any], name: str) -> Statistics:
    """Return mean and standard deviation per channel; a constant channel is only centred."""
    pixels = images.reshape(-1, images.shape[-1])
    if images.dtype == np.uint8:  # a histogram is exact, and needs no float copy of the images
        counts = np.stack([np.bincount(c, minlength=256) for c in pixels.T]) / len(pixels)
        mean = counts @ np.arange(256.0)
        variance = counts @ np.arange(256.0) ** 2 - mean**2
    else:
        mean = pixels.mean(axis=0, dtype=np.float64)
        variance = pixels.var(axis=0, dtype=np.float64)
    std = np.sqrt(np.maximum(variance, 0.0))
    if (std <= 1e-7 * np.maximum(np.abs(mean), 1.0)).all():
        raise DataError(f"{name}: every training pixel has the same value ({mean[0]:g})")
    std = np.where(std > 0, std, 1.0)
    return tuple(mean.tolist()), tuple(std.tolist())

"""The two halves, and the batches of an epoch: nothing lost, nothing doubled, shared out."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch

from raynas.errors import ConfigError
from raynas.supernets.config import SupernetTrainingConfig
from raynas.supernets.halves import Feed, check_batches, selection_batches, split_halves
from raynas.supernets.workers import Alone
from raynas.training.augment import Augmentation
from raynas.training.data import load_data
from raynas.training.placement import Placement

CPU = Placement(torch.device("cpu"))


class OneOf(Alone):
    def __init__(self, rank, size):
        self.rank, self.size = rank, size


@pytest.fixture(scope="module")
def digits():
    """100 digits that are told apart by one pixel, and never augmented."""
    data = load_data("digits", train_size=100, valid_size=10)
    images = data.train.images.clone()
    images[:, 0, 0, 0] = torch.arange(100).to(images)
    data = replace(data, augmentation=Augmentation(), train=replace(data.train, images=images))
    return replace(data, mean=torch.zeros(1), std=torch.ones(1))


def numbers(images):
    return images[:, 0, 0, 0].int().tolist()


def flat(lists):
    return list(chain.from_iterable(lists))


def test_halves_are_disjoint_stratified_and_in_order(digits):
    halves = split_halves(digits, 0.5)
    first, second = (part.images[:, 0, 0, 0].tolist() for part in (halves.weights, halves.alpha))
    assert sorted(first + second) == list(range(100))
    assert (len(first), first, second) == (50, sorted(first), sorted(second))
    counts = [np.bincount(part.labels, minlength=10) for part in (halves.weights, halves.alpha)]
    assert np.abs(counts[0] - counts[1]).max() <= 1
    again = split_halves(digits, 0.5)
    assert torch.equal(again.alpha.labels, halves.alpha.labels)
    other = split_halves(replace(digits, spec=digits.spec.model_copy(update={"seed": 1})), 0.5)
    assert not torch.equal(other.weights.images, halves.weights.images)
    assert len(split_halves(digits, 0.8).weights) == 80


@pytest.mark.parametrize("size", [1, 2, 3])
def test_workers_share_every_batch(digits, size):
    part = split_halves(digits, 0.5).weights
    shares = []
    for rank in range(size):
        feed = Feed(digits, CPU, OneOf(rank, size))
        generator = torch.Generator().manual_seed(0)
        shares.append(list(feed.epoch(part, generator, batch_size=16, cutout_probability=0)))
    steps = list(zip(*shares, strict=True))
    joint = [flat(numbers(batch.images) for batch in batches) for batches in steps]
    assert [len(batch) for batch in joint] == [13, 13, 12, 12]
    assert sorted(flat(joint)) == sorted(numbers(part.images.permute(0, 3, 1, 2)))
    alone = Feed(digits, CPU, Alone()).epoch(
        part, torch.Generator().manual_seed(0), batch_size=16, cutout_probability=0
    )
    assert joint == [numbers(batch.images) for batch in alone]
    for batches in steps:
        assert sum(batch.share for batch in batches) == pytest.approx(1)
        assert {batch.total for batch in batches} <= {12, 13}


def test_passes_without_end_are_each_in_a_new_order(digits):
    part = split_halves(digits, 0.5).alpha
    feed = Feed(digits, CPU, Alone())
    batches = feed.endless(
        part, torch.Generator().manual_seed(0), batch_size=25, cutout_probability=0
    )
    passes = [[numbers(next(batches).images) for _ in range(2)] for _ in range(2)]
    first, second = map(flat, passes)
    assert sorted(first) == sorted(second)
    assert first != second


def test_cutout_hits_the_share_it_should(digits):
    part = replace(digits.train, images=torch.ones_like(digits.train.images))
    feed = Feed(digits, CPU, Alone(), cutout=4)

    def holes(probability):
        generator = torch.Generator().manual_seed(0)
        batch = next(feed.epoch(part, generator, batch_size=100, cutout_probability=probability))
        return int((batch.images == 0).flatten(1).any(dim=1).sum())

    assert holes(0) == 0
    assert holes(1) == 100
    assert 35 < holes(0.5) < 65


def test_selection_batches_have_the_class_shares_of_the_whole(digits):
    part = split_halves(digits, 0.5).alpha
    for _, labels in selection_batches(digits, part, CPU, 25):
        assert np.bincount(labels, minlength=10).min() >= 1
    with pytest.raises(ValueError, match="shuffle_seed"):
        next(selection_batches(digits, part, CPU, 25, augmented=True))


def test_workers_need_two_images_each(digits):
    halves = split_halves(digits, 0.5)
    check_batches(halves, SupernetTrainingConfig(batch_size=8), 3)
    with pytest.raises(ConfigError, match="batches of 7 images are too small for 4 workers"):
        check_batches(halves, SupernetTrainingConfig(batch_size=8), 4)

"""What several rooms of tests share: a toy supernet run, one thread, equality down to the bits."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from raynas.runs.supernet_books import CHECKPOINT, saved_steps, step_name
from raynas.training.checkpoint import load_checkpoint

SUPERNET: dict[str, Any] = {
    "space": {"name": "nasbench201", "channels": 2, "cells_per_stage": 1},
    "data": {"name": "digits", "train_size": 60, "valid_size": 20},
    "method": "darts",
    "selection": {"name": "perturbation", "tune_epochs": 1, "batch_size": 15},
    "training": {"epochs": 2, "batch_size": 15},
    "checkpoints": {"keep_last": 2, "keep_every": 1},
}
"""A supernet run of seconds."""


def supernet_config(**changes: Any) -> dict[str, Any]:
    """Return `SUPERNET` with some of its sections changed: `training={"epochs": 3}`."""
    changed = dict(SUPERNET)
    for name, value in changes.items():
        before = changed.get(name)
        both = isinstance(before, dict) and isinstance(value, dict) and "name" not in value
        changed[name] = {**before, **value} if both else value
    return changed


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute on one thread, as workers do; sums of several threads differ in the last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_equal(one: Any, other: Any) -> None:
    """Hold two nested states to each other bit by bit, but for the seconds they took."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - {"time_s"}:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        assert one == other


def final_state(folder: Any) -> Any:
    """Return what the latest checkpoint of a supernet run holds."""
    checkpoints = folder / "checkpoints"
    return load_checkpoint(checkpoints / step_name(saved_steps(checkpoints)[-1]) / CHECKPOINT)

"""Learning-rate and drop-path schedules as functions of the epoch: nothing to save or restore.

A schedule spans the *full* length of training, however far a network is trained for now
(algorithms.md §6.2): pausing and resuming moves along one and the same curve.
"""

import math


def cosine(
    epochs_done: float,
    full_epochs: int,
    *,
    peak: float,
    floor: float = 0.0,
    warmup_epochs: float = 0.0,
) -> float:
    """Return the learning rate of linear warm-up followed by one half cosine.

    Args:
        epochs_done: In ``[0, full_epochs]``; a fraction within an epoch.
        full_epochs: Where the cosine reaches `floor`.
        peak: Learning rate at the end of the warm-up.
        floor: Learning rate at the very end.
        warmup_epochs: Length of the linear rise from 0 to `peak`.
    """
    if epochs_done < warmup_epochs:
        return peak * epochs_done / warmup_epochs
    progress = (epochs_done - warmup_epochs) / (full_epochs - warmup_epochs)
    return floor + (peak - floor) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def linear(
    epochs_done: float,
    full_epochs: int,
    *,
    peak: float,
    floor: float = 0.0,
    tail_epochs: int = 0,
) -> float:
    """Return the learning rate of a straight fall from `peak` to `floor`.

    With a tail, the fall would reach `floor` where the tail begins; over the tail what one epoch
    takes off is spread out (PC-DARTS on ImageNet, with 5 epochs).

    Args:
        epochs_done: In ``[0, full_epochs]``.
        full_epochs: Where `floor` is reached.
        peak: Learning rate at the start.
        floor: Learning rate at the very end.
        tail_epochs: Length of the tail, fewer than `full_epochs`.
    """
    steep = full_epochs - tail_epochs
    left = full_epochs - epochs_done
    if left > tail_epochs:
        share = (steep - epochs_done) / steep
    else:
        share = left / (steep * tail_epochs) if tail_epochs else 0.0
    return floor + (peak - floor) * max(share, 0.0)


def exponential(epochs_done: int, *, peak: float, floor: float = 0.0, decay: float) -> float:
    """Return the learning rate that is multiplied by `decay` after every epoch, at least `floor`.

    Args:
        epochs_done: Whole epochs.
        peak: Learning rate of the first.
        floor: Least learning rate.
        decay: In (0, 1].
    """
    return max(floor, peak * decay**epochs_done)


def linear_ramp(epochs_done: float, full_epochs: int, *, maximum: float) -> float:
    """Return a value that rises from 0 to `maximum` over training (drop-path probability)."""
    return maximum * min(epochs_done / full_epochs, 1.0)

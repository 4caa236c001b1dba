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


def linear_ramp(epochs_done: float, full_epochs: int, *, maximum: float) -> float:
    """Return a value that rises from 0 to `maximum` over training (drop-path probability)."""
    return maximum * min(epochs_done / full_epochs, 1.0)

"""Successive elimination: give up on candidates that are clearly behind on the batches seen.

Candidates see the same batches, so they are compared by paired differences. After `t` of `T`
batches one is out if it lies behind the best by more than ``z * sd * sqrt(1 - t/T) / sqrt(t)``: the
standard error of the mean of `t` differences drawn without replacement from `T`.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from raynas.seeds import derive_rng
from raynas.selection.config import Criterion, RacingConfig
from raynas.selection.scoring import CandidateScore, Request, Scorer, totals
from raynas.supernets.candidates import BatchScores

_Values = NDArray[np.float64]


def race(
    request: Request,
    score: Scorer,
    config: RacingConfig,
    *,
    num_batches: int,
    criterion: Criterion,
    most: bool,
    seed: int,
    round: int = 0,
) -> list[CandidateScore]:
    """Score the options of a request on as many batches as it takes.

    Args:
        request: Candidates, on fixed batches.
        score: Scores some options on some batches.
        config: When to look, and how sure to be.
        num_batches: Batches there are, T.
        criterion: What is compared.
        most: Whether the candidate is sought without which the supernet does worst; else best.
        seed: Order in which batches are seen.
        round: Written into the scores.

    Returns:
        Scores of all options, each over the batches it stayed for. Who is sought is the best of
        those with the largest count.
    """
    order = derive_rng(seed, "batches").permutation(num_batches)
    alive, seen = list(request.options), 0
    sign = 1.0 if most == (criterion == "loss") else -1.0
    parts: dict[int, list[BatchScores]] = {option: [] for option in alive}
    while seen < num_batches and len(alive) > 1:
        step = config.min_batches if seen == 0 else config.stride
        batches = tuple(sorted(int(b) for b in order[seen : seen + step]))
        found = score(replace(request, options=tuple(alive), batches=batches))
        for row, option in enumerate(alive):
            parts[option].append(_row(found, row))
        seen += len(batches)
        values = np.array([_values(parts[option], criterion) for option in alive])
        alive = [alive[i] for i in survivors(sign * values, num_batches, config.z)]
    return [totals((option,), _joined(parts[option]), round)[0] for option in request.options]


def survivors(values: _Values, num_batches: int, z: float) -> list[int]:
    """Return the rows that may yet have the largest mean.

    Args:
        values: `candidates x t`, one for each batch seen; larger is better.
        num_batches: How many batches there are in all.
        z: Standard errors that a candidate may lie behind.
    """
    seen = values.shape[1]
    if seen >= num_batches:
        return list(range(len(values)))
    behind = values[np.argmax(values.mean(axis=1))] - values
    error = behind.std(axis=1, ddof=1) * np.sqrt((1 - seen / num_batches) / seen)
    return [int(i) for i in np.flatnonzero(behind.mean(axis=1) <= z * error)]


def _values(parts: Sequence[BatchScores], criterion: Criterion) -> _Values:
    """Return what is compared of one candidate, a batch each; the mean is that of all images."""
    joined = _joined(parts)
    sums = joined.loss if criterion == "loss" else joined.correct
    found: _Values = sums[0] / joined.count.mean()
    return found


def _row(scores: BatchScores, row: int) -> BatchScores:
    return replace(scores, correct=scores.correct[row : row + 1], loss=scores.loss[row : row + 1])


def _joined(parts: Sequence[BatchScores]) -> BatchScores:
    return replace(
        parts[0],
        correct=np.concatenate([p.correct for p in parts], axis=1),
        loss=np.concatenate([p.loss for p in parts], axis=1),
        count=np.concatenate([p.count for p in parts]),
    )

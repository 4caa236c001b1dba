"""From the pool of a finished search to a table of learning curves.

`raynas table build` is a search that trains a random sample (or all) of a space to full length and
proposes nothing else; what it reported, epoch by epoch, becomes the table.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raynas.config import Choice
from raynas.errors import DataError
from raynas.scheduling.candidate import Candidate
from raynas.scheduling.events import Event, Reported
from raynas.scheduling.pool import Pool
from raynas.tabular.files import PROXY_PREFIX
from raynas.tabular.format import Header

_COUNTS = ("num_params", "flops")


def config_of(
    space: str | Mapping[str, Any],
    data: str | Mapping[str, Any],
    *,
    count: int,
    epochs: int,
    seed: int,
) -> dict[str, Any]:
    """Return the config of the search that trains `count` architectures in full, and no more."""
    return {
        "space": space,
        "data": data,
        "levels": [epochs],
        "budget": str(count * epochs),
        "policy": {"name": "full", "initial": count, "per_round": count, "max_pool": count},
        "proposer": "random",
        "level0": {"mode": "off"},
        "training": {"test": True},
        "seed": seed,
    }


def table_of(
    events: Iterable[Event], levels: Sequence[int], name: str, space: Choice
) -> tuple[Header, list[str], dict[str, Any]]:
    """Return header, texts and columns of what a search has trained to full length.

    Selection is ``valid_accuracy_eE`` at each epoch E, the report ``test_accuracy_eE`` at the last
    (validation, where there was no test part). Architectures that failed keep their row, with no
    accuracies from there on; those not trained to the end yet have none.

    Raises:
        DataError: nothing has been trained to full length.
    """
    pool, seconds = Pool(levels), dict[tuple[int, int], float]()
    for event in events:
        pool.record(event)
        if isinstance(event, Reported):
            seconds[event.id, event.epoch] = event.time_s
    length = pool.epochs_per_level[-1]
    done = [c for c in pool if c.epochs == length or c.error is not None]
    if not any(c.epochs == length for c in done):
        raise DataError(f"{name}: no architecture has been trained to {length} epochs yet")
    done.sort(key=lambda candidate: candidate.text)
    epochs = list(range(1, length + 1))
    columns: dict[str, Any] = {}
    for epoch in epochs:
        columns[f"valid_accuracy_e{epoch}"] = _column(done, epoch, "accuracy")
        columns[f"valid_loss_e{epoch}"] = _column(done, epoch, "loss")
    tested = any("test_accuracy" in c.metrics.get(length, {}) for c in done)
    if tested:
        columns |= {
            f"test_accuracy_e{epoch}": _column(done, epoch, "test_accuracy") for epoch in epochs
        }
    times = np.array([[seconds.get((c.id, e), np.nan) for e in epochs] for c in done])
    times = times.cumsum(axis=1).astype(np.float32)
    columns |= {f"time_s_e{e}": times[:, e - 1] for e in epochs}
    for count in _COUNTS:
        columns[count] = _column(done, length, count).astype(np.float64)
    columns[f"{PROXY_PREFIX}params"] = columns["num_params"]
    columns[f"{PROXY_PREFIX}flops"] = columns["flops"]
    report = "test_accuracy" if tested else "valid_accuracy"
    header = Header(
        name=name,
        space=space,
        fidelity="curve",
        selection={e: f"valid_accuracy_e{e}" for e in epochs},
        report=f"{report}_e{length}",
        time_s={e: f"time_s_e{e}" for e in epochs},
    )
    return header, [c.text for c in done], columns


def _column(candidates: Sequence[Candidate], epoch: int, metric: str) -> NDArray[np.float32]:
    values = [c.metrics.get(epoch, {}).get(metric, np.nan) for c in candidates]
    return np.array(values, dtype=np.float32)

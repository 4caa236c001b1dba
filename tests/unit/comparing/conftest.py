import numpy as np
import pytest

from raynas.spaces.nasbench201 import NasBench201
from raynas.tabular.table import AccuracyTable


def make_table(separate=True, proxies=True, count=120):
    """A table of NAS-Bench-201 cells whose quality is their number of 3x3 convolutions, nearly."""
    space, found = NasBench201(), {}
    rng = np.random.default_rng(3)
    while len(found) < count:
        architecture = space.sample(rng)
        found.setdefault(space.key(architecture), architecture.text)
    texts = tuple(found.values())
    quality = np.array([text.count("3x3") for text in texts]) / 12 + rng.random(count) * 0.2
    final = 0.3 + quality / 2
    accuracy = np.stack([final * 0.6 + rng.normal(0, 0.02, count), final], axis=1)
    return AccuracyTable(
        name="toy",
        space=space,
        texts=texts,
        epochs=(2, 10),
        accuracy=accuracy,
        report=final - 0.01,
        report_metric="test",
        separate_runs=separate,
        proxies={"params": quality + rng.normal(0, 0.05, count)} if proxies else {},
    )


@pytest.fixture
def table():
    return make_table()

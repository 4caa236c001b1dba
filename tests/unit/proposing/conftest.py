"""Searches of NAS-Bench-201 for planted treasure: what is good there is known, and looked up."""

import pytest

from raynas.proposing.answer import Answer
from raynas.scheduling.budget import Budget
from raynas.scheduling.full import FullPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Search
from raynas.scheduling.simulate import simulate
from raynas.scheduling.snapshot import PoolRecord, PoolSnapshot
from raynas.spaces.nasbench201 import NasBench201
from raynas.testing import FakeObjective

PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))


class Planted(FakeObjective):
    """Accuracy: mean over the paths of a cell of the share of 3x3 convolutions on them."""

    def __init__(self, failing=()):
        super().__init__(failing)
        self.space = NasBench201()

    def quality(self, architecture):
        conv = [op == "nor_conv_3x3" for op in self.space.ops(architecture)]
        return sum(sum(conv[e] for e in path) / len(path) for path in PATHS) / len(PATHS)

    def metrics(self, text, epoch):
        super().metrics(text, epoch)  # raises if it is made to fail
        accuracy = self.quality(self.space.parse(text)) * epoch / 4
        return {"accuracy": accuracy, "loss": 1 - accuracy}


@pytest.fixture(scope="session")
def planted():
    return Planted()


@pytest.fixture
def search():
    """Return a function: run a proposer on planted NAS-Bench-201 and return the pool."""

    def run(proposer, *, evaluations=60, seed=0, per_round=5, policy=None, objective=None):
        levels = (1, 2, 4)
        if policy is None:
            budget = Budget(levels[-1] * evaluations)
            policy = FullPolicy(levels, budget, per_round=per_round, initial=per_round)
        state = Search(NasBench201(), policy, Pool(levels), seed=seed)
        simulate(state, objective or Planted(), Answer("own", proposer))
        return state.pool

    return run


@pytest.fixture
def pool_of():
    """Return a function: a pool of one level from pairs of architecture and accuracy.

    None as accuracy is a candidate that waits, NaN one that failed.
    """

    def make(pairs, *, space=None):
        space = space or NasBench201()
        records = [
            PoolRecord(
                id=i,
                text=architecture.text,
                key=space.key(architecture),
                level=int(accuracy is not None and accuracy == accuracy),
                level_accuracy=(accuracy,) if accuracy is not None and accuracy == accuracy else (),
                proxies={},
                failed=accuracy is not None and accuracy != accuracy,
            )
            for i, (architecture, accuracy) in enumerate(pairs)
        ]
        return PoolSnapshot(1, (1, 2, 4), tuple(records), ())

    return make

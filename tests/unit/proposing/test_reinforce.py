import json

import numpy as np
import pytest

from raynas.errors import ConfigError, InvalidArchitectureError
from raynas.proposing import PROPOSERS
from raynas.proposing.random import RandomProposer, draw_new
from raynas.proposing.reinforce import ReinforceProposer, common_level, rewards_at
from raynas.registry import lookup
from raynas.scheduling.budget import Budget
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.snapshot import PoolRecord, PoolSnapshot
from raynas.spaces.architecture import Architecture
from raynas.spaces.nasbench201 import OPS, NasBench201
from raynas.testing import ProposerContract, ToySpace

NAN = float("nan")
EMPTY = PoolSnapshot(0, (1, 2, 4), (), ())
CONV = OPS.index("nor_conv_3x3")


class Digits(ToySpace):
    """The toy space by its numbers' last digit and the rest: choices of different sizes."""

    def choices(self):
        return tuple(map(str, range(-(-self.size // 10)))), tuple("0123456789")

    def from_choices(self, indices):
        return Architecture(self.name, f"a{indices[0] * 10 + indices[1]}")

    def to_choices(self, architecture):
        return divmod(int(architecture.text[1:]), 10)


class TestContract(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: ReinforceProposer(Digits(space.size))


class TestContractOfNasBench201(ProposerContract):
    @pytest.fixture
    def space(self):
        return NasBench201()

    @pytest.fixture
    def make_proposer(self):
        return lambda space: ReinforceProposer(
            Digits(space.size) if isinstance(space, ToySpace) else space, lr=0.5
        )


def test_is_found_by_name():
    assert lookup("proposer", "reinforce", PROPOSERS) is ReinforceProposer


def test_draws_evenly_at_first():
    proposer = ReinforceProposer(Digits(35))
    np.testing.assert_allclose(proposer.probabilities[0], [1 / 4] * 4 + [0] * 6)
    np.testing.assert_allclose(proposer.probabilities[1], [1 / 10] * 10)
    drawn = proposer.propose(EMPTY, 35, np.random.default_rng(0))
    assert {a.text for a in drawn} == {f"a{i}" for i in range(35)}


def test_probability_moves_towards_what_is_rewarded(search):
    space = NasBench201()
    proposer = ReinforceProposer(space, lr=0.1)
    search(proposer, evaluations=150)
    chances = proposer.probabilities[:, CONV]
    assert (chances > 0.2).sum() >= 5
    assert chances.mean() > 0.5
    assert chances[3] == max(chances)  # the edge that is a path of its own weighs most


def test_beats_random_search(search):
    mean = {}
    for make in (lambda space: ReinforceProposer(space, lr=0.1), RandomProposer):
        pools = [search(make(NasBench201()), evaluations=100, seed=seed) for seed in range(3)]
        mean[make] = np.mean([[c.accuracy for c in list(pool)[-30:]] for pool in pools])
    learnt, drawn = mean.values()
    assert learnt > drawn + 0.15


def test_first_steps_by_hand(pool_of):
    """The first reward is its own baseline; Adam's first step that counts is nearly `lr`."""
    space = Digits(40)
    taught = [(Architecture("toy", "a10"), 0.5), (Architecture("toy", "a23"), 0.9)]
    pool = pool_of(taught, space=space)
    proposer = ReinforceProposer(space, lr=0.1, momentum=0.9)
    proposer.propose(pool, 1, np.random.default_rng(0))
    state = proposer.state_dict()
    assert state["steps"] == 2
    assert state["learnt"] == [0, 1]
    baseline = (0.9 * 0.1 * 0.5 + 0.1 * 0.9) / (0.9 * 0.1 + 0.1)
    np.testing.assert_allclose(state["baseline"][0] / state["baseline"][1], baseline)
    gradient = (0.9 - baseline) * (np.arange(10) == 3) - (0.9 - baseline) / 10
    first = 0.1 * gradient / (1 - 0.9**2)
    second = 0.001 * gradient**2 / (1 - 0.999**2)
    np.testing.assert_allclose(state["logits"][1], 0.1 * first / (np.sqrt(second) + 1e-8))
    assert np.argmax(proposer.probabilities[0]) == 2
    np.testing.assert_array_equal(proposer.probabilities[0, 4:], 0)


def test_everybody_teaches_once_and_the_failed_as_the_worst(pool_of):
    space = Digits(40)
    cells = [Architecture("toy", f"a{i}") for i in (11, 22, 33, 34)]
    proposer = ReinforceProposer(space)
    pool = pool_of(list(zip(cells, (0.2, 0.8, NAN, None), strict=True)), space=space)
    assert rewards_at(pool, 1) == {0: 0.2, 1: 0.8, 2: 0.2}
    proposer.propose(pool, 1, np.random.default_rng(0))
    before = proposer.state_dict()
    assert before["learnt"] == [0, 1, 2]
    proposer.propose(pool, 1, np.random.default_rng(0))
    assert proposer.state_dict() == before
    assert proposer.probabilities[1, 3] < proposer.probabilities[1, 2]


def records(*curves):
    return tuple(
        PoolRecord(i, f"a{i}", f"a{i}", len(curve), curve, {}, False)
        for i, curve in enumerate(curves)
    )


def test_rewards_are_of_one_level():
    half = PoolSnapshot(1, (1, 2, 4), records((0.1, 0.5), (0.2,), (0.3, 0.6), (0.4,), ()), ())
    assert common_level(half) == 1
    assert rewards_at(half, 1) == {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4}
    more = PoolSnapshot(1, (1, 2, 4), records((0.1, 0.5), (0.2,), (0.3, 0.6)), ())
    assert common_level(more) == 2
    assert rewards_at(more, 2) == {0: 0.5, 2: 0.6}
    assert common_level(EMPTY) == 0
    assert rewards_at(EMPTY, 1) == {}


def test_a_new_level_has_a_baseline_of_its_own():
    proposer = ReinforceProposer(Digits(40))
    first = PoolSnapshot(1, (1, 2, 4), records((0.1,), (0.2,)), ())
    proposer.propose(first, 1, np.random.default_rng(0))
    higher = PoolSnapshot(1, (1, 2, 4), records((0.1, 0.7), (0.2, 0.8), (0.1, 0.9)), ())
    proposer.propose(higher, 1, np.random.default_rng(0))
    state = proposer.state_dict()
    assert state["level"] == 2
    np.testing.assert_allclose(state["baseline"], [0.1 * 0.9, 0.1])
    assert state["learnt"] == [0, 1, 2]


def test_continues_after_a_restart(search):
    space = NasBench201()
    proposer = ReinforceProposer(space, lr=0.1)
    pool = search(proposer, evaluations=30).snapshot()
    other = ReinforceProposer(space, lr=0.1)
    other.load_state_dict(json.loads(json.dumps(proposer.state_dict())))
    first, second = (p.propose(pool, 5, np.random.default_rng(1)) for p in (proposer, other))
    assert first == second
    assert proposer.state_dict() == other.state_dict()


def test_proposes_new_ones_when_the_policy_knows_but_one(pool_of):
    space = Digits(40)
    proposer = ReinforceProposer(space)
    state = proposer.state_dict()
    state["logits"] = [[100.0, *[0.0] * 9]] * 2
    proposer.load_state_dict(state)
    proposed = proposer.propose(EMPTY, 3, np.random.default_rng(0))
    assert proposed[0].text == "a0"
    assert len(set(proposed)) == 3


def test_proposes_only_what_the_space_holds():
    """A table may hold a part of what can be chosen."""

    class Even(Digits):
        def parse(self, text):
            if int(text[1:]) % 2:
                raise InvalidArchitectureError("odd")
            return super().parse(text)

    proposed = ReinforceProposer(Even(40)).propose(EMPTY, 15, np.random.default_rng(0))
    assert all(int(a.text[1:]) % 2 == 0 for a in proposed)


def test_works_under_early_stopping(search):
    proposer = ReinforceProposer(NasBench201(), lr=0.1)
    pool = search(proposer, policy=NoshPolicy((1, 2, 4), Budget(300)))
    assert proposer.state_dict()["level"] == 1
    assert proposer.probabilities[:, CONV].mean() > 0.4
    assert max(c.level for c in pool) == 3


def test_needs_choices():
    with pytest.raises(ConfigError, match="reinforce needs a space of fixed choices; toy has none"):
        ReinforceProposer(ToySpace())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"lr": 0}, r"proposer\.lr: 0 must be"), ({"momentum": 1.0}, r"proposer\.momentum: 1 must")],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        ReinforceProposer(NasBench201(), **options)


def test_choices_of_nasbench201():
    for space in (NasBench201(), NasBench201(ops=("none", "nor_conv_3x3"))):
        assert space.choices() == (space.allowed_ops,) * 6
        for architecture in draw_new(space, set(), 10, np.random.default_rng(0)):
            indices = space.to_choices(architecture)
            assert space.from_choices(indices) == architecture
            named = tuple(options[i] for options, i in zip(space.choices(), indices, strict=True))
            assert named == space.ops(architecture)

"""A space cut down by limits: nothing over them is ever drawn, and it is exhausted exactly."""

import pickle
from collections import Counter

import numpy as np
import pytest

from raynas.errors import ConfigError
from raynas.proposing.random import draw_new
from raynas.spaces.architecture import Architecture
from raynas.spaces.costs import Costs, FunctionCost
from raynas.spaces.limited import LimitedSpace, ListedSpace, allows, bulk, limited
from raynas.spaces.nasbench201 import NasBench201
from raynas.testing import SpaceContract, ToySpace

OPS = ("none", "skip_connect", "nor_conv_3x3")


def convolutions(architecture):
    return architecture.text.count("nor_conv")


def number(architecture):
    return int(architecture.text[1:])


def costs(function=convolutions, highest=2, *, instant=False, minimised=()):
    source = FunctionCost(function, "f", instant)
    limits = {} if highest is None else {"flops": highest}
    return Costs({"flops": source}, limits, minimised)


class TestListed(SpaceContract):
    @pytest.fixture
    def space(self):
        return limited(NasBench201(ops=OPS), costs(instant=True))


class TestJudgedOneByOne(SpaceContract):
    @pytest.fixture
    def space(self):
        return limited(NasBench201(ops=OPS), costs())


@pytest.mark.parametrize("instant", [True, False])
def test_nothing_over_a_limit_is_met(instant):
    base = NasBench201(ops=OPS)
    space = limited(base, costs(instant=instant))
    assert isinstance(space, ListedSpace) == instant
    rng = np.random.default_rng(0)
    seen = [space.sample(rng) for _ in range(200)]
    seen += [space.mutate(architecture, rng) for architecture in seen[:50]]
    seen += [near for architecture in seen[:20] for near in space.neighbours(architecture)]
    assert max(map(convolutions, seen)) == 2
    assert all(allows(space, architecture) for architecture in seen)
    over = base.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|none~0|none~1|none~2|")
    assert not space.allows(over)
    assert space.parse(over.text) == over  # reading is not judging


@pytest.mark.parametrize("instant", [True, False])
def test_is_exhausted_exactly(instant):
    base = NasBench201(ops=OPS)
    space = limited(base, costs(instant=instant))
    found = draw_new(space, set(), 10_000, np.random.default_rng(0))
    expected = {base.key(a) for a in base if convolutions(a) <= 2}
    assert {base.key(a) for a in found} == expected
    assert len(found) == len(expected)
    assert all(convolutions(a) <= 2 for a in found)


def test_what_draws_thousands_takes_the_space_without_limits_where_judging_is_dear():
    base = ToySpace(50)
    dear, listed = limited(base, costs(number, 10)), limited(base, costs(number, 10, instant=True))
    assert bulk(dear) is base
    assert bulk(listed) is listed
    assert bulk(base) is base
    assert allows(base, base.parse("a49"))
    assert not allows(dear, base.parse("a49"))
    assert [a.text for a in listed] == [f"a{i}" for i in range(11)]


def test_a_cost_is_worked_out_once():
    asked = Counter()

    def counting(architecture):
        asked[architecture.text] += 1
        return number(architecture)

    space = limited(ToySpace(30), costs(counting, 10))
    draw_new(space, set(), 30, np.random.default_rng(0))
    space.costs_of(Architecture("toy", "a3"))
    assert set(asked.values()) == {1}


def test_the_least_dear_limit_is_asked_first():
    asked = []

    def dear(architecture):
        asked.append(architecture.text)
        return 1.0

    sources = {"num_params": FunctionCost(number, "n"), "latency_ms": FunctionCost(dear, "d")}
    space = LimitedSpace(ToySpace(), Costs(sources, {"num_params": 5, "latency_ms": 2}))
    assert not space.allows(Architecture("toy", "a6"))
    assert asked == []
    assert space.allows(Architecture("toy", "a5"))
    assert asked == ["a5"]


def test_where_few_are_allowed_it_walks_within_the_limits():
    base = ToySpace(1_000_000)
    space = limited(ToySpace(1000), costs(number, 3))  # seen among the sampled
    known = space.known
    assert known is not None
    rare = LimitedSpace(base, costs(number, 3), known)
    rng = np.random.default_rng(0)
    assert {rare.sample(rng).text for _ in range(60)} == {"a0", "a1", "a2", "a3"}


def test_the_cheapest_text_stands_for_its_key_where_costs_are_objectives():
    base = NasBench201(ops=OPS)
    space = limited(base, costs(highest=None, instant=True, minimised=("flops",)))
    keys = [base.key(a) for a in space]
    assert sorted(keys) == sorted({base.key(a) for a in base})
    cheapest = {key: min(convolutions(a) for a in base if base.key(a) == key) for key in keys[:20]}
    by_key = dict(zip(keys, space, strict=True))
    assert {key: convolutions(by_key[key]) for key in cheapest} == cheapest
    rng = np.random.default_rng(0)
    listed = set(space)
    drawn = [space.sample(rng) for _ in range(50)]
    assert set(drawn) <= listed
    assert {near for a in drawn[:10] for near in space.neighbours(a)} <= listed


def test_an_unknown_cost_is_over_every_limit():
    def patchy(architecture):
        return number(architecture) if number(architecture) % 2 else float("nan")

    space = limited(ToySpace(20), costs(patchy, 9, instant=True))
    assert [a.text for a in space] == ["a1", "a3", "a5", "a7", "a9"]
    free = limited(ToySpace(20), costs(patchy, None, instant=True, minimised=("flops",)))
    assert len(free) == 10


@pytest.mark.parametrize("instant", [True, False])
def test_impossible_limits_say_how_many_pass_and_the_smallest_seen(instant):
    sources = {
        "num_params": FunctionCost(lambda a: 5000 + number(a), "n", instant),
        "latency_ms": FunctionCost(lambda a: 1.5 + number(a), "l", instant),
    }
    with pytest.raises(ConfigError) as caught:
        limited(ToySpace(5000), Costs(sources, {"num_params": 4000, "latency_ms": 1e6}))
    message = str(caught.value)
    assert "\n" not in message
    assert "max_params 4,000: 0 of 1,000 pass, smallest num_params 5,0" in message
    assert "max_latency_ms 1,000,000: 1000 of 1,000 pass" in message


def test_a_small_space_is_looked_at_whole():
    with pytest.raises(ConfigError, match="max_flops -1: 0 of 40 pass, smallest flops 0"):
        limited(ToySpace(40), costs(number, -1))


def test_a_negative_cost_is_refused():
    with pytest.raises(ConfigError, match="flops of a0 is -1, below 0"):
        limited(ToySpace(1), costs(lambda a: -1.0, 5))


def test_travels_to_workers_without_what_it_worked_out():
    space = limited(NasBench201(ops=OPS), costs(instant=True))
    assert len(space)
    clone = pickle.loads(pickle.dumps(space))
    assert "_listed" not in clone.__dict__
    assert list(clone) == list(space)


def test_the_same_limits_on_the_same_space_are_one_object():
    base = ToySpace()
    assert limited(base, costs()) is limited(base, costs())
    assert limited(base, costs()) is not limited(base, costs(highest=3))
    assert limited(ToySpace(), costs()) is not limited(base, costs())


def test_has_what_only_its_base_has():
    space = limited(NasBench201(ops=OPS), costs())
    assert space.choices() == (OPS,) * 6
    assert not hasattr(space, "no_such_thing")

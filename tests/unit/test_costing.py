"""Where the figures of a search's costs come from, and what a slip is answered with."""

import pandas as pd
import pytest

from raynas.costing import cost_names, find_costs, foreign_sources
from raynas.errors import ConfigError, UsageError
from raynas.networks.priced import Counted, Timed
from raynas.search_config import load_search_config
from raynas.spaces.architecture import Architecture
from raynas.spaces.costs import FunctionCost
from raynas.spaces.space import TaskShape
from raynas.tabular.costs import LookedUp
from raynas.testing import FakeObjective, ToySpace

A3 = Architecture("toy", "a3")


def length(architecture):
    return len(architecture.text)


class WithTask(FakeObjective):
    task = TaskShape(3, 8, 10)


class WithCosts(WithTask):
    costs = {"num_params": FunctionCost(length, "own")}  # noqa: RUF012


def costs(*assignments, functions=None, objective=None):
    config = load_search_config(assignments=assignments)
    return find_costs(config, functions or {}, ToySpace(), objective or WithTask())


def test_nothing_asked_nothing_found():
    assert costs() is None
    assert costs("constraints.latency_batch=32") is None


def test_limits_and_objectives_by_name():
    found = costs("constraints.max_params=1.5M", "objectives=accuracy,flops")
    assert found.limits == {"num_params": 1.5e6}
    assert found.minimised == ("flops",)
    assert set(found.sources) == {"num_params", "flops"}
    assert all(isinstance(source, Counted) for source in found.sources.values())
    assert not found.instant


@pytest.mark.parametrize(("batch", "name"), [(1, "latency_ms"), (32, "latency_ms_b32")])
def test_what_is_timed_is_timed_for_both_batches_and_judged_by_one(batch, name):
    found = costs(f"constraints.latency_batch={batch}", "constraints.max_latency_ms=5")
    assert found.limits == {name: 5}
    assert {n: s.batch for n, s in found.sources.items()} == {"latency_ms": 1, "latency_ms_b32": 32}
    assert all(isinstance(source, Timed) for source in found.sources.values())
    assert list(found.required) == [name]


def test_an_object_goes_before_the_config_that_before_the_objective(tmp_path):
    file = tmp_path / "p.csv"
    pd.DataFrame({"key": ["a3"], "params": [7]}).to_csv(file, index=False)
    limit, named = "constraints.max_params=10", f"constraints.params={file}"
    own = costs(limit, objective=WithCosts()).sources["num_params"]
    from_file = costs(limit, named, objective=WithCosts()).sources["num_params"]
    passed = costs(limit, named, functions={"params": lambda a: 1}).sources["num_params"]
    assert (own(A3), from_file(A3), passed(A3)) == (2, 7, 1)
    assert isinstance(from_file, LookedUp)


def test_a_function_by_name():
    name = f"constraints.latency={length.__module__}:length"
    found = costs("objectives=[accuracy,latency]", "constraints.latency=builtins:len")
    assert found.sources["latency_ms"].describe() == "function builtins:len"
    assert foreign_sources(load_search_config(assignments=(name,))) == [name.partition("=")[2]]
    assert foreign_sources(load_search_config(assignments=("constraints.flops=a.csv:b",))) == []


def test_what_is_known_at_once_is_asked_first(tmp_path):
    file = tmp_path / "ms.csv"
    pd.DataFrame({"key": ["a3"], "ms": [7]}).to_csv(file, index=False)
    found = costs(
        "constraints.max_params=10", "constraints.max_latency_ms=9", f"constraints.latency={file}"
    )
    assert list(found.sources) == ["latency_ms", "num_params"]


def test_objectives_are_put_in_order():
    config = load_search_config(assignments=("objectives=latency, accuracy,params",))
    assert config.objectives == ("accuracy", "latency", "params")
    assert cost_names(config) == ("num_params", "latency_ms")


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["objectives=accuracy,latncy"], "objectives: .*unknown 'latncy', did you mean 'latency'"),
        (["objectives=latency"], "objectives: .*name accuracy"),
        (["objectives=accuracy,flops,flops"], "at most once"),
        (["constraints.max_params=0"], "constraints.max_params: 0 .*greater than 0"),
        (["constraints.max_flops=many"], "constraints.max_flops: 'many'"),
        (["constraints.max_flops=xM"], "constraints.max_flops: 'xM'"),
        (["constraints.max_parms=3"], "constraints.max_parms: unknown key, did you mean"),
        (["constraints.latency_batch=8"], "constraints.latency_batch: 8"),
        (["constraints.max_params=3", "constraints.params=x.csv"], "x.csv: no such file"),
        (["constraints.max_params=3", "constraints.params=count"], "neither a .parquet or .csv"),
        (["constraints.max_params=3", "constraints.params=os:nosuch"], "has no 'nosuch'"),
        (["constraints.max_params=3", "constraints.params=sys:path"], "is no function"),
    ],
)
def test_slips_are_answered_in_one_line(assignments, words):
    with pytest.raises(UsageError, match=words) as caught:
        costs(*assignments)
    assert "\n" not in str(caught.value)


def test_where_nothing_knows_a_cost_it_says_how_to_give_one():
    with pytest.raises(
        ConfigError, match=r"latency of .* not known here.*constraints.latency=FILE"
    ):
        costs("constraints.max_latency_ms=3", objective=FakeObjective())
    with pytest.raises(ConfigError, match="costs: unknown 'latncy', did you mean 'latency'"):
        costs(functions={"latncy": length})

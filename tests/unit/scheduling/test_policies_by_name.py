"""Every policy by its name, with options, through the one function the command line calls."""

import pytest

from raynas import api
from raynas.errors import ConfigError
from raynas.registry import lookup
from raynas.scheduling import POLICIES
from raynas.scheduling.budget import Budget
from raynas.testing import FakeObjective, ToySpace, run_simulated

OPTIONS = {
    "nosh": {"per_round": 5},
    "full": {"per_round": 5},
    "successive_halving": {"promote_fraction": 0.5, "cohort": 6},
    "hyperband": {"promote_fraction": 0.4},
    "asha": {"promote_fraction": 0.5, "per_round": 4, "initial": 6, "max_pool": 30},
    "pasha": {"per_round": 4, "epsilon": 0.01},
}


def search(folder, policy, **options):
    return api.search(
        space=ToySpace(),
        objective=FakeObjective(),
        proposer="random",
        policy=policy,
        levels=(1, 2, 4),
        engine="simulate",
        out=folder,
        **{"budget": 60, **options},
    )


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_search_by_name(name, tmp_path):
    result = search(tmp_path / "a", name, workers=2)
    assert result.finished
    assert result.architecture is not None
    assert 0 < result.pool.spent_epochs <= 60


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_options_reach_the_policy(name, tmp_path):
    result = search(tmp_path / "a", {"name": name, **OPTIONS[name]})
    assert result.finished
    first_round = sum(candidate.round == 0 for candidate in result.pool)
    expected = {"successive_halving": 6, "asha": 6, "pasha": 8, "nosh": 10}
    assert first_round == expected.get(name, first_round)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_one_policy_may_be_asked_about_two_pools(name):
    """What it has seen of one pool does not show in its answers about another."""

    def run(policy, seed):
        pool = run_simulated(policy, (1, 2, 4), seed=seed)
        return [(c.text, c.epochs) for c in pool]

    make = lookup("policy", name, POLICIES)
    shared, fresh = make((1, 2, 4), Budget(100)), make((1, 2, 4), Budget(100))
    run(shared, seed=1)
    assert run(shared, seed=2) == run(fresh, seed=2)


@pytest.mark.parametrize("name", ["successive_halving", "hyperband", "asha", "pasha"])
def test_an_interrupted_search_is_resumed(name, tmp_path):
    whole = search(tmp_path / "a", name)
    journal = tmp_path / "a" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: len(lines) // 2]))
    resumed = api.resume(
        tmp_path / "a", space=ToySpace(), objective=FakeObjective(), engine="simulate"
    )
    assert [(c.text, c.epochs) for c in resumed.pool] == [(c.text, c.epochs) for c in whole.pool]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("ahsa", "did you mean"),
        ({"name": "asha", "per_rond": 3}, "did you mean 'per_round'"),
        ({"name": "hyperband", "cohort": 3}, "policy.cohort: unknown option"),
        ({"name": "successive_halving", "cohort": 0}, "cohort: 0 must be a whole number"),
        ({"name": "pasha", "epsilon": 2}, "epsilon: 2 must be an accuracy"),
    ],
)
def test_mistakes_are_one_line(policy, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        search(tmp_path / "a", policy)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()

"""Contract suites and fakes for your own policy, space or proposer.

A suite is a class of tests: inherit it in your test module and give it the fixture it asks for::

    class TestMyPolicy(PolicyContract):
        @pytest.fixture
        def make_policy(self):
            return lambda budget: MyPolicy((1, 2, 4), budget)
"""

import copy
import json
import math
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from raynas.errors import InvalidArchitectureError, TrialError
from raynas.proposing.answer import Answer
from raynas.proposing.random import RandomProposer
from raynas.scheduling.budget import Budget
from raynas.scheduling.candidate import Status
from raynas.scheduling.events import Metrics
from raynas.scheduling.objective import Objective, Trial
from raynas.scheduling.policy import SchedulingPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Search
from raynas.scheduling.simulate import simulate
from raynas.seeds import derive_rng
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import EnumerableSpace, Graph, SearchSpace, TaskShape


class ToySpace:
    """A space of `size` architectures named ``a0``, ``a1``, …; nothing to build.

    For tests of policies and engines that never look inside an architecture.
    """

    name = "toy"
    num_labels = 3

    def __init__(self, size: int = 1000) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Any:
        return (Architecture(self.name, f"a{i}") for i in range(self.size))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw one uniformly."""
        return Architecture(self.name, f"a{rng.integers(self.size)}")

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Move one up or down."""
        neighbours = self.neighbours(architecture)
        return neighbours[int(rng.integers(len(neighbours)))]

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """Return the next lower and the next higher."""
        number = int(architecture.text[1:])
        found = [n for n in (number - 1, number + 1) if 0 <= n < self.size]
        return [Architecture(self.name, f"a{n}") for n in found]

    def parse(self, text: str) -> Architecture:
        """Read ``aN``."""
        if not (text[:1] == "a" and text[1:].isdigit() and int(text[1:]) < self.size):
            raise InvalidArchitectureError(f"{text!r} is not a0 … a{self.size - 1}")
        return Architecture(self.name, f"a{int(text[1:])}")

    def key(self, architecture: Architecture) -> str:
        """Return the text."""
        return architecture.text

    def graph(self, architecture: Architecture) -> Graph:
        """Encode the bits of the number as labels of a chain."""
        bits = [1 + (int(architecture.text[1:]) >> shift & 1) for shift in range(10)]
        adjacency = np.eye(11, k=1, dtype=np.int8)
        return Graph(adjacency, np.array([0, *bits], dtype=np.int64))

    def build(self, architecture: Architecture, task: TaskShape) -> Any:
        """Refuse: there is nothing to build."""
        raise TrialError("the toy space builds no networks")


class FakeTrial(Trial):
    """A trial whose accuracy is a formula (see `FakeObjective`)."""

    def __init__(self, objective: "FakeObjective", text: str) -> None:
        self.epoch = 0
        self._objective = objective
        self._text = text

    def train(self, to_epoch: int) -> Metrics:
        """Return the accuracy at `to_epoch`."""
        self.epoch = to_epoch
        return self._objective.metrics(self._text, to_epoch)

    def save(self) -> dict[str, Any]:
        """Return the epoch."""
        return {"epoch": self.epoch}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the epoch."""
        self.epoch = state["epoch"]


class FakeObjective(Objective):
    """Learning curves by formula: a hidden quality, reached exponentially, with early noise.

    Args:
        failing: Texts whose training raises.
        epoch_s: What an epoch claims to cost, in seconds (None: the engine measures).
    """

    def __init__(self, failing: Sequence[str] = (), epoch_s: float | None = None) -> None:
        self.failing = frozenset(failing)
        self.epoch_s = epoch_s

    def start(self, architecture: Architecture, seed: int) -> FakeTrial:
        """Return an untrained trial."""
        return FakeTrial(self, architecture.text)

    def metrics(self, text: str, epoch: int) -> Metrics:
        """Return the metrics of an architecture after `epoch` epochs."""
        if text in self.failing:
            raise TrialError(f"{text} was made to fail")
        quality = float(derive_rng(0, "quality", text).uniform(0.5, 0.95))
        noise = float(derive_rng(0, f"noise {epoch}", text).normal(0, 0.1 / (1 + epoch)))
        accuracy = min(1.0, max(0.0, quality * (1 - math.exp(-epoch / 2)) + noise))
        found = {"accuracy": accuracy, "loss": 1 - accuracy}
        return found if self.epoch_s is None else {**found, "time_s": self.epoch_s}


def propose_at_random(space: SearchSpace) -> Answer:
    """Return an answer to requests that draws from `space`, whatever the pool has learnt."""
    return Answer("random", RandomProposer(space))


def run_simulated(
    policy: SchedulingPolicy,
    levels: Sequence[int],
    *,
    objective: Objective | None = None,
    space: SearchSpace | None = None,
    seed: int = 0,
    workers: int = 1,
) -> Pool:
    """Run a policy to its end on made-up learning curves; whole searches in milliseconds."""
    space = space or ToySpace()
    search = Search(space, policy, Pool(levels), seed=seed)
    simulate(search, objective or FakeObjective(), propose_at_random(space), workers=workers)
    return search.pool


class PolicyContract:
    """What every scheduling policy must hold to.

    Fixture `make_policy`: from a `Budget` to a new policy. `levels`: its epochs per level.
    """

    levels: Sequence[int] = (1, 2, 4)
    budget_epochs = 60

    @pytest.fixture
    def make_policy(self) -> Callable[[Budget], SchedulingPolicy]:
        """Return a function from a budget to a new policy."""
        raise NotImplementedError("give the suite a `make_policy` fixture")

    def _run(self, make_policy: Callable[[Budget], SchedulingPolicy], **options: Any) -> Pool:
        policy = make_policy(Budget(self.budget_epochs))
        return run_simulated(policy, self.levels, **options)

    def test_trains_something_and_ends(self, make_policy: Any) -> None:
        """A search under the policy ends, and has trained somebody."""
        assert self._run(make_policy).spent_epochs > 0

    def test_never_spends_more_than_the_budget(self, make_policy: Any) -> None:
        """The budget holds on one worker and on several."""
        for workers in (1, 3):
            assert self._run(make_policy, workers=workers).spent_epochs <= self.budget_epochs

    def test_books_balance(self, make_policy: Any) -> None:
        """Epochs spent are the epochs of the candidates, and nothing is left committed."""
        pool = self._run(make_policy)
        assert pool.spent_epochs == sum(candidate.epochs for candidate in pool)
        assert pool.committed_epochs == 0
        assert pool.num_running == 0

    def test_next_jobs_and_wants_change_nothing(self, make_policy: Any) -> None:
        """Asking twice gives the same answer and leaves the policy as it was."""
        policy = make_policy(Budget(self.budget_epochs))
        search = Search(ToySpace(), policy, Pool(self.levels), seed=0)
        request = search.request()
        assert request is not None
        search.admit(request, propose_at_random(search.space)(request, search.snapshot(), {}))
        before = copy.deepcopy(policy.state_dict())
        first = policy.next_jobs(search.pool, 4)
        assert policy.next_jobs(search.pool, 4) == first
        assert len(first) <= 4
        assert policy.wants(search.pool) == policy.wants(search.pool)
        assert policy.state_dict() == before

    def test_state_is_json_and_comes_back(self, make_policy: Any) -> None:
        """A policy restored from its state offers the same jobs."""
        policy = make_policy(Budget(self.budget_epochs))
        pool = run_simulated(policy, self.levels)
        state = json.loads(json.dumps(policy.state_dict()))
        other = make_policy(Budget(self.budget_epochs))
        other.load_state_dict(state)
        assert other.next_jobs(pool, 8) == policy.next_jobs(pool, 8)
        assert other.wants(pool) == policy.wants(pool)

    def test_survives_failing_architectures(self, make_policy: Any) -> None:
        """A failed architecture is not trained again, and the search goes on to its end."""
        objective = FakeObjective(failing=[f"a{i}" for i in range(0, 1000, 3)])
        pool = self._run(make_policy, objective=objective)
        assert {c.status for c in pool} & {Status.PAUSED, Status.DONE}


class SpaceContract:
    """What every search space must hold to. Fixture `space`."""

    @pytest.fixture
    def space(self) -> SearchSpace:
        """Return the space under test."""
        raise NotImplementedError("give the suite a `space` fixture")

    def _samples(self, space: SearchSpace, count: int = 30) -> list[Architecture]:
        rng = np.random.default_rng(0)
        return [space.sample(rng) for _ in range(count)]

    def test_samples_parse_back(self, space: SearchSpace) -> None:
        """An architecture is its text."""
        for architecture in self._samples(space):
            assert space.parse(architecture.text) == architecture
            assert architecture.space == space.name

    def test_refuses_nonsense(self, space: SearchSpace) -> None:
        """A text that is no architecture is refused in one line."""
        with pytest.raises(InvalidArchitectureError) as caught:
            space.parse("no such architecture")
        assert "\n" not in str(caught.value)

    def test_same_seed_same_sample(self, space: SearchSpace) -> None:
        """All randomness comes from the generator."""
        assert self._samples(space) == self._samples(space)

    def test_mutation_is_a_neighbour(self, space: SearchSpace) -> None:
        """A mutation is one choice away, and not the architecture itself."""
        rng = np.random.default_rng(1)
        for architecture in self._samples(space, 10):
            neighbours = space.neighbours(architecture)
            assert architecture not in neighbours
            assert len(set(neighbours)) == len(neighbours)
            assert space.mutate(architecture, rng) in neighbours

    def test_graphs_are_well_formed(self, space: SearchSpace) -> None:
        """Labels are in range and the graph has no cycle."""
        for architecture in self._samples(space):
            graph = space.graph(architecture)
            size = len(graph.labels)
            assert graph.adjacency.shape == (size, size)
            assert graph.labels.min() >= 0
            assert graph.labels.max() < space.num_labels
            power = np.linalg.matrix_power(graph.adjacency.astype(float), size)
            assert not power.any()

    def test_pickles(self, space: SearchSpace) -> None:
        """Spaces travel to workers."""
        clone = pickle.loads(pickle.dumps(space))
        architecture = self._samples(space, 1)[0]
        assert clone.key(architecture) == space.key(architecture)

    def test_enumerates_what_it_counts(self, space: SearchSpace) -> None:
        """An enumerable space lists each of its architectures once."""
        if not isinstance(space, EnumerableSpace):
            pytest.skip("the space is not enumerable")
        listed = list(space)
        assert len(listed) == len(space) == len(set(listed))


class ProposerContract:
    """What every proposer must hold to. Fixtures `make_proposer` and `space`."""

    @pytest.fixture
    def space(self) -> SearchSpace:
        """Return the space it proposes from."""
        return ToySpace(60)

    @pytest.fixture
    def make_proposer(self) -> Callable[[SearchSpace], Any]:
        """Return a function from a space to a new proposer."""
        raise NotImplementedError("give the suite a `make_proposer` fixture")

    def _pool(self, space: SearchSpace) -> Pool:
        from raynas.scheduling.nosh import NoshPolicy

        policy = NoshPolicy((1, 2, 4), Budget(40), per_round=5)
        return run_simulated(policy, (1, 2, 4), space=space)

    def test_proposes_new_distinct_architectures(self, make_proposer: Any, space: Any) -> None:
        """No key of the pool, and no key twice."""
        snapshot = self._pool(space).snapshot()
        proposed = make_proposer(space).propose(snapshot, 7, np.random.default_rng(0))
        keys = [space.key(architecture) for architecture in proposed]
        assert len(keys) == 7 == len(set(keys))
        assert not set(keys) & snapshot.keys()

    def test_starts_from_an_empty_pool(self, make_proposer: Any, space: Any) -> None:
        """The first proposal has nothing to learn from."""
        snapshot = Pool((1, 2, 4)).snapshot()
        assert len(make_proposer(space).propose(snapshot, 5, np.random.default_rng(0))) == 5

    def test_same_generator_same_proposals(self, make_proposer: Any, space: Any) -> None:
        """All randomness comes from the generator."""
        snapshot = self._pool(space).snapshot()
        first, second = (
            make_proposer(space).propose(snapshot, 5, np.random.default_rng(3)) for _ in range(2)
        )
        assert first == second

    def test_exhausts_the_space(self, make_proposer: Any) -> None:
        """Fewer than asked come only when no more are left."""
        space = ToySpace(9)
        snapshot = Pool((1, 2, 4)).snapshot()
        assert len(make_proposer(space).propose(snapshot, 20, np.random.default_rng(0))) == 9

    def test_state_is_json(self, make_proposer: Any, space: Any) -> None:
        """What it remembers can be written to a journal and read back."""
        proposer = make_proposer(space)
        proposer.propose(self._pool(space).snapshot(), 5, np.random.default_rng(0))
        make_proposer(space).load_state_dict(json.loads(json.dumps(proposer.state_dict())))

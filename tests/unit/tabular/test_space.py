"""The part of a space that was measured: a space like any other, and nothing outside it."""

import numpy as np
import pytest

from raynas.errors import InvalidArchitectureError
from raynas.spaces.nasbench201 import NasBench201
from raynas.tabular.format import read_table
from raynas.tabular.names import load_table
from raynas.tabular.space import TableSpace, searchable
from raynas.testing import ProposerContract, SpaceContract


class TestTableSpace(SpaceContract):
    @pytest.fixture
    def space(self, write):
        return TableSpace(read_table(write()))

    def test_nothing_outside_the_table(self, space):
        listed = set(space)
        rng = np.random.default_rng(0)
        for _ in range(50):
            assert space.sample(rng) in listed
            assert space.mutate(next(iter(listed)), rng) in listed
        outside = next(a for a in NasBench201() if a not in listed)
        with pytest.raises(InvalidArchitectureError, match="not in the table"):
            space.parse(outside.text)

    def test_neighbours_are_the_nearest_there_are(self, space):
        base = NasBench201()
        for architecture in list(space)[:10]:
            near = space.neighbours(architecture)
            one = {base.key(a) for a in base.neighbours(architecture)} - {base.key(architecture)}
            measured = {a for a in space if base.key(a) in one}
            if measured:
                assert set(near) == measured

    def test_what_only_some_spaces_have_is_the_bases(self, space):
        architecture = next(iter(space))
        expected = NasBench201().path_encoding(architecture)
        assert (space.path_encoding(architecture) == expected).all()


def test_a_table_of_the_whole_space_is_searched_in_the_space_itself(shared_data):
    table = load_table(f"nb201:{shared_data / 'nb201.parquet'}:cifar10")
    assert isinstance(searchable(table), NasBench201)


class TestProposersOnATable(ProposerContract):
    """Any proposer works on a cut-down space."""

    @pytest.fixture
    def space(self, write):
        return TableSpace(read_table(write()))

    @pytest.fixture
    def make_proposer(self):
        from raynas.proposing.evolution import EvolutionProposer

        return EvolutionProposer

    def test_exhausts_the_space(self, make_proposer, space):
        from raynas.scheduling.pool import Pool

        proposed = make_proposer(space).propose(Pool((1,)).snapshot(), 60, np.random.default_rng(0))
        assert len(proposed) == 40

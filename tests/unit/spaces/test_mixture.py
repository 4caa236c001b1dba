"""What supernets mix: kinds of cells, and architectures made of chosen ops."""

import numpy as np
import pytest

from raynas.errors import SpaceError
from raynas.spaces import darts_ops
from raynas.spaces.cell import NONE
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.darts import DartsSpace, S1Space, S2Space, S3Space, S4Space
from raynas.spaces.mixture import CellKind, MixableSpace
from raynas.spaces.nasbench201 import NasBench201

SPACES = [
    DartsSpace(),
    DartsSpace(two_cells=False),
    DartsSpace(with_none=True),
    S1Space(),
    S2Space(),
    S3Space(),
    S4Space(),
    NasBench201(),
    NasBench201(ops=["skip_connect", "nor_conv_3x3"]),
    CellSpace(ops=["none", "skip_connect", "nor_conv_3x3"], nodes=3),
]


def chosen_at_random(kinds, rng):
    """Keep edges and ops at random, as an architecture would have them."""
    chosen = []
    for kind in kinds:
        edges = [
            edge
            for node in kind.nodes
            for edge in rng.choice(
                kind.incoming(node), kind.keep or len(kind.incoming(node)), replace=False
            )
        ]
        ops = [[o for o in kind.ops[e] if kind.keep is None or o != NONE] for e in edges]
        chosen.append({int(e): str(rng.choice(o)) for e, o in zip(edges, ops, strict=True)})
    return chosen


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_every_choice_is_an_architecture_of_those_ops(space):
    assert isinstance(space, MixableSpace)
    rng = np.random.default_rng(0)
    for _ in range(20):
        chosen = chosen_at_random(space.kinds, rng)
        architecture = space.assemble(chosen)
        assert space.parse(architecture.text) == architecture
        ops = [op for cell in chosen for op in cell.values()]
        assert all(architecture.text.count(f"{op}~") == ops.count(op) for op in set(ops))


def test_rows_are_numbered_as_published():
    normal, reduce = DartsSpace().kinds
    assert (normal.name, reduce.name) == ("normal", "reduce")
    assert normal.edges == darts_ops.EDGES
    assert normal.num_edges == 14
    assert normal.num_ops == 7
    assert normal.nodes == (2, 3, 4, 5)
    assert normal.incoming(3) == (2, 3, 4)
    assert normal.crowded() == (3, 4, 5)
    assert S1Space().kinds[0].num_ops == 2
    assert DartsSpace(with_none=True).kinds[0].num_ops == 8
    assert NasBench201().kinds[0].crowded() == ()


def test_an_assembled_darts_cell_is_what_was_chosen():
    space = DartsSpace(two_cells=False)
    edges = (0, 1, 2, 4, 5, 8, 9, 13)
    architecture = space.assemble([dict.fromkeys(edges, "skip_connect")])
    pairs = [pair for node in space.cells(architecture)[0] for pair in node]
    assert pairs == [("skip_connect", darts_ops.EDGES[e][0]) for e in edges]


@pytest.mark.parametrize(
    ("space", "chosen", "message"),
    [
        (DartsSpace(two_cells=False), [dict.fromkeys(range(8), "skip_connect")], "keeps two edges"),
        (NasBench201(), [{0: "none"}], "every edge needs an op"),
        (NasBench201(), [dict.fromkeys(range(6), "max_pool_3x3")], "is no op of the space"),
        (S3Space(two_cells=False), [dict.fromkeys((0, 1, 2, 3, 5, 6, 9, 10), NONE)], "is no op"),
    ],
)
def test_what_cannot_be_assembled(space, chosen, message):
    with pytest.raises(SpaceError, match=message):
        space.assemble(chosen)


def test_an_edge_needs_two_ops_and_all_edges_as_many():
    with pytest.raises(SpaceError, match=r"from state 0 to state 1 of a cell cell has 1 \(none\)"):
        CellKind("cell", ((0, 1),), (("none",),))
    with pytest.raises(SpaceError, match="equally many ops"):
        CellKind("cell", ((0, 1), (0, 2)), (("a", "b"), ("a", "b", "c")))
    with pytest.raises(SpaceError, match="two or more ops"):
        _ = S1With().kinds


class S1With(S1Space):
    edge_ops = darts_ops.everywhere("skip_connect")

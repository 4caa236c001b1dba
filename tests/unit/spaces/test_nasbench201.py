import pickle
import re
import subprocess
import sys

import numpy as np
import pytest

from raynas.config import construct
from raynas.errors import ConfigError, InvalidArchitectureError, SpaceError
from raynas.registry import lookup
from raynas.spaces import SPACES
from raynas.spaces.architecture import Architecture
from raynas.spaces.nasbench201 import LABELS, OPS, NasBench201
from raynas.spaces.space import EnumerableSpace, TaskShape, stack_graphs
from raynas.testing import SpaceContract

MIXED = "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
DEAD = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"


class TestWhole(SpaceContract):
    @pytest.fixture
    def space(self):
        return NasBench201()


class TestPart(SpaceContract):
    @pytest.fixture
    def space(self):
        return NasBench201(channels=4, ops=("nor_conv_3x3", "skip_connect"))


@pytest.fixture
def space():
    return NasBench201()


def cell(*ops):
    short = {"0": "none", "s": "skip_connect", "1": "nor_conv_1x1", "3": "nor_conv_3x3"}
    short["p"] = "avg_pool_3x3"
    a, b, c, d, e, f = (short[op] for op in "".join(ops))
    return Architecture("nasbench201", f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|")


# -- the space itself --------------------------------------------------------------------------


def test_is_found_by_name(space):
    assert isinstance(construct("space", lookup("space", "nasbench201", SPACES), {}), NasBench201)
    assert isinstance(space, EnumerableSpace)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels must be a whole number of at least 1, not 0"),
        ({"channels": True}, "channels must be"),
        ({"cells_per_stage": 1.5}, "cells_per_stage must be"),
        ({"ops": ["nor_conv_3x3"]}, "two or more"),
        ({"ops": "nor_conv_3x3"}, "two or more"),
        ({"ops": []}, "two or more"),
        ({"ops": ["none", "none"]}, "two or more"),
        ({"ops": ["none", "conv_3x3"]}, "unknown op 'conv_3x3', did you mean 'nor_conv_3x3'"),
        ({"ops": [None, "nor_conv_3x3"]}, "unknown op 'None'"),
    ],
)
def test_refuses_arguments_in_one_line(options, message):
    with pytest.raises(SpaceError, match=re.escape(message)) as caught:
        NasBench201(**options)
    assert "\n" not in str(caught.value)


def test_options_are_checked_by_name():
    with pytest.raises(ConfigError, match="did you mean 'channels'"):
        construct("space", NasBench201, {"chanels": 8})


def test_order_of_ops_does_not_matter():
    first, second = NasBench201(ops=["nor_conv_3x3", "none"]), NasBench201(ops=("none", OPS[3]))
    assert first.allowed_ops == second.allowed_ops == ("none", "nor_conv_3x3")
    assert list(first) == list(second)


def test_is_tiny_to_send_even_after_use(space):
    space.sample(np.random.default_rng(0))
    assert len(pickle.dumps(space)) < 250
    clone = pickle.loads(pickle.dumps(space))
    assert repr(clone) == repr(space)


def test_needs_no_torch():
    code = (
        "import sys; from raynas.spaces.nasbench201 import NasBench201 as S; "
        "s = S(); s.graph(s.architecture(0)); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- texts -------------------------------------------------------------------------------------


def test_equal_texts_give_the_same_object(space):
    assert space.parse(MIXED) is space.parse(f"  {MIXED}\n")
    assert space.ops(space.parse(MIXED)) == (
        "nor_conv_3x3",
        "nor_conv_1x1",
        "avg_pool_3x3",
        "skip_connect",
        "none",
        "nor_conv_3x3",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected '|' at character 1, not the end"),
        ("nonsense", "expected '|' at character 1, not 'n'"),
        (MIXED[:-1], "expected '~2|' at character 85, not '~2'"),
        (MIXED + "|", "nothing may follow after character 87, but '|' does"),
        (MIXED.replace("1x1~0", "1x1~1"), "expected '~0|' at character 31, not '~1|'"),
        (MIXED.replace("|+|skip", "|skip"), "expected '~1|+|' at character 46"),
        (
            MIXED.replace("nor_conv_1x1", "conv_1x1"),
            "'conv_1x1' at character 19 (edge 0 to 2) is no op of the space, "
            f"did you mean 'nor_conv_1x1'? (allowed: {', '.join(OPS)})",
        ),
        (MIXED.replace("none", ""), "'' at character 66 (edge 1 to 3) is no op"),
        (MIXED.replace("none", "no\nne"), r"'no\nne' at character 66"),
        (MIXED.replace("none", "x" * 10_000), "at character 66"),
    ],
)
def test_says_where_a_text_is_wrong(space, text, message):
    with pytest.raises(InvalidArchitectureError, match=re.escape(message)) as caught:
        space.parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_part_refuses_ops_it_leaves_out():
    part = NasBench201(ops=("none", "skip_connect"))
    with pytest.raises(InvalidArchitectureError, match=r"\(allowed: none, skip_connect\)"):
        part.parse(MIXED)


def test_refuses_architectures_of_other_spaces(space):
    with pytest.raises(SpaceError, match="darts"):
        space.key(Architecture("darts", MIXED))


# -- index -------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [-1, 15625])
def test_refuses_indices_out_of_range(space, index):
    with pytest.raises(SpaceError, match=f"0 to 15624, not {index}"):
        space.architecture(index)


def test_a_part_keeps_the_order_of_the_whole(space):
    part = NasBench201(ops=("none", "nor_conv_3x3", "avg_pool_3x3"))
    assert len(part) == 3**6
    inside = [a for a in space if set(space.ops(a)) <= set(part.allowed_ops)]
    assert list(part) == inside
    assert [part.index(a) for a in inside] == list(range(3**6))


# -- neighbours --------------------------------------------------------------------------------


def test_has_24_neighbours(space):
    neighbours = space.neighbours(space.parse(MIXED))
    assert len(set(neighbours)) == 24
    assert len(NasBench201(ops=OPS[1:4]).neighbours(cell("ss11", "33"))) == 12


def test_mutations_reach_every_neighbour(space):
    rng = np.random.default_rng(0)
    architecture = space.parse(MIXED)
    drawn = {space.mutate(architecture, rng) for _ in range(300)}
    assert drawn == set(space.neighbours(architecture))


# -- identity ----------------------------------------------------------------------------------


def test_key_drops_zero_terms_and_canonical_text_keeps_them(space):
    zero_edges, dead_convolution = cell("030003"), cell("031003")
    assert space.key(zero_edges) == space.key(dead_convolution) == "((0)@nor_conv_3x3)@nor_conv_3x3"
    assert space.canonical_text(zero_edges) == "#+#+(#+(0)@nor_conv_3x3)@nor_conv_3x3"
    assert space.key(cell("003300")) == "(0)@nor_conv_3x3"  # node 1 gets nothing to pass on


def test_dead_cells_share_a_key_but_not_a_canonical_text(space):
    dead, all_none = space.parse(DEAD), cell("000000")
    assert space.is_dead(dead)
    assert space.is_dead(all_none)
    assert not space.is_dead(space.parse(MIXED))
    assert space.key(dead) == space.key(all_none) == "#"
    assert space.canonical_text(dead) == "#+#+(#+#)@nor_conv_3x3"
    assert space.canonical_text(all_none) == "#+#+#"


def test_limits_of_the_key_are_as_documented(space):
    two_convolutions, one_used_twice = cell("s30", "30s"), cell("3", "0s", "0ss")
    assert space.key(two_convolutions) == space.key(one_used_twice)
    sum_inside, sum_outside = cell("sps", "01s"), cell("s0s", "s1p")
    assert space.key(sum_inside) == "(0)@avg_pool_3x3+0+(0)@nor_conv_1x1"
    assert space.key(sum_outside) == "(0)@avg_pool_3x3+(0)@nor_conv_1x1+0"


# -- encodings ---------------------------------------------------------------------------------


def test_graph_puts_ops_on_nodes(space):
    graph = space.graph(space.parse(MIXED))
    edges = {tuple(map(int, pair)) for pair in np.argwhere(graph.adjacency)}
    assert edges == {
        *((0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 6), (3, 6)),
        *((4, 7), (5, 7), (6, 7)),
    }
    assert [LABELS[label] for label in graph.labels] == [
        "input",
        *space.ops(space.parse(MIXED)),
        "output",
    ]
    assert (graph.adjacency.dtype, graph.labels.dtype) == (np.int8, np.int64)


def test_graphs_do_not_share_memory(space):
    space.graph(space.parse(MIXED)).adjacency[:] = 9
    adjacency, _ = stack_graphs([space.graph(space.parse(MIXED))])
    assert adjacency.sum() == 10


def test_path_encoding_marks_the_four_paths(space):
    encoding = space.path_encoding(space.parse(MIXED))
    none, skip, conv1, conv3, pool = range(5)
    expected = {
        skip,  # edge 0 to 3
        5 + 5 * conv3 + none,  # over node 1
        5 + 5 * conv1 + conv3,  # over node 2
        30 + 25 * conv3 + 5 * pool + conv3,  # over both
    }
    assert encoding.shape == (155,)
    assert set(np.flatnonzero(encoding)) == expected


def test_equal_paths_share_a_bit_and_a_part_has_fewer():
    part = NasBench201(ops=("skip_connect", "nor_conv_3x3"))
    encoding = part.path_encoding(cell("333333"))
    assert encoding.shape == (2 + 4 + 8,)
    assert np.flatnonzero(encoding).tolist() == [1, 5, 13]


# -- building ----------------------------------------------------------------------------------


def test_builds_what_the_task_needs():
    space = NasBench201(channels=2, cells_per_stage=1)
    network = space.build(space.parse(MIXED), TaskShape(in_channels=1, image_size=4, num_classes=7))
    assert network.stem.conv.in_channels == 1
    assert network.stem.conv.out_channels == 2
    assert network.classifier.out_features == 7


def test_refuses_images_that_vanish(space):
    with pytest.raises(SpaceError, match="at least 4 x 4 pixels, not 3"):
        space.build(space.parse(MIXED), TaskShape(in_channels=1, image_size=3, num_classes=2))

import itertools
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
from raynas.spaces.nasbench101 import LABELS, MAX_EDGES, MAX_VERTICES, OPS, Module, NasBench101
from raynas.spaces.space import EnumerableSpace, TaskShape, stack_graphs
from raynas.testing import SpaceContract

CHAIN = "conv3x3,maxpool3x3:100101"
DIAMOND = "conv3x3,maxpool3x3:110011"
FULL = "conv3x3,conv1x1,maxpool3x3,conv1x1,conv3x3:110001110000100010011"


class TestContract(SpaceContract):
    @pytest.fixture
    def space(self):
        return NasBench101()


@pytest.fixture
def space():
    return NasBench101()


def edges(module):
    return [(s, t) for s in range(len(module.rows)) for t in module.targets(s)]


# -- the space itself --------------------------------------------------------------------------


def test_is_found_by_name_and_not_listed(space):
    assert isinstance(construct("space", lookup("space", "nasbench101", SPACES), {}), NasBench101)
    assert not isinstance(space, EnumerableSpace)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 4}, "channels must be a whole number of at least 5, not 4"),
        ({"channels": True}, "channels must be"),
        ({"stacks": 0}, "stacks must be a whole number of at least 1, not 0"),
        ({"modules_per_stack": 1.5}, "modules_per_stack must be"),
    ],
)
def test_refuses_arguments_in_one_line(options, message):
    with pytest.raises(SpaceError, match=re.escape(message)) as caught:
        NasBench101(**options)
    assert "\n" not in str(caught.value)


def test_options_are_checked_by_name():
    with pytest.raises(ConfigError, match="did you mean 'channels'"):
        construct("space", NasBench101, {"chanels": 8})


def test_is_tiny_to_send_even_after_use(space):
    space.key(space.sample(np.random.default_rng(0)))
    assert len(pickle.dumps(space)) < 250
    assert repr(pickle.loads(pickle.dumps(space))) == repr(space)


def test_needs_no_torch():
    code = (
        "import sys; from raynas.spaces.nasbench101 import NasBench101 as S; "
        "s = S(); s.graph(s.parse(':1')); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- texts -------------------------------------------------------------------------------------


def test_a_text_is_ops_and_the_upper_triangle(space):
    module = space.module(space.parse(f" {DIAMOND}\n"))
    assert module.ops == ("conv3x3", "maxpool3x3")
    assert edges(module) == [(0, 1), (0, 2), (1, 3), (2, 3)]
    assert module.sources(3) == [1, 2]
    assert edges(space.module(space.parse(CHAIN))) == [(0, 1), (1, 2), (2, 3)]
    assert space.module(space.parse(":1")) == Module((), (2, 0))
    assert len(edges(space.module(space.parse(FULL)))) == MAX_EDGES


@pytest.mark.parametrize(
    ("text", "pruned"),
    [
        ("conv3x3:010", ":1"),  # vertex 1 is not connected
        ("conv3x3:110", ":1"),  # it feeds nothing
        ("conv3x3:011", ":1"),  # nothing feeds it
        ("conv1x1,conv3x3:110010", "conv1x1:101"),
        ("conv1x1,conv3x3:011001", "conv3x3:111"),
    ],
)
def test_vertices_on_no_path_are_taken_out(space, text, pruned):
    assert space.parse(text).text == pruned


def test_edges_are_counted_after_pruning(space):
    nine = {(0, 1), (1, 2), (2, 3), (3, 4), (4, 6), (0, 2), (0, 3), (0, 4), (1, 6)}
    ops = ",".join(["conv3x3"] * 5)
    bits = [str(int(p in nine | {(0, 5)})) for p in itertools.combinations(range(7), 2)]
    module = space.module(space.parse(f"{ops}:{''.join(bits)}"))
    assert len(module.ops) == 4
    assert set(edges(module)) == {(s, 5 if t == 6 else t) for s, t in nine}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a ':' between ops and bits in ''"),
        ("nonsense", "expected a ':' between ops and bits in 'nonsense' (form: op,op:bits"),
        (":", "expected bits after character 1, not the end"),
        ("conv3x3:1a1", "expected 0 or 1 at character 10, not 'a'"),
        ("conv3x3:1:1", "expected 0 or 1 at character 10, not ':'"),
        ("conv3x3:1\n1", r"expected 0 or 1 at character 10, not '\n'"),
        (
            "conv3x3,conv3:100101",
            "'conv3' at character 9 (vertex 2) is no op of the space, did you mean 'conv3x3'? "
            "(allowed: conv3x3, conv1x1, maxpool3x3)",
        ),
        (",conv3x3:100101", "'' at character 1 (vertex 1) is no op"),
        ("conv3x3 ,conv3x3:100101", "'conv3x3 ' at character 1 (vertex 1) is no op"),
        ("x" * 10_000 + ":1", "at character 1 (vertex 1)"),
        ("conv3x3:1001", "1 ops make 3 vertices, whose matrix has 3 bits"),
        (":101", "0 ops make 2 vertices, whose matrix has 1 bits above its diagonal, not 3"),
        (
            ",".join(["conv3x3"] * 6) + ":1",
            "a module has at most 5 ops, but another follows at character 41",
        ),
        (":0", "no path leads from the input to the output in ':0'"),
        ("conv3x3:100", "no path leads"),
        ("conv3x3,conv3x3,conv3x3:1111111111", "10 edges on paths"),
    ],
)
def test_says_where_a_text_is_wrong(space, text, message):
    with pytest.raises(InvalidArchitectureError, match=re.escape(message)) as caught:
        space.parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_refuses_architectures_of_other_spaces(space):
    with pytest.raises(SpaceError, match="darts"):
        space.key(Architecture("darts", CHAIN))


# -- drawing and changing ----------------------------------------------------------------------


def test_samples_are_matrices_drawn_until_valid(space):
    """The share of draws that prune to the bare edge, against listing matrices by brute force."""
    rng = np.random.default_rng(0)
    texts = [space.sample(rng).text for _ in range(2000)]
    bare = valid = 0
    for _ in range(4000):
        matrix = np.triu(rng.integers(2, size=(7, 7)), 1)
        powers = [np.linalg.matrix_power(matrix, n) for n in range(7)]
        reach = sum(powers) > 0
        kept = reach[0] & reach[:, -1]
        if reach[0, -1]:
            num_edges = matrix[np.ix_(kept, kept)].sum()
            valid += num_edges <= MAX_EDGES
            bare += num_edges == 1
    assert abs(texts.count(":1") / 2000 - bare / valid) < 0.03
    ops = [op for text in texts for op in text.split(":")[0].split(",") if op]
    assert all(abs(ops.count(op) / len(ops) - 1 / 3) < 0.03 for op in OPS)


def test_neighbours_of_the_bare_edge_are_one_vertex_more(space):
    texts = [a.text for a in space.neighbours(space.parse(":1"))]
    assert texts == ["conv3x3:111", "conv1x1:111", "maxpool3x3:111"]


def test_neighbours_of_a_full_module_change_an_op_or_take_an_edge(space):
    full = space.parse(FULL)
    modules = [space.module(a) for a in space.neighbours(full)]
    ops = [m for m in modules if len(edges(m)) == MAX_EDGES]
    assert len(ops) == 10
    assert all(m.rows == space.module(full).rows for m in ops)
    assert all(len(edges(m)) < MAX_EDGES for m in modules if m not in ops)
    assert len(modules) > len(ops)


def test_an_edge_less_takes_the_idle_vertex_with_it_and_there_is_a_way_back(space):
    diamond = space.parse(DIAMOND)
    small = space.parse("conv3x3:101")
    assert small in space.neighbours(diamond)
    keys = {space.key(a) for a in space.neighbours(space.parse("conv3x3:111"))}
    assert space.key(space.parse("conv3x3:101")) in keys
    grown = {space.key(a) for a in space.neighbours(small)}
    assert space.key(diamond) in grown


def test_mutations_reach_every_neighbour(space):
    rng = np.random.default_rng(0)
    architecture = space.parse(DIAMOND)
    drawn = {space.mutate(architecture, rng) for _ in range(1500)}
    assert drawn == set(space.neighbours(architecture))


# -- identity ----------------------------------------------------------------------------------


def test_isomorphic_modules_share_a_key_and_others_do_not(space):
    twin = space.parse("maxpool3x3,conv3x3:110011")
    assert space.key(twin) == space.key(space.parse(DIAMOND))
    assert space.key(space.parse(CHAIN)) != space.key(space.parse("maxpool3x3,conv3x3:100101"))
    assert re.fullmatch("[0-9a-f]{32}", space.key(twin))


# -- encodings ---------------------------------------------------------------------------------


def test_graph_is_the_module(space):
    graph = space.graph(space.parse(DIAMOND))
    found = [tuple(map(int, pair)) for pair in np.argwhere(graph.adjacency)]
    assert found == [(0, 1), (0, 2), (1, 3), (2, 3)]
    assert [LABELS[label] for label in graph.labels] == ["input", "conv3x3", "maxpool3x3", "output"]
    assert (graph.adjacency.dtype, graph.labels.dtype) == (np.int8, np.int64)
    adjacency, labels = stack_graphs([graph, space.graph(space.parse(FULL))])
    assert adjacency.shape == (2, MAX_VERTICES, MAX_VERTICES)
    assert labels[0].tolist() == [0, 1, 3, 4, -1, -1, -1]


def test_path_encoding_marks_the_paths(space):
    conv3, conv1, pool = range(3)
    assert np.flatnonzero(space.path_encoding(space.parse(":1"))).tolist() == [0]
    diamond = space.path_encoding(space.parse(DIAMOND))
    assert diamond.shape == (364,)
    assert np.flatnonzero(diamond).tolist() == [1 + conv3, 1 + pool]
    chain = space.path_encoding(space.parse(CHAIN))
    assert np.flatnonzero(chain).tolist() == [1 + 3 + 3 * conv3 + pool]
    longest = space.parse("conv1x1,conv1x1,conv1x1,conv1x1,maxpool3x3:100000100001000100101")
    expected = 1 + 3 + 9 + 27 + 81 + int(f"{conv1}" * 4 + f"{pool}", 3)
    assert np.flatnonzero(space.path_encoding(longest)).tolist() == [expected]


# -- building ----------------------------------------------------------------------------------


def test_builds_what_the_task_needs():
    space = NasBench101(channels=6, stacks=2, modules_per_stack=1)
    task = TaskShape(in_channels=1, image_size=2, num_classes=7)
    network = space.build(space.parse(DIAMOND), task)
    assert (network.stem.conv.in_channels, network.stem.conv.out_channels) == (1, 6)
    assert (network.classifier.in_features, network.classifier.out_features) == (12, 7)
    with pytest.raises(SpaceError, match="2 stacks need images of at least 2 x 2 pixels, not 1"):
        space.build(space.parse(DIAMOND), TaskShape(1, 1, 2))

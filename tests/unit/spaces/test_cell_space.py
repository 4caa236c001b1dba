import itertools
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raynas import api
from raynas.config import construct
from raynas.errors import ConfigError, InvalidArchitectureError, SpaceError
from raynas.registry import lookup
from raynas.search_config import load_search_config
from raynas.setup import Parts, set_up
from raynas.spaces import SPACES
from raynas.spaces.architecture import Architecture
from raynas.spaces.cell_identity import identity
from raynas.spaces.cell_space import BUILT_IN, MAX_LISTED, CellSpace
from raynas.spaces.nasbench201 import OPS, NasBench201
from raynas.spaces.space import EnumerableSpace, TaskShape
from raynas.testing import SpaceContract

FOUR = ("none", "skip_connect", "nor_conv_3x3", "max_pool_3x3")
MINE = {"zero": "none", "pass": "skip_connect", "mine": "fractions:Fraction"}


class TestLast(SpaceContract):
    @pytest.fixture
    def space(self):
        return CellSpace(ops=FOUR)


class TestConcat(SpaceContract):
    @pytest.fixture
    def space(self):
        return CellSpace(ops=MINE, nodes=3, output="concat")


class TestTooLargeToList(SpaceContract):
    @pytest.fixture
    def space(self):
        return CellSpace(ops=FOUR, nodes=7)


@pytest.fixture
def space():
    return CellSpace(ops=MINE)


def cell(space, letters):
    """Make a cell from the first letters of its ops."""
    names = {name[0]: name for name in space.ops}
    ops = [names[letter] for letter in letters]
    nodes = []
    for target in range(1, space.nodes):
        nodes.append("".join(f"|{ops.pop(0)}~{source}" for source in range(target)) + "|")
    return space.parse("+".join(nodes))


def short(nodes=4, output="last"):
    """Return a space of ops none, skip, a and b."""
    return CellSpace(
        ops={"n": "none", "s": "skip_connect", "a": "nor_conv_1x1", "b": "nor_conv_3x3"},
        nodes=nodes,
        output=output,
    )


# -- the space itself --------------------------------------------------------------------------


def test_is_found_by_name():
    options = {"ops": {"none": "none", "skip": "skip_connect"}, "nodes": 3}
    space = construct("space", lookup("space", "cell", SPACES), options)
    assert isinstance(space, CellSpace)
    assert list(space.ops) == ["none", "skip"]
    with pytest.raises(ConfigError, match="did you mean 'nodes'"):
        construct("space", CellSpace, {**options, "node": 3})
    with pytest.raises(ConfigError, match=r"space\.ops: must be given"):
        construct("space", CellSpace, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ops": ["none"]}, "ops must be two or more, not ['none']"),
        ({"ops": "none"}, "ops must map names to ops, or list built-in ones, not 'none'"),
        ({"ops": 3}, "ops must map names"),
        (
            {"ops": ["none", "nor_conv3x3"]},
            "op 'nor_conv3x3' is unknown: 'nor_conv3x3', did you mean 'nor_conv_3x3'",
        ),
        ({"ops": {"none": "none", "a": 3}}, "op 'a' must be a class, or a function from channels"),
        ({"ops": {"none": "none", "a": None}}, "op 'a' must be a class"),
        ({"ops": {"none": "none", "a|b": "skip_connect"}}, "an op's name is letters"),
        ({"ops": {"none": "none", False: "skip_connect"}}, "an op's name is letters"),
        ({"ops": {"none": "none", "": "skip_connect"}}, "an op's name is letters"),
        ({"ops": {"none": "skip_connect", "a": "none"}}, "the op name 'none' is taken"),
        ({"ops": {"a": "none", "b": "none"}}, "ops 'a' and 'b' are the same"),
        ({"ops": FOUR, "nodes": 1}, "nodes must be a whole number of at least 2, not 1"),
        ({"ops": FOUR, "output": "sum"}, "output must be one of last, concat, not 'sum'"),
        ({"ops": FOUR, "channels": 0}, "channels must be"),
        ({"ops": FOUR, "stages": True}, "stages must be"),
        ({"ops": FOUR, "cells_per_stage": "5"}, "cells_per_stage must be"),
    ],
)
def test_refuses_arguments_in_one_line(options, message):
    with pytest.raises(SpaceError, match=re.escape(message)) as caught:
        CellSpace(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module:Op", "op 'mine' 'no_such_module:Op': cannot import 'no_such_module'"),
        ("fractions:Fractoin", "has no 'Fractoin', did you mean 'Fraction'"),
        (":Op", "op 'mine': importing ':Op' failed: ValueError"),
        ("broken_ops:Op", "op 'mine': importing 'broken_ops:Op' failed: ZeroDivisionError"),
    ],
)
def test_says_which_op_cannot_be_imported(path, message, tmp_path, monkeypatch):
    (tmp_path / "broken_ops.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        CellSpace(ops={"none": "none", "mine": path})
    assert "\n" not in str(caught.value)


def test_refuses_a_module_instead_of_its_class():
    class Instance:
        forward = __call__ = print

    with pytest.raises(SpaceError, match="op 'mine' must be a class"):
        CellSpace(ops={"none": "none", "mine": Instance()})


def test_is_listed_up_to_a_size():
    assert isinstance(CellSpace(ops=FOUR), EnumerableSpace)
    large = CellSpace(ops=BUILT_IN, nodes=5)
    assert len(BUILT_IN) ** 10 > MAX_LISTED
    assert not isinstance(large, EnumerableSpace)
    assert isinstance(pickle.loads(pickle.dumps(CellSpace(ops=FOUR))), EnumerableSpace)


def test_a_class_of_ones_own_stays_itself():
    class Own(CellSpace):
        pass

    assert type(Own(ops=FOUR)) is Own


def test_pickles_small_and_is_the_same(space):
    clone = pickle.loads(pickle.dumps(space))
    assert len(pickle.dumps(space)) < 700
    assert repr(clone) == repr(space)
    assert list(clone) == list(space)


def test_code_is_named_before_it_is_imported():
    options = {"ops": {**MINE, "theirs": "no_such_module:Op"}, "nodes": 3}
    assert CellSpace.code_in(options) == ["fractions:Fraction", "no_such_module:Op"]
    assert CellSpace.code_in({"ops": FOUR}) == CellSpace.code_in({}) == []


def test_needs_no_torch():
    code = (
        "import sys; from raynas.spaces.cell_space import CellSpace as S; "
        "s = S(ops=['none', 'skip_connect']); s.key(next(iter(s))); assert 'torch' not in "
        "sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- texts -------------------------------------------------------------------------------------


def test_texts_are_those_of_nasbench201():
    ours, theirs = CellSpace(ops=OPS), NasBench201()
    assert len(ours) == len(theirs)
    assert {a.text for a in ours} == {a.text for a in theirs}
    architecture = next(iter(ours))
    graphs = ours.graph(architecture), theirs.graph(Architecture("nasbench201", architecture.text))
    assert np.array_equal(graphs[0].adjacency, graphs[1].adjacency)


def test_listing_is_in_the_order_of_ops():
    space = CellSpace(ops=MINE, nodes=2)
    assert [a.text for a in space] == ["|zero~0|", "|pass~0|", "|mine~0|"]


TEXT = "|mine~0|+|zero~0|pass~1|"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected '|' at character 1, not the end"),
        (TEXT[:-1], "expected '~1|' at character 22, not '~1'"),
        (TEXT + "|", "nothing may follow after character 24, but '|' does"),
        (TEXT.replace("|+|", "|"), "expected '~0|+|' at character 6, not '~0|ze'"),
        (
            TEXT.replace("pass", "pas"),
            "'pas' at character 18 (edge 1 to 2) is no op of the space, did you mean 'pass'? "
            "(allowed: zero, pass, mine)",
        ),
        (TEXT.replace("zero", "x" * 10_000), "at character 11 (edge 0 to 2)"),
    ],
)
def test_says_where_a_text_is_wrong(text, message):
    space = CellSpace(ops=MINE, nodes=3)
    assert space.parse(f" {TEXT}\n").text == TEXT
    with pytest.raises(InvalidArchitectureError, match=re.escape(message)) as caught:
        space.parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_refuses_architectures_of_other_spaces(space):
    with pytest.raises(SpaceError, match="darts"):
        space.key(Architecture("darts", TEXT))


def test_mutations_reach_every_neighbour(space):
    rng = np.random.default_rng(0)
    architecture = cell(space, "mmpzpm")
    assert len(space.neighbours(architecture)) == 12
    drawn = {space.mutate(architecture, rng) for _ in range(300)}
    assert drawn == set(space.neighbours(architecture))


def test_choices_are_the_ops_of_edges():
    space = CellSpace(ops=MINE, nodes=3)
    assert space.choices() == (("zero", "pass", "mine"),) * 3
    assert space.from_choices((2, 0, 1)).text == TEXT
    assert all(space.from_choices(space.to_choices(a)) == a for a in space)
    for wrong in ((0, 0), (0, 0, 3), (0, -1, 0)):
        with pytest.raises(SpaceError, match="3 indices from 0 to 2"):
            space.from_choices(wrong)


# -- identity ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letters", "key"),
    [
        ("nnnnnn", "#"),
        ("aannnn", "#"),  # nothing reaches the last node
        ("nannnb", "1=a(0);2=b(1)"),
        ("annabn", "1=a(0);2=a(0)+b(1)"),
        ("annnsn", "1=a(0)"),  # a node that only passes on
        ("snnnan", "1=a(0)"),
        ("sansan", "1=a(0)+s(0)"),
        ("nnnsnn", "0"),
        ("snsnns", "0"),
        ("snnssn", "1=s(0)+s(0)"),
        ("aannss", "1=a(0);2=a(0);3=s(1)+s(2)"),  # two convolutions
        ("ansnss", "1=a(0);2=s(1)+s(1)"),  # are not one used twice
        ("bannss", "1=a(0);2=b(0);3=s(1)+s(2)"),
    ],
)
def test_key_says_what_is_connected(letters, key):
    space = short()
    assert space.key(cell(space, letters)) == key


@pytest.mark.parametrize(
    ("letters", "key"),
    [
        ("nnn", "#"),
        ("ann", "1=a(0);[1]"),
        ("nan", "1=a(0);[1]"),
        ("sns", "[0,0]"),
        ("asn", "1=a(0);[0,1]"),
        ("aan", "1=a(0);2=a(0);[1,2]"),
        ("ana", "1=a(0);2=a(1);[1,2]"),
        ("ans", "1=a(0);[1,1]"),
    ],
)
def test_key_of_a_concatenation_says_what_is_joined(letters, key):
    space = short(nodes=3, output="concat")
    assert space.key(cell(space, letters)) == key


def test_the_same_pool_twice_is_one_node():
    space = CellSpace(ops={"n": "none", "s": "skip_connect", "a": "avg_pool_3x3", "m": abs})
    twice, once = cell(space, "aannss"), cell(space, "ansnss")
    assert space.key(twice) == space.key(once) == "1=a(0);2=s(1)+s(1)"
    assert space.key(cell(space, "mmnnss")) != space.key(cell(space, "mnsnss"))


def connections(space, architecture):
    """Return the live graph with skips contracted, by brute force over paths: edges and outputs."""
    ops = dict(zip(space.edges, space.edge_ops(architecture), strict=True))
    outputs = range(1, space.nodes) if space.output == "concat" else [space.nodes - 1]

    def paths(node, behind=()):
        if node in outputs:
            yield from behind
        for target in range(node + 1, space.nodes):
            if ops[node, target] != "n":
                yield from paths(target, (*behind, (node, target)))

    live = set(paths(0))
    same = {0: 0}
    for node in range(1, space.nodes):
        into = [edge for edge in live if edge[1] == node]
        passed = len(into) == 1 and ops[into[0]] == "s"
        same[node] = same[into[0][0]] if passed else node
    edges = [
        (same[source], target, ops[source, target])
        for source, target in live
        if same[target] == target
    ]
    fed = {target for _, target in live}
    return edges, [same[node] for node in outputs if node in fed]


def simplest(space, architecture):
    """Return the least of all ways to number the nodes of the contracted live graph."""
    edges, outputs = connections(space, architecture)
    inner = sorted({target for _, target, _ in edges})
    return min(
        (
            sorted((place[s], place[t], op) for s, t, op in edges),
            sorted(place[node] for node in outputs),
        )
        for order in itertools.permutations(range(1, len(inner) + 1))
        for place in [{0: 0, **dict(zip(inner, order, strict=True))}]
    )


@pytest.mark.parametrize("space", [short(), short(3, "concat"), short(2)], ids=repr)
def test_keys_are_equal_if_the_graphs_are_the_same(space):
    classes = {}
    for architecture in space:
        found = repr(simplest(space, architecture))
        classes.setdefault(space.key(architecture), set()).add(found)
    assert all(len(graphs) == 1 for graphs in classes.values())
    assert len(set().union(*classes.values())) == len(classes)


@settings(deadline=None)
@given(st.sampled_from(["last", "concat"]), st.data())
def test_key_does_not_see_the_order_of_nodes(output, data):
    space = short(6, output)
    ops = data.draw(st.lists(st.sampled_from("nnnsab"), min_size=15, max_size=15))
    edges = {pair: op for pair, op in zip(space.edges, ops, strict=True) if op != "n"}
    last = space.nodes if output == "concat" else space.nodes - 1
    order = [0]
    while len(order) < last:
        left = [v for v in range(1, last) if v not in order]
        ready = [v for v in left if not any((s, v) in edges for s in left)]
        order.append(data.draw(st.sampled_from(ready)))
    order += range(last, space.nodes)
    place = {node: number for number, node in enumerate(order)}
    moved = {(place[source], place[target]): op for (source, target), op in edges.items()}
    renamed = [moved.get(pair, "n") for pair in space.edges]
    assert space.key(cell(space, renamed)) == space.key(cell(space, ops))


@settings(deadline=None, max_examples=8)
@given(st.sampled_from(["last", "concat"]), st.data())
def test_keys_of_cells_that_are_close_are_exact(output, data):
    space = short(6, output)
    letters = st.sampled_from("nnaab")
    ops = data.draw(st.lists(letters, min_size=15, max_size=15))
    near = [cell(space, ops), *space.neighbours(cell(space, ops))]
    graphs = {architecture: repr(simplest(space, architecture)) for architecture in near}
    pairs = {(space.key(architecture), graph) for architecture, graph in graphs.items()}
    assert len({key for key, _ in pairs}) == len({graph for _, graph in pairs}) == len(pairs)


def test_identity_is_cached_by_value():
    edges = tuple(short()._connections(cell(short(), "annnsn")))
    assert identity(edges, 4, False, frozenset("s"), frozenset("s")) == "1=a(0)"
    assert identity(edges, 4, False, frozenset(), frozenset()) == "1=a(0);2=s(1)"


# -- encodings ---------------------------------------------------------------------------------


def test_graph_of_a_concatenation_returns_every_node():
    space = CellSpace(ops=MINE, nodes=3, output="concat")
    graph = space.graph(space.parse(TEXT))
    found = {tuple(map(int, pair)) for pair in np.argwhere(graph.adjacency)}
    assert found == {(0, 1), (0, 2), (1, 3), (1, 4), (2, 4), (3, 4)}
    assert graph.labels.tolist() == [0, 3, 1, 2, 4]
    assert space.num_labels == 5
    graph.adjacency[:] = 9
    assert space.graph(space.parse(TEXT)).adjacency.max() == 1


# -- building and searching --------------------------------------------------------------------


def test_refuses_images_that_vanish():
    space = CellSpace(ops=FOUR, stages=4)
    with pytest.raises(SpaceError, match="4 stages need images of at least 8 x 8 pixels, not 7"):
        space.build(next(iter(space)), TaskShape(1, 7, 2))


OWN_OP = """
from torch import nn

class Shuffled(nn.Sequential):
    def __init__(self, channels):
        super().__init__(nn.ReLU(), nn.Conv2d(channels, channels, 1), nn.ChannelShuffle(2))
"""


def test_a_config_with_an_op_of_ones_own_is_searched(tmp_path, monkeypatch):
    (tmp_path / "own_ops.py").write_text(OWN_OP)
    (tmp_path / "config.yaml").write_text(
        "space: {name: cell, nodes: 3, channels: 4, stages: 2, cells_per_stage: 1,\n"
        "        ops: {none: none, skip: skip_connect, mine: 'own_ops:Shuffled'}}\n"
        "data: {name: digits, train_size: 64}\n"
        "levels: [1]\nlevel0: {mode: 'off'}\nproposer: random\npolicy: {per_round: 3}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = load_search_config(tmp_path / "config.yaml")
    assert "mine" in set_up(config, Parts(), workers=1).space.ops
    result = api.search(config=config, budget=3, engine="simulate", out=tmp_path / "run")
    trained = [candidate for candidate in result.pool if candidate.level > 0]
    assert len(trained) == 3
    assert not any(candidate.error for candidate in result.pool)
    assert any("mine~" in candidate.text for candidate in trained)


def test_a_space_of_ones_own_objects_is_searched(tmp_path):
    from torch import nn

    space = CellSpace(
        ops={"skip": "skip_connect", "mine": lambda channels: nn.Hardtanh()},
        nodes=2,
        channels=4,
        stages=1,
        cells_per_stage=1,
    )
    result = api.search(
        space=space,
        data={"name": "digits", "train_size": 64},
        levels=[1],
        budget=2,
        proposer="random",
        config={"level0": {"mode": "off"}},
        engine="simulate",
        out=tmp_path / "run",
    )
    assert {candidate.text for candidate in result.pool} == {"|skip~0|", "|mine~0|"}
    assert not any(candidate.error for candidate in result.pool)

import pickle
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from raynas.config import construct
from raynas.errors import ConfigError, InvalidArchitectureError, SpaceError
from raynas.registry import lookup
from raynas.spaces import SPACES
from raynas.spaces.architecture import Architecture
from raynas.spaces.darts import DartsFamily, DartsSpace, S1Space, S2Space, S3Space, S4Space
from raynas.spaces.darts_ops import EDGES, OPS, everywhere
from raynas.spaces.published import PUBLISHED
from raynas.spaces.space import SearchSpace, TaskShape
from raynas.testing import SpaceContract

SEP = "sep_conv_3x3"
SPACES_HERE = {
    "darts": DartsSpace,
    "s1": S1Space,
    "s2": S2Space,
    "s3": S3Space,
    "s4": S4Space,
}
DIGITS = TaskShape(in_channels=1, image_size=8, num_classes=10)


class TestDarts(SpaceContract):
    @pytest.fixture
    def space(self):
        return DartsSpace()


class TestDartsWithNone(SpaceContract):
    @pytest.fixture
    def space(self):
        return DartsSpace(with_none=True, channels=4)


class TestDartsOneCell(SpaceContract):
    @pytest.fixture
    def space(self):
        return DartsSpace(two_cells=False)


class TestS1(SpaceContract):
    @pytest.fixture
    def space(self):
        return S1Space()


class TestS2(SpaceContract):
    @pytest.fixture
    def space(self):
        return S2Space()


class TestS3(SpaceContract):
    @pytest.fixture
    def space(self):
        return S3Space()


class TestS4(SpaceContract):
    @pytest.fixture
    def space(self):
        return S4Space()


class TestS4OneCell(SpaceContract):
    @pytest.fixture
    def space(self):
        return S4Space(two_cells=False)


@pytest.fixture
def space():
    return DartsSpace()


@pytest.fixture
def one_cell():
    return DartsSpace(two_cells=False)


def cell(*nodes):
    """Write a cell of nodes such as ``"sep_conv_3x3 0 skip_connect 1"``."""
    return "+".join("|{}~{}|{}~{}|".format(*node.split()) for node in nodes)


SEPS = cell(*[f"{SEP} 0 {SEP} 1"] * 4)
CHAIN = cell(f"{SEP} 0 {SEP} 1", *[f"{SEP} {n} skip_connect {n + 1}" for n in (1, 2, 3)])


def both(text):
    return f"normal:{text};reduce:{text}"


# -- the spaces themselves ---------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACES_HERE)
def test_is_found_by_name(name):
    made = construct("space", lookup("space", name, SPACES), {"channels": 4})
    assert isinstance(made, SPACES_HERE[name])
    assert isinstance(made, SearchSpace)
    assert made.name == name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"two_cells": 1}, "two_cells must be true or false, not 1"),
        ({"channels": 0}, "channels must be a whole number of at least 1, not 0"),
        ({"channels": True}, "channels must be"),
        ({"channels": 1, "stem": "imagenet"}, "at least 2, not 1"),
        ({"layers": 2}, "layers must be a whole number of at least 3, not 2"),
        ({"layers": 8.0}, "layers must be"),
        ({"stem": "imgnet"}, "unknown stem 'imgnet', did you mean 'imagenet'? (allowed: cifar"),
        ({"stem": ["cifar"]}, "unknown stem ['cifar']"),
        ({"auxiliary": "yes"}, "auxiliary must be true or false, not 'yes'"),
        ({"drop_path": 1}, "drop_path must lie in [0, 1), not 1"),
        ({"drop_path": -0.1}, "drop_path must lie"),
        ({"drop_path": False}, "drop_path must lie"),
        ({"drop_path": "0.2"}, "drop_path must lie"),
    ],
)
def test_refuses_arguments_in_one_line(options, message):
    for kind in SPACES_HERE.values():
        with pytest.raises(SpaceError, match=re.escape(message)) as caught:
            kind(**options)
        assert "\n" not in str(caught.value)


def test_refuses_with_none_that_is_no_flag():
    with pytest.raises(SpaceError, match="with_none must be true or false"):
        DartsSpace(with_none="no")


def test_options_are_checked_by_name():
    with pytest.raises(ConfigError, match="did you mean 'with_none'"):
        construct("space", DartsSpace, {"with_non": True})
    with pytest.raises(ConfigError, match="unknown option"):
        construct("space", S2Space, {"with_none": True})


def test_no_cell_of_s1_serves_as_both():
    with pytest.raises(SpaceError, match=r"from state 0 to node 2 .* \(set two_cells: true\)"):
        S1Space(two_cells=False)


def test_is_tiny_to_send_even_after_use(space):
    space.sample(np.random.default_rng(0))
    assert len(pickle.dumps(space)) < 600
    assert repr(pickle.loads(pickle.dumps(space))) == repr(space)


def test_repr_makes_it_again():
    space = DartsSpace(two_cells=False, layers=5, with_none=True, drop_path=0.2)
    again = eval(repr(space))
    assert again.__getstate__() == space.__getstate__()


def test_needs_no_torch():
    code = (
        "import sys, numpy; from raynas.spaces.darts import DartsSpace as S; s = S(); "
        "a = s.sample(numpy.random.default_rng(0)); s.graph(a); s.key(a); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_spaces_do_not_share_their_ops():
    spaces = [kind() for kind in SPACES_HERE.values()]
    rng = np.random.default_rng(0)
    for space in spaces:  # in one process, one after the other
        allowed = [set(ops) - {"none"} for ops in space.edge_ops.normal]
        for _ in range(20):
            normal, _reduce = space.cells(space.sample(rng))
            for node, pairs in enumerate(normal, 2):
                for op, source in pairs:
                    assert op in allowed[EDGES.index((source, node))]


def test_a_space_of_ones_own_is_a_table():
    class Own(DartsFamily):
        name = "own"
        edge_ops = everywhere("none", "max_pool_3x3", "sep_conv_5x5")

    own = Own(layers=3, channels=2)
    architecture = own.sample(np.random.default_rng(0))
    assert own.parse(architecture.text) == architecture
    assert own.num_architectures == (180 * 2**8) ** 2


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        (("sep_conv_3x3", "sep_conv_7x7"), "unknown op 'sep_conv_7x7', did you mean"),
        (("none",), "from state 0 to node 2 has no op"),
    ],
)
@pytest.mark.parametrize("two_cells", [True, False])
def test_refuses_tables_in_one_line(ops, message, two_cells):
    class Own(DartsFamily):
        name = "own"
        edge_ops = everywhere(*ops)

    with pytest.raises(SpaceError, match=f"own: .*{message}"):
        Own(two_cells=two_cells)


# -- sampling ----------------------------------------------------------------------------------


def test_samples_are_uniform(one_cell):
    rng = np.random.default_rng(0)
    sources, ops = Counter(), Counter()
    for _ in range(3000):
        nodes, _ = one_cell.cells(one_cell.sample(rng))
        sources[tuple(source for _, source in nodes[2])] += 1
        ops.update(op for node in nodes for op, _ in node)
    assert set(sources) == {(a, b) for b in range(4) for a in range(b)}
    assert max(sources.values()) < 1.25 * min(sources.values())
    assert set(ops) == set(OPS[1:])
    assert max(ops.values()) < 1.1 * min(ops.values())


def test_none_is_never_drawn_and_noise_is():
    rng = np.random.default_rng(0)
    assert not any("none" in S3Space().sample(rng).text for _ in range(50))
    assert any("noise" in S4Space().sample(rng).text for _ in range(5))


# -- texts -------------------------------------------------------------------------------------


def test_reads_published_names_and_literals(space):
    literal = PUBLISHED["DARTS_V2"]
    architecture = space.parse(" DARTS_V2\n")
    assert architecture == space.parse(literal)
    normal, reduce = space.cells(architecture)
    assert normal[3] == (("skip_connect", 0), ("dil_conv_3x3", 2))
    assert reduce[1] == (("max_pool_3x3", 1), ("skip_connect", 2))
    assert space.parse(repr(space.genotype(architecture))) == architecture


def test_reads_other_spellings_of_a_literal(space):
    pairs = [(SEP, 1), (SEP, 0)] * 4
    plain = space.parse(both(SEPS))
    for literal in (
        f"Genotype(normal={pairs}, normal_concat=[2, 3, 4, 5], reduce={tuple(pairs)}, "
        "reduce_concat=(2, 3, 4, 5))",
        f"genotypes.Genotype(\n  {pairs},\n  range(2, 6),\n  {pairs},\n  range(2, 6),\n)",
        f"Genotype(normal={str(pairs).replace(chr(39), chr(34))}, reduce={pairs})",
    ):
        assert space.parse(literal) == plain


def test_pairs_are_ordered_by_source(space):
    swapped = cell(f"skip_connect 1 {SEP} 0", *[f"{SEP} 0 {SEP} 1"] * 3)
    ordered = cell(f"{SEP} 0 skip_connect 1", *[f"{SEP} 0 {SEP} 1"] * 3)
    assert space.parse(both(swapped)) == Architecture("darts", both(ordered))
    raw = Architecture("darts", both(swapped))  # never parsed, and yet of use
    assert space.key(raw) == space.key(space.parse(both(ordered)))


def test_one_cell_serves_as_both(one_cell):
    architecture = one_cell.parse(SEPS)
    normal, reduce = one_cell.cells(architecture)
    assert normal == reduce
    assert one_cell.parse(repr(one_cell.genotype(architecture))) == architecture
    with pytest.raises(InvalidArchitectureError, match="normal and reduce differ"):
        one_cell.parse("DARTS_V2")
    with pytest.raises(InvalidArchitectureError, match=r"expected '\|' at character 1"):
        one_cell.parse(both(SEPS))


FIRST = "normal:|"
PAIRS = [(SEP, 0), (SEP, 1)] * 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected 'normal:' at character 1, not the end (form: normal:|op~source|"),
        ("no architecture", "expected 'normal:' at character 1, not 'no arch'"),
        ("DARTS_V3", "published as 'DARTS_V3', did you mean 'DARTS_V2'? (known: DARTS_V1, "),
        (both(SEPS)[:-1], "expected an op~source and '|' at character 255, not 'sep_conv_3x3~1'"),
        (both(SEPS) + "|", "nothing may follow after character 269, but '|' does"),
        (both(SEPS).replace("+", "", 1), "expected '+|' at character 39, not '|s'"),
        (both(SEPS).replace(";", " "), "expected ';reduce:' at character 135"),
        (both(SEPS).replace("~1", "~2", 1), "at character 24, node 2 reads state 2 (allowed: 0"),
        (both(SEPS).replace("~1", "~0", 1), "at character 24, node 2 reads state 0 a second time"),
        (
            both(SEPS).replace("sep", "dep", 1),
            "at character 9, 'dep_conv_3x3' is no op of the edge from state 0 to node 2, "
            f"did you mean 'sep_conv_3x3'? (allowed: {', '.join(OPS[1:])})",
        ),
        (both(SEPS).replace(SEP, "none", 1), "'none' is no op of the edge"),
        (both(SEPS).replace(SEP, "x" * 10_000, 1), "at character 9"),
        (both(SEPS).replace(SEP, "no\nne", 1), r"'no\nne' is no op"),
        ("Genotype(normal=[", "no Python literal: '[' was never closed (line 1, character 17)"),
        ("Genotype(" + "(" * 5000, "no Python literal"),
        ("Genotype(" + "-" * 9000 + "1)", "no Python literal"),
        ("Genotype(" + " " * 20_000 + ")", "a literal of 20010 characters is too long"),
        ("Genotype(normal='\0')", "no Python literal"),
        ("Genotype(1) + 1", "expected Genotype(normal, normal_concat, reduce, reduce_concat)"),
        ("Genotype(1, 2, 3, 4, 5)", "expected Genotype("),
        ("Genotype()()", "expected Genotype("),
        ("a" + ".a" * 4000 + "()", "darts: "),
        ("Genotype(nrmal=1)", "'nrmal' is no field of Genotype, did you mean 'normal'?"),
        ("Genotype(**{})", "'None' is no field of Genotype"),
        ("Genotype([], normal=[])", "'normal' is given twice"),
        (f"Genotype({PAIRS})", "reduce must be a list of 8 pairs ('op', source), two for each"),
        (f"Genotype({PAIRS[:7]})", "normal must be a list of 8 pairs"),
        (f"Genotype({PAIRS}, range(2, 5), {PAIRS})", "normal_concat must be range(2, 6)"),
        (f"Genotype({PAIRS}, range(10**30), {PAIRS})", "normal_concat is no literal"),
        (f"Genotype({PAIRS}, range(), {PAIRS})", "normal_concat is no literal"),
        (f"Genotype({PAIRS}, range(0, {'9' * 30}), {PAIRS})", "normal_concat must be range(2, 6)"),
        (f"Genotype({PAIRS}, 5, {PAIRS})", "normal_concat must be range(2, 6)"),
        (f"Genotype({[*PAIRS[:7], (SEP, 5)]}, reduce={PAIRS})", "at normal[7], node 5 reads state"),
        (f"Genotype({PAIRS}, reduce={[*PAIRS[:7], (SEP, 0)]})", "at reduce[7], node 5 reads state"),
        (f"Genotype({PAIRS}, reduce={[*PAIRS[:7], (SEP, -1)]})", "reads state -1 (allowed"),
        (f"Genotype({PAIRS}, reduce={[*PAIRS[:7], (SEP, 1.0)]})", "reduce[7] is no pair"),
        (f"Genotype({PAIRS}, reduce={[*PAIRS[:7], (SEP, True)]})", "reduce[7] is no pair"),
        (f"Genotype({PAIRS}, reduce={[*PAIRS[:7], 1]})", "reduce[7] is no pair ('op', source)"),
        (f"Genotype({PAIRS}, reduce={PAIRS[:7]} + [('{SEP}', 0)])", "reduce is no literal"),
        (f"Genotype({str(PAIRS)[:-2]}*0x{'f' * 5000})], reduce=1)", "normal is no literal"),
        (f"Genotype({PAIRS}, reduce=[('{SEP}', 0x{'f' * 5000})] )", "reduce must be a list of 8"),
        ("Genotype(normal=__import__('os').getcwd())", "normal is no literal of lists"),
        ("open('x')", "expected Genotype("),
    ],
)
def test_says_where_a_text_is_wrong(space, text, message):
    with pytest.raises(InvalidArchitectureError, match=re.escape(message)) as caught:
        space.parse(text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("darts: ")
    assert len(str(caught.value)) < 350


def test_huge_numbers_are_refused(space):
    huge = f"Genotype({str(PAIRS[:7])[:-1]}, ('{SEP}', 0x{'f' * 5000})], reduce={PAIRS})"
    with pytest.raises(InvalidArchitectureError, match=re.escape("normal[7] is no pair")):
        space.parse(huge)


def test_an_edge_says_which_ops_it_has():
    rng = np.random.default_rng(0)
    space = S1Space()
    text = space.sample(rng).text
    op = text[len(FIRST) :].split("~")[0]
    with pytest.raises(InvalidArchitectureError, match=r"\(allowed: skip_connect, dil_conv_3x3\)"):
        space.parse(text.replace(op, "max_pool_3x3", 1))


def test_refuses_architectures_of_other_spaces(space):
    with pytest.raises(SpaceError, match="of space 's2', not darts"):
        space.key(S2Space().parse(both(SEPS)))


# -- neighbours --------------------------------------------------------------------------------


def test_neighbours_differ_in_one_op_or_one_source(space):
    architecture = space.parse("DARTS_V2")
    own = pairs_of(space, architecture)
    kinds = Counter()
    for neighbour in space.neighbours(architecture):
        gone, come = own - pairs_of(space, neighbour), pairs_of(space, neighbour) - own
        (((where, old_op, old_source),), ((there, op, source),)) = gone, come
        assert where == there
        assert (old_op == op) is not (old_source == source)
        kinds["op" if op != old_op else "source"] += 1
    assert kinds == {"op": 2 * 8 * 6, "source": 2 * (0 + 2 * 1 + 2 * 2 + 2 * 3)}


def pairs_of(space, architecture):
    return {
        ((kind, node), op, source)
        for kind, nodes in enumerate(space.cells(architecture))
        for node, pairs in enumerate(nodes)
        for op, source in pairs
    }


def test_mutations_reach_every_neighbour():
    for space in (S1Space(), DartsSpace(two_cells=False)):
        rng = np.random.default_rng(0)
        architecture = space.sample(rng)
        drawn = Counter(space.mutate(architecture, rng) for _ in range(2000))
        assert set(drawn) == set(space.neighbours(architecture))
        mean = 2000 / len(drawn)
        assert all(mean / 3 < count < 2 * mean for count in drawn.values())


def test_neighbours_connect_all_of_s1():
    """Where edges have different ops, a pair that moves may have to change its op."""
    space = S1Space()
    start = space.sample(np.random.default_rng(0))
    for kind in (0, 1):
        for node, count in enumerate((4, 12, 24, 40)):
            seen, left = {space.cells(start)[kind][node]}, [start]
            while left:
                for neighbour in space.neighbours(left.pop()):
                    found = space.cells(neighbour)[kind][node]
                    if found not in seen:
                        seen.add(found)
                        left.append(neighbour)
            assert len(seen) == count


# -- identity ----------------------------------------------------------------------------------


def test_key_does_not_see_the_numbers_of_nodes(space):
    one = cell(f"{SEP} 0 {SEP} 1", "max_pool_3x3 0 skip_connect 1", f"{SEP} 2 {SEP} 3", SEP_01)
    other = cell("max_pool_3x3 0 skip_connect 1", f"{SEP} 0 {SEP} 1", SEP_01, f"{SEP} 2 {SEP} 3")
    assert space.key(space.parse(both(one))) == space.key(space.parse(both(other)))


SEP_01 = f"{SEP} 0 {SEP} 1"


def test_key_sees_which_of_two_equal_nodes_is_read(space):
    """Two nodes of equal ops have weights of their own: one read twice is not each read once."""
    head = (SEP_01, SEP_01)
    twice = cell(*head, f"{SEP} 0 {SEP} 2", f"{SEP} 0 {SEP} 2")
    each = cell(*head, f"{SEP} 0 {SEP} 2", f"{SEP} 0 {SEP} 3")
    other = cell(*head, f"{SEP} 0 {SEP} 3", f"{SEP} 0 {SEP} 3")
    keys = [space.key(space.parse(both(text))) for text in (twice, each, other)]
    assert keys[0] == keys[2] != keys[1]


def test_key_sees_inputs_ops_and_kind_of_cell(space):
    texts = {
        both(SEPS),
        both(SEPS.replace("~0", "~9").replace("~1", "~0").replace("~9", "~1")),
        f"normal:{SEPS};reduce:{CHAIN}",
        f"normal:{CHAIN};reduce:{SEPS}",
        both(cell(f"skip_connect 0 {SEP} 1", *[SEP_01] * 3)),
        both(cell(f"{SEP} 0 skip_connect 1", *[SEP_01] * 3)),
    }
    parsed = {space.parse(text) for text in texts}
    assert len({space.key(architecture) for architecture in parsed}) == len(parsed) == 5


def test_key_is_an_architecture_of_a_uniform_space(space):
    rng = np.random.default_rng(3)
    for _ in range(20):
        key = space.key(space.sample(rng))
        assert space.key(space.parse(key)) == key == space.parse(key).text


# -- graphs ------------------------------------------------------------------------------------


def test_graph_of_one_cell(one_cell):
    text = cell(f"{SEP} 0 max_pool_3x3 1", f"skip_connect 0 {SEP} 2", SEP_01, f"{SEP} 1 {SEP} 3")
    graph = one_cell.graph(one_cell.parse(text))
    names = [one_cell.labels[label] for label in graph.labels]
    first = ["input_0", "input_1", SEP, "max_pool_3x3", "skip_connect", SEP]
    assert names == [*first, SEP, SEP, SEP, SEP, "output"]
    edges = {tuple(map(int, pair)) for pair in np.argwhere(graph.adjacency)}
    assert edges == {
        *((0, 2), (1, 3)),  # node 2
        *((0, 4), (2, 5), (3, 5)),  # node 3: its second op reads both ops of node 2
        *((0, 6), (1, 7)),
        *((1, 8), (4, 9), (5, 9)),
        *((op, 10) for op in range(2, 10)),
    }
    assert (graph.adjacency.dtype, graph.labels.dtype) == (np.int8, np.int64)


def test_graph_of_two_cells_is_both_side_by_side(space, one_cell):
    graph = space.graph(space.parse(f"normal:{SEPS};reduce:{CHAIN}"))
    for place, text in enumerate((SEPS, CHAIN)):
        part = slice(11 * place, 11 * place + 11)
        alone = one_cell.graph(one_cell.parse(text))
        assert np.array_equal(graph.adjacency[part, part], alone.adjacency)
        kind = ("normal ", "reduce ")[place]
        assert [space.labels[label] for label in graph.labels[part]] == [
            kind + one_cell.labels[label] for label in alone.labels
        ]
    assert not graph.adjacency[:11, 11:].any()
    assert not graph.adjacency[11:, :11].any()


def test_labels_are_those_that_occur(one_cell):
    assert one_cell.labels == (*OPS[1:], "input_0", "input_1", "output")
    assert one_cell.num_labels == 10
    assert S4Space().num_labels == 2 * (2 + 3)
    assert "normal avg_pool_3x3" not in S1Space().labels
    assert "reduce avg_pool_3x3" in S1Space().labels


def test_graphs_do_not_share_memory(space):
    architecture = space.parse("DARTS_V1")
    space.graph(architecture).adjacency[:] = 9
    assert space.graph(architecture).adjacency.max() == 1


# -- building ----------------------------------------------------------------------------------


def test_builds_what_was_asked_for():
    space = DartsSpace(channels=2, layers=4, drop_path=0.3)
    network = space.build(space.parse("DARTS_V2"), DIGITS)
    assert len(network.cells) == 4
    assert network.drop_path_probability == 0.3
    assert network.stem.conv.conv.in_channels == 1
    assert network.stem.conv.conv.out_channels == 6
    assert network.classifier.out_features == 10
    assert network.auxiliary is None


@pytest.mark.parametrize(
    ("options", "size", "message"),
    [
        ({}, 3, "stem cifar need images of at least 4 x 4 pixels, not 3"),
        ({"stem": "imagenet"}, 31, "stem imagenet need images of at least 32 x 32 pixels, not 31"),
        ({"auxiliary": True}, 28, "maps of 8 to 10 pixels a side, but images of 28 x 28 leave 7"),
        ({"auxiliary": True}, 41, "maps of 8 to 10 pixels a side, but images of 41 x 41 leave 11"),
        ({"auxiliary": True, "stem": "imagenet"}, 32, "7 to 8 pixels a side, but images of 32"),
    ],
)
def test_refuses_images_that_do_not_fit(options, size, message):
    space = DartsSpace(channels=2, layers=3, **options)
    with pytest.raises(SpaceError, match=re.escape(message)) as caught:
        space.build(space.parse("DARTS_V2"), TaskShape(3, size, 10))
    assert "\n" not in str(caught.value)

"""NAS-Bench-101 against published figures and measured rows of its own table."""

import itertools

import numpy as np
import pytest
import torch

from raynas.networks.cost import num_params
from raynas.spaces.architecture import Architecture
from raynas.spaces.nasbench101 import OPS, NasBench101
from raynas.spaces.space import TaskShape

SPACE = NasBench101()
CIFAR10 = TaskShape(in_channels=3, image_size=32, num_classes=10)


@pytest.fixture(scope="module")
def table(shared_data):
    pandas = pytest.importorskip("pandas")
    columns = ["module_hash", "adjacency_upper", "ops", "params"]
    found = pandas.read_parquet(shared_data / "nb101.parquet", columns=columns)
    names = [",".join(OPS[int(digit)] for digit in digits) for digits in found.ops]
    texts = [f"{ops}:{bits}" for ops, bits in zip(names, found.adjacency_upper, strict=True)]
    return found.assign(text=texts)


def params_of(text):
    with torch.device("meta"):
        return num_params(SPACE.build(Architecture("nasbench101", text), CIFAR10))


def reordered(text):
    """Yield a module with its inner vertices in every order that keeps edges going forwards."""
    ops, bits = text.split(":")
    ops = ops.split(",")
    last = len(ops) + 1
    pairs = list(itertools.combinations(range(last + 1), 2))
    edges = [pair for pair, bit in zip(pairs, bits, strict=True) if bit == "1"]
    for inner in itertools.permutations(range(1, last)):
        place = {vertex: number for number, vertex in enumerate((0, *inner, last))}
        moved = {(place[source], place[target]) for source, target in edges}
        if moved <= set(pairs):
            names = ",".join(ops[vertex - 1] for vertex in inner)
            yield f"{names}:{''.join(str(int(pair in moved)) for pair in pairs)}"


def test_hashes_are_the_published_ones(table):
    assert [SPACE.key(SPACE.parse(text)) for text in table.text] == table.module_hash.tolist()


def test_texts_of_the_table_are_pruned(table):
    assert [SPACE.parse(text).text for text in table.text] == table.text.tolist()


def test_changes_lead_to_every_module():
    """2,494 modules if all ops are one, as many as listing all matrices finds.

    With ops they are the published 423,624 (counted once, in two minutes).
    """
    start = SPACE.parse(":1")
    seen, todo = {start}, [start]
    while todo:
        for found in SPACE.neighbours(todo.pop()):
            if found not in seen and set(SPACE.module(found).ops) <= {"conv3x3"}:
                seen.add(found)
                todo.append(found)
    assert len({SPACE.key(architecture) for architecture in seen}) == 2494


def test_parameter_counts_are_the_published_ones(table):
    """Trainable parameters: convolutions, scales and shifts of batch norms, classifier.

    Where the channels do not divide among the vertices at the output, the count depends on their
    order, and the table was measured on another order of some modules: then that one must have it.
    """
    rows = np.random.default_rng(0).choice(len(table), 200, replace=False)
    exact = 0
    for row in table.iloc[rows].itertuples():
        if params_of(row.text) == row.params:
            exact += 1
            continue
        module = SPACE.module(SPACE.parse(row.text))
        at_output = [vertex for vertex in module.sources(len(row.ops) + 1) if vertex > 0]
        assert 128 % len(at_output)
        assert row.params in map(params_of, reordered(row.text))
    assert exact >= 180

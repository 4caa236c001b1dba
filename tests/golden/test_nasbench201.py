"""NAS-Bench-201 against published figures (algorithms.md §1.3, §11) and its own table."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from raynas.networks.cost import flops, num_params
from raynas.networks.nasbench201_network import NasBench201Network
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import TaskShape

TABLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "nb201.parquet"
SPACE = NasBench201()
CIFAR10 = TaskShape(in_channels=3, image_size=32, num_classes=10)


@pytest.fixture(scope="module")
def table():
    if not TABLE.exists():
        pytest.skip(f"no table of the benchmark at {TABLE}")
    pandas = pytest.importorskip("pandas")
    return pandas.read_parquet(TABLE, columns=["arch_str", "canonical_str", "params_c10"])


def same_op(op):
    return SPACE.parse(f"|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|")


def without_memory(architecture):
    with torch.device("meta"):
        return SPACE.build(architecture, CIFAR10)


def test_counts_of_cells_and_of_identities():
    assert len(SPACE) == len(list(SPACE)) == 15_625
    assert len({SPACE.canonical_text(a) for a in SPACE}) == 6_466
    assert len({SPACE.key(a) for a in SPACE}) == 5_390
    assert sum(map(SPACE.is_dead, SPACE)) == 341


def test_index_order_is_the_published_one():
    first = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|"
    best = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|"
    assert SPACE.architecture(0).text == first + "skip_connect~2|"
    assert SPACE.architecture(6111).text == best + "nor_conv_1x1~2|"
    assert SPACE.index(SPACE.architecture(6111)) == 6111
    listing = "\n".join(architecture.text for architecture in SPACE)
    assert (
        hashlib.sha256(listing.encode()).hexdigest()
        == "83abc799e45cf34e9d2163654668ab998b9a54d01c39e72ca1f71f2cdf356d84"
    )


@pytest.mark.parametrize(
    ("op", "params"),
    [
        ("nor_conv_3x3", 1_531_546),
        ("nor_conv_1x1", 241_306),
        ("skip_connect", 73_306),
        ("none", 73_306),
    ],
)
def test_parameter_counts(op, params):
    assert num_params(without_memory(same_op(op))) == params


def test_multiply_accumulates():
    network = NasBench201Network(("nor_conv_3x3",) * 6)
    assert flops(network, CIFAR10) == 220_119_680


def test_texts_and_index_agree_with_the_table(table):
    assert [architecture.text for architecture in SPACE] == table.arch_str.tolist()


def test_canonical_texts_agree_with_the_table(table):
    assert [SPACE.canonical_text(a) for a in SPACE] == table.canonical_str.tolist()


def test_parameter_counts_agree_with_the_table(table):
    rows = np.random.default_rng(0).choice(len(table), 200, replace=False)
    counted = [num_params(without_memory(SPACE.architecture(int(row)))) for row in rows]
    assert counted == table.params_c10.iloc[rows].tolist()

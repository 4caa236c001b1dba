"""The DARTS family against published figures (algorithms.md §1.1, §1.2, §11)."""

import pytest
import torch
from torch import nn

from raynas.networks.cost import flops, num_params
from raynas.networks.darts_operations import FactorizedReduce, PointwiseConv, make_operation
from raynas.networks.operations import conv_norm
from raynas.spaces.darts import DartsFamily, DartsSpace, S1Space, S2Space, S3Space, S4Space
from raynas.spaces.darts_ops import EDGES, OPS, edge_index
from raynas.spaces.space import TaskShape

CIFAR10 = TaskShape(in_channels=3, image_size=32, num_classes=10)
IMAGENET = TaskShape(in_channels=3, image_size=224, num_classes=1000)

S1_BY_EDGE = """
    0   skip dil3   max avg
    1   skip dil5   max dil3
    2   skip dil5   max avg
    3   skip sep3   max avg
    4   skip dil3   skip dil5
    5   max skip    max avg
    6   skip sep3   max sep3
    7   skip sep3   skip dil3
    8   skip dil3   skip dil5
    9   skip sep3   max avg
    10  max skip    max avg
    11  skip dil3   skip dil5
    12  dil3 dil5   skip dil5
    13  dil3 dil5   skip dil5
"""


def without_memory(space, text, task):
    with torch.device("meta"):
        return space.build(space.parse(text), task)


def supernet_params(space: DartsFamily, *, channels: int = 16, layers: int = 8) -> int:
    """Count a supernet by its formula: every op of every edge, norms without parameters."""
    modules: list[nn.Module] = [conv_norm(3, 3 * channels, 3)]
    before = previous = 3 * channels
    halved = False
    for layer in range(layers):
        reduction = layer in (layers // 3, 2 * layers // 3)
        channels *= 2 if reduction else 1
        fit = FactorizedReduce if halved else PointwiseConv
        modules += [fit(before, channels, affine=False)]
        modules += [PointwiseConv(previous, channels, affine=False)]
        edge_ops = space.edge_ops.reduce if reduction else space.edge_ops.normal
        for (source, _), ops in zip(EDGES, edge_ops, strict=True):
            stride = 2 if reduction and source < 2 else 1
            modules += [
                make_operation(op, channels, stride, affine=False, pool_norm=True) for op in ops
            ]
        before, previous, halved = previous, 4 * channels, reduction
    modules.append(nn.Linear(previous, 10))
    return sum(map(num_params, modules))


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("DARTS_V1", 3_169_414),
        ("DARTS_V2", 3_349_342),
        ("DrNAS_cifar10", 4_099_294),
        ("darts_pt_s5_seed0", 2_851_246),
        ("darts_pt_s5_seed1", 3_053_206),
        ("darts_pt_s5_seed2", 2_658_142),
        ("darts_pt_s5_seed3", 3_328_174),
    ],
)
def test_parameters_of_published_architectures(name, params):
    space = DartsSpace(channels=36, layers=20)
    assert num_params(without_memory(space, name, CIFAR10)) == params


def test_parameters_of_the_auxiliary_classifier():
    space = DartsSpace(channels=36, layers=20, auxiliary=True)
    network = without_memory(space, "DARTS_V2", CIFAR10)
    assert num_params(network.auxiliary) == 476_426
    assert num_params(network) == 3_349_342 + 476_426


@pytest.mark.parametrize(
    ("space", "params"),
    [
        (DartsSpace(), 1_930_618),
        (DartsSpace(with_none=True), 1_930_618),
        (S1Space(), 405_146),
        (S2Space(), 665_466),
        (S3Space(), 665_466),
        (S4Space(), 624_506),
    ],
)
def test_ops_of_every_edge_add_up_to_the_supernet(space, params):
    with torch.device("meta"):
        assert supernet_params(space) == params


def test_mobile_setting():
    space = DartsSpace(channels=48, layers=14, stem="imagenet")
    network = space.build(space.parse("DARTS_V2"), IMAGENET)
    assert round(num_params(network) / 1e6, 1) == 4.7  # the paper's figure
    assert 500e6 < flops(network, IMAGENET) < 600e6  # the setting's bound


def test_numbers_of_architectures():
    assert DartsSpace(two_cells=False).num_architectures == 180 * 7**8
    assert DartsSpace().num_architectures == (180 * 7**8) ** 2
    for space in (S1Space(), S2Space(), S3Space(), S4Space()):
        assert space.num_architectures == (180 * 2**8) ** 2


def test_edges_are_numbered_as_published():
    assert len(EDGES) == 14
    assert [edge for edge, (_, node) in enumerate(EDGES) if node == 3] == [2, 3, 4]
    assert [edge_index(*edge) for edge in EDGES] == list(range(14))
    assert EDGES[5:9] == ((0, 4), (1, 4), (2, 4), (3, 4))


def test_tables_are_the_published_ones():
    names = {"skip": "skip_connect", "max": "max_pool_3x3", "avg": "avg_pool_3x3"}
    names |= {"sep3": "sep_conv_3x3", "dil3": "dil_conv_3x3", "dil5": "dil_conv_5x5"}
    for line in S1_BY_EDGE.strip().splitlines():
        edge, *ops = line.split()
        table = S1Space().edge_ops
        assert table.normal[int(edge)] == tuple(names[op] for op in ops[:2])
        assert table.reduce[int(edge)] == tuple(names[op] for op in ops[2:])
    one_list = {S2Space: "skip_connect sep_conv_3x3", S4Space: "noise sep_conv_3x3"}
    one_list |= {S3Space: "none skip_connect sep_conv_3x3", DartsSpace: " ".join(OPS[1:])}
    for space, ops in one_list.items():
        for cell in space().edge_ops:
            assert cell == (tuple(ops.split()),) * 14
    assert DartsSpace(with_none=True).edge_ops.reduce[13] == OPS

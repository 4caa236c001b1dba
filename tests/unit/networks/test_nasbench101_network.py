import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from raynas.networks.nasbench101_network import (
    NORM_MOMENTUM,
    Cell,
    NasBench101Network,
    vertex_channels,
)
from raynas.spaces.nasbench101 import NasBench101

SPACE = NasBench101()
SHAPE = {"channels": 7, "stacks": 2, "modules_per_stack": 2, "in_channels": 1, "num_classes": 3}

BY_HAND = (
    ":1",  # nothing but a projection
    "conv3x3:101",
    "maxpool3x3:111",  # the input joins the output
    "conv3x3,conv1x1:110011",
    "conv3x3,maxpool3x3,conv1x1:1111001101",
    "conv3x3,conv1x1,maxpool3x3,conv1x1,conv3x3:110001110000100010011",
    "conv1x1,conv3x3,maxpool3x3,conv1x1,conv1x1:111110000100001000101",
    "conv1x1,conv3x3,conv1x1,conv3x3,maxpool3x3:100010110001001100011",  # cut to its width
)


def module(text):
    return SPACE.module(SPACE.parse(text))


def samples(count):
    rng = np.random.default_rng(0)
    found = [SPACE.sample(rng) for _ in range(40 * count)]
    return [a.text for a in found if len(SPACE.module(a).rows) > 4][:count]


def make(text, seed=0, **shape):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return NasBench101Network(module(text), **{**SHAPE, **shape})


def batch(size=8, channels=1, count=6):
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(count, channels, size, size, generator=generator, dtype=torch.float64)
    return images, torch.arange(count) % 3


def step(network, images, labels):
    logits = network(images)
    F.cross_entropy(logits, labels).backward()
    return logits


# -- the same function as the paper's words, written straight ----------------------------------


def straight(network, text, images, channels, stacks, modules_per_stack):
    """Run `network`'s layers over the adjacency matrix."""
    matrix = SPACE.graph(SPACE.parse(text)).adjacency
    body = iter(network.body)
    features = network.stem(images)
    for stack in range(stacks):
        if stack:
            next(body)
            features = F.max_pool2d(features, 2)
        for _ in range(modules_per_stack):
            features = straight_cell(next(body), matrix, features, channels * 2**stack)
    return network.classifier(features.mean(dim=(2, 3)))


def straight_cell(cell, matrix, features, channels):
    last = len(matrix) - 1
    width = straight_widths(matrix, channels)
    values = {}
    for vertex in range(1, last):
        sources = [source for source in range(1, vertex) if matrix[source, vertex]]
        total = sum(values[source][:, : width[vertex]] for source in sources)
        if matrix[0, vertex]:
            total = total + cell.projections[str(vertex)](features)
        assert total.shape[1] == width[vertex]
        values[vertex] = cell.ops[str(vertex)](total)
    parts = [values[vertex] for vertex in range(1, last) if matrix[vertex, last]]
    joined = torch.cat(parts, dim=1) if parts else 0
    return joined + cell.projections[str(last)](features) if matrix[0, last] else joined


def straight_widths(matrix, channels):
    last = len(matrix) - 1
    share, left = divmod(channels, max(1, int(matrix[1:, last].sum())))
    width = {}
    for vertex in range(1, last):
        if matrix[vertex, last]:
            width[vertex], left = share + (left > 0), max(0, left - 1)
    for vertex in reversed(range(1, last)):
        fed = [width[target] for target in range(1, last) if matrix[vertex, target]]
        width.setdefault(vertex, max(fed, default=0))
    return width


@pytest.mark.parametrize("text", [*BY_HAND, *samples(6)])
def test_equals_the_straight_network(text):
    network = make(text).double().eval()
    images, _ = batch()
    expected = straight(network, text, images, 7, 2, 2)
    torch.testing.assert_close(network(images), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("text", BY_HAND)
def test_every_parameter_is_trained(text):
    network = make(text, stacks=1).double()
    images, labels = batch()
    step(network, images, labels)
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert sum(bool(p.grad.any()) for p in network.parameters()) > 3


# -- channels ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "out_channels", "widths"),
    [
        (":1", 7, [3, 7]),
        ("conv3x3:101", 7, [3, 7, 7]),
        ("conv3x3,conv1x1:110011", 7, [3, 4, 3, 7]),
        ("conv3x3,conv1x1,conv1x1:1110001011", 128, [3, 43, 43, 42, 128]),
        # vertex 1 feeds 2 (wider, at the output) and 3: the widest counts
        ("conv3x3,conv1x1,conv1x1:1000110011", 7, [3, 4, 4, 3, 7]),
        # vertex 1 feeds vertex 2, which feeds vertex 3
        ("conv3x3,conv1x1,conv1x1:1000100101", 7, [3, 7, 7, 7, 7]),
    ],
)
def test_channels_of_vertices(text, out_channels, widths):
    assert vertex_channels(module(text), 3, out_channels) == widths


def test_norms_are_the_papers():
    norms = [m for m in make(BY_HAND[4]).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(NORM_MOMENTUM, 1e-5)}
    network = make("conv3x3:101")
    network(batch()[0].float() + 1)
    stem = network.stem.norm
    assert 0 < stem.running_mean.abs().max() < 0.02  # three thousandths of the batch's


# -- shapes, weights, layout -------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 5, 8, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_image_that_does_not_vanish(size, channels):
    network = make(BY_HAND[5], in_channels=channels, modules_per_stack=1)
    images, labels = batch(size, channels)
    assert step(network, images.float(), labels).shape == (6, 3)
    assert network.eval()(images[:1].float()).shape == (1, 3)


def test_images_need_not_be_square_and_are_not_changed():
    images = torch.randn(2, 1, 5, 12)
    before = images.clone()
    assert make(BY_HAND[4])(images).shape == (2, 3)
    assert torch.equal(images, before)


def test_skeleton_is_the_published_one():
    network = NasBench101Network(module("conv3x3:101"))
    kinds = [isinstance(part, Cell) for part in network.body]
    assert kinds == [True, True, True, False, True, True, True, False, True, True, True]
    cells = [part for part in network.body if isinstance(part, Cell)]
    widths = [cell.ops["1"].conv.out_channels for cell in cells]
    assert widths == [128] * 3 + [256] * 3 + [512] * 3
    read = [cell.projections["1"].conv.in_channels for cell in cells]
    assert read == [128] * 4 + [256] * 3 + [512] * 2


def test_same_seed_same_weights():
    text = BY_HAND[4]
    first, again, other = make(text), make(text), make(text, seed=1)
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    assert not torch.equal(first.stem.conv.weight, other.stem.conv.weight)


def test_state_goes_through_a_file_that_holds_no_code(tmp_path):
    network, other = make(BY_HAND[5]), make(BY_HAND[5], seed=1)
    torch.save(network.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    images = batch()[0].float()
    assert torch.equal(network.eval()(images), other.eval()(images))


def test_works_in_channels_last():
    network = make("conv3x3,conv1x1,maxpool3x3:1110001011", channels=8)
    seen = []
    for part in network.body:
        part.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network(batch()[0].float())
    assert len(seen) == 5
    assert all(output.is_contiguous(memory_format=torch.channels_last) for output in seen)

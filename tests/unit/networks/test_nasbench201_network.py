import copy
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from raynas.networks.nasbench201_network import Cell, NasBench201Network
from raynas.spaces.nasbench201 import OPS

SHORT = dict(zip("0s13p", OPS, strict=True))
SHAPE = {"channels": 2, "cells_per_stage": 1, "in_channels": 1, "num_classes": 3}

# Edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3.
BY_HAND = (
    "333333",  # a ReLU shared by three convolutions
    "pppppp",  # a pool shared by three edges
    "ssssss",  # nodes that are their inputs
    "s3s1sp",  # a skip first: the sum must not be made in place
    "3p30s0",  # convolution 1-2 leads nowhere
    "013303",  # node 1 gets nothing, 1-2 has nothing to do
    "330000",  # dead: nothing reaches the output
    "000133",  # only the edge 0-3 lives
)
RANDOM = tuple(
    "".join("0s13p"[digit] for digit in row)
    for row in np.random.default_rng(0).integers(5, size=(12, 6))
)


def ops(cell):
    return tuple(SHORT[letter] for letter in cell)


def make(cell, seed=0, **shape):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return NasBench201Network(ops(cell), **{**SHAPE, **shape})


def batch(size=8, channels=1, count=6):
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(count, channels, size, size, generator=generator, dtype=torch.float64)
    return images, torch.arange(count) % 3


def copy_state(source, target):
    pairs = zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    for value, place in pairs:
        assert value.shape == place.shape
        place.copy_(value)


def train_step(network, images, labels):
    logits = network(images)
    F.cross_entropy(logits, labels).backward()
    return logits


def grad(parameter):
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


class Calls(TorchFunctionMode):
    """Counts the calls of torch functions by name."""

    def __init__(self):
        super().__init__()
        self.names = Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names[func.__name__] += 1
        return func(*args, **(kwargs or {}))


# -- the same function as one module per edge --------------------------------------------------


@pytest.mark.parametrize("cell", BY_HAND + RANDOM)
def test_equals_one_module_per_edge(cell, straight):
    network = make(cell, cells_per_stage=2).double()
    reference = straight(ops(cell), **{**SHAPE, "cells_per_stage": 2}).double()
    copy_state(network, reference)
    images, labels = batch()
    logits = train_step(network, images, labels)
    torch.testing.assert_close(logits, train_step(reference, images, labels), rtol=1e-9, atol=1e-9)
    pairs = zip(network.parameters(), reference.parameters(), strict=True)
    for parameter, expected in pairs:
        torch.testing.assert_close(grad(parameter), grad(expected), rtol=1e-8, atol=1e-9)
    # and with the running statistics of that step
    network.eval(), reference.eval()
    torch.testing.assert_close(network(images), reference(images), rtol=1e-9, atol=1e-9)


def test_images_get_the_same_gradient(straight):
    network, reference = make("s3p1s3").double(), straight(ops("s3p1s3"), **SHAPE).double()
    copy_state(network, reference)
    grads = []
    for each in (network, reference):
        images = batch()[0].requires_grad_()
        grads.append(torch.autograd.grad(each(images).square().sum(), images)[0])
    torch.testing.assert_close(*grads, rtol=1e-8, atol=1e-9)


# -- only what is needed is done ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "relus", "pools", "convs", "sums"),
    [
        ("333333", 3, 0, 6, 3),
        ("pppppp", 0, 3, 0, 3),
        ("ssssss", 0, 0, 0, 3),
        ("p0pp3p", 1, 3, 1, 2),  # pool of node 0 shared by two edges
        ("3p30s0", 1, 0, 1, 0),
        ("013303", 2, 0, 3, 1),
        ("330000", 0, 0, 0, 0),
    ],
)
def test_a_cell_runs_what_leads_to_its_output_and_shares_it(cell, relus, pools, convs, sums):
    module = make(cell).eval().body[0]
    assert isinstance(module, Cell)
    with Calls() as calls, torch.no_grad():
        module(torch.randn(2, 2, 8, 8))
    names = calls.names
    assert (names["relu"], names["avg_pool2d"], names["conv2d"]) == (relus, pools, convs)
    assert names["batch_norm"] == convs
    assert names["add"] + names["add_"] == sums


def test_parameters_that_do_nothing_are_kept_but_never_touched():
    cell = "3p30s0"  # 1-2 is dead, 0-1 alive
    network = make(cell)
    before = copy.deepcopy(network.state_dict())
    images, labels = batch()
    train_step(network, images.float(), labels)
    alive, dead = (network.body[0].convs[name] for name in ("0_1", "1_2"))
    assert alive.conv.weight.grad is not None
    assert all(parameter.grad is None for parameter in dead.parameters())
    after = network.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert "body.0.convs.0_1.norm.running_mean" in changed
    assert not any(".1_2." in name for name in changed)


def test_dead_networks_train_and_do_not_see_the_image():
    network = make("330000")
    images, labels = batch()
    logits = train_step(network, images.float(), labels)
    assert torch.equal(logits, logits[:1].expand_as(logits))
    assert network.classifier.bias.grad is not None


def test_inputs_are_not_changed():
    images = batch()[0].float()
    before = images.clone()
    for cell in ("ssssss", "s3s1sp", "333333"):
        make(cell)(images)
        assert torch.equal(images, before)
        module = make(cell).body[0]
        inside = torch.randn(2, 2, 8, 8)
        kept = inside.clone()
        module(inside)
        assert torch.equal(inside, kept)


# -- shapes, weights, layout -------------------------------------------------------------------


@pytest.mark.parametrize("size", [4, 5, 6, 7, 8, 9, 14, 28, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_image_from_four_pixels_up(size, channels):
    network = make("3ps1p3", in_channels=channels)
    images, labels = batch(size, channels)
    assert train_step(network, images.float(), labels).shape == (6, 3)
    network.eval()
    assert network(images[:1].float()).shape == (1, 3)


def test_images_need_not_be_square():
    assert make("3ps1p3")(torch.randn(2, 1, 5, 12)).shape == (2, 3)


def test_skeleton_is_the_published_one():
    network = NasBench201Network(ops("333333"), channels=4, cells_per_stage=5)
    kinds = [isinstance(module, Cell) for module in network.body]
    assert kinds == [*[True] * 5, False, *[True] * 5, False, *[True] * 5]
    cells = [module for module in network.body if isinstance(module, Cell)]
    widths = [cell.convs["0_1"].conv.out_channels for cell in cells]
    assert widths == [4] * 5 + [8] * 5 + [16] * 5


def test_same_seed_same_weights():
    first, again, other = make("313p3s"), make("313p3s"), make("313p3s", seed=1)
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    assert not torch.equal(first.stem.conv.weight, other.stem.conv.weight)


def test_state_goes_through_a_file_that_holds_no_code(tmp_path):
    network, other = make("313p3s"), make("313p3s", seed=1)
    torch.save(network.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    images = batch()[0].float()
    assert torch.equal(network.eval()(images), other.eval()(images))


def test_works_in_channels_last():
    network = make("3ps1p3", channels=4)
    network.load_state_dict(make("3ps1p3", seed=1, channels=4).state_dict())
    seen = []
    for cell in network.body:
        cell.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network(batch()[0].float())
    assert len(seen) == 5
    assert all(output.is_contiguous(memory_format=torch.channels_last) for output in seen)

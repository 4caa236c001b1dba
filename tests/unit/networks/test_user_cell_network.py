import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from raynas.errors import SpaceError
from raynas.networks.cost import num_params
from raynas.networks.user_cell_network import MODULES, UserCell
from raynas.spaces.cell import NONE
from raynas.spaces.cell_space import BUILT_IN, CellSpace
from raynas.spaces.nasbench201 import OPS, NasBench201
from raynas.spaces.space import TaskShape

TASK = TaskShape(in_channels=1, image_size=8, num_classes=3)


class Scale(nn.Module):
    """Multiplies by the channels it was made for; counts its calls."""

    def __init__(self, channels):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(float(channels)))

    def forward(self, images):
        return images * self.factor


def make_space(ops=None, **options):
    defaults = {"nodes": 3, "channels": 4, "stages": 2, "cells_per_stage": 1}
    ops = ops or {"none": "none", "skip": "skip_connect", "scale": Scale}
    return CellSpace(ops=ops, **{**defaults, **options})


def build(space, text, task=TASK, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return space.build(space.parse(text), task)


def images(size=8, channels=1, count=4):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, channels, size, size, generator=generator)


# -- cells -------------------------------------------------------------------------------------


def test_every_built_in_op_has_a_module():
    assert {NONE, *MODULES} == set(BUILT_IN)
    for make in MODULES.values():
        assert make(6)(images(5, 6)).shape == (4, 6, 5, 5)


@pytest.mark.parametrize("index", [0, 1462, 6111, 9930, 15624])
def test_cells_of_its_ops_are_those_of_nasbench201(index):
    theirs = NasBench201(channels=4, cells_per_stage=2)
    ours = CellSpace(ops=OPS, channels=4, cells_per_stage=2)
    text = theirs.architecture(index).text
    network, reference = (
        build(ours, text).double(),
        theirs.build(theirs.parse(text), TASK).double(),
    )
    live = iter(network.state_dict().values())
    for name, value in reference.state_dict().items():
        edge = re.search(r"convs\.(\d_\d)", name)
        if edge and not re.search(rf"ops\.{edge[1]}\.", " ".join(network.state_dict())):
            continue  # a dead edge, which only the benchmark's network has
        next(live).copy_(value)
    assert next(live, None) is None
    expected = reference(images().double())
    torch.testing.assert_close(network(images().double()), expected, rtol=1e-9, atol=1e-9)


def test_the_last_node_is_the_sum_of_its_ops():
    network = build(make_space(), "|scale~0|+|skip~0|scale~1|")
    value = images(8, 4)
    cell = network.body[0]
    assert isinstance(cell, UserCell)
    torch.testing.assert_close(cell(value), value + 4 * 4 * value)
    wider = network.body[2]
    torch.testing.assert_close(wider(images(4, 8)), images(4, 8) * 65)


def test_a_concatenation_joins_the_nodes_that_are_fed():
    space = make_space(output="concat")
    cell = build(space, "|scale~0|+|skip~0|scale~1|").body[0].eval()
    value = images(8, 4)
    joined = torch.cat([4 * value, value + 16 * value], dim=1)
    relu, conv, norm = cell.project
    torch.testing.assert_close(cell(value), norm(conv(relu(joined))))
    lone = build(space, "|none~0|+|scale~0|scale~1|").body[0].eval()
    assert lone.project[1].in_channels == 4
    assert build(space, "|none~0|+|none~0|scale~1|").body[0].project is None


@pytest.mark.parametrize("output", ["last", "concat"])
def test_dead_networks_train_and_do_not_see_the_image(output):
    network = build(make_space(output=output), "|none~0|+|none~0|scale~1|")
    logits = network(images())
    F.cross_entropy(logits, torch.arange(4) % 3).backward()
    assert torch.equal(logits, logits[:1].expand_as(logits))


def test_only_what_is_live_is_made_and_trained():
    space = make_space()
    network = build(space, "|scale~0|+|skip~0|none~1|")
    assert not any(isinstance(part, Scale) for part in network.modules())
    network = build(space, "|scale~0|+|skip~0|scale~1|")
    F.cross_entropy(network(images()), torch.arange(4) % 3).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("output", ["last", "concat"])
def test_equal_keys_have_equal_parameter_counts(output):
    space = make_space(output=output, stages=1)
    counts = {}
    for architecture in space:
        with torch.device("meta"):
            count = num_params(space.build(architecture, TASK))
        assert counts.setdefault(space.key(architecture), count) == count
    assert len(counts) < len(space)


# -- ops of the user's -------------------------------------------------------------------------


class Halved(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, images):
        return self.conv(images)


class Narrow(nn.Conv2d):
    """Is right up to eight channels."""

    def __init__(self, channels):
        super().__init__(channels, min(channels, 4), 1)


class Raises(nn.Identity):
    def forward(self, images):
        raise ValueError("not today,\nnor tomorrow")


class Tuple(nn.Identity):
    def forward(self, images):
        return images, images


def refuse(channels):
    raise RuntimeError("odd number")


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (
            Halved,
            "op 'mine' must keep the shape of its input, 2 x 4 x 8 x 8, but gave 2 x 4 x 4 x 4",
        ),
        (
            Narrow,
            "op 'mine' must keep the shape of its input, 2 x 8 x 4 x 4, but gave 2 x 4 x 4 x 4",
        ),
        (Tuple, "op 'mine' must keep the shape of its input, 2 x 4 x 8 x 8, but gave tuple"),
        (Raises, "op 'mine' fails on images 2 x 4 x 8 x 8: ValueError: not today, nor tomorrow"),
        (refuse, "op 'mine' cannot be built for 4 channels: RuntimeError: odd number"),
        (nn.Conv2d, "op 'mine' cannot be built for 4 channels: TypeError"),
        (lambda channels: channels, "op 'mine' made int, which is no module"),
        (
            lambda channels: nn.ReLU(inplace=True),
            "op 'mine' changes its input in place, which other edges read too",
        ),
    ],
)
def test_says_in_one_line_what_is_wrong_with_an_op(op, message):
    space = make_space({"none": "none", "mine": op})
    with pytest.raises(SpaceError, match=re.escape(message)) as caught:
        build(space, "|none~0|+|mine~0|none~1|")
    assert "\n" not in str(caught.value)
    build(space, "|mine~0|+|none~0|none~1|")  # where it is dead it does no harm


def test_trying_an_op_leaves_it_as_it_was():
    class Mixed(nn.Sequential):
        def __init__(self, channels):
            super().__init__(nn.BatchNorm2d(channels), nn.Dropout(0.5))
            self[0].eval()

    network = build(make_space({"none": "none", "mine": Mixed}), "|none~0|+|mine~0|none~1|")
    norm, dropout = network.body[0].ops["0_2"]
    assert not norm.training
    assert dropout.training
    assert norm.num_batches_tracked == 0


def test_ops_are_tried_once_a_stage():
    calls = []

    class Counted(nn.Identity):
        def forward(self, images):
            calls.append(tuple(images.shape))
            return images

    space = make_space({"none": "none", "mine": Counted}, cells_per_stage=3)
    build(space, "|mine~0|+|mine~0|mine~1|")
    assert calls == [(2, 4, 8, 8), (2, 8, 4, 4)]


def test_functions_and_partials_are_ops():
    conv = partial(nn.Conv2d, 4, kernel_size=1)
    space = make_space({"none": "none", "mine": conv, "other": MODULES["nor_conv_3x3"]}, stages=1)
    assert build(space, "|mine~0|+|other~0|none~1|")(images()).shape == (4, 3)


# -- shapes and weights ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 5, 8])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_image_that_does_not_vanish(size, channels):
    space = make_space({"pool": "max_pool_3x3", "conv": "nor_conv_3x3"}, output="concat")
    network = build(space, "|conv~0|+|pool~0|conv~1|", TaskShape(channels, size, 3))
    logits = network(images(size, channels))
    assert logits.shape == (4, 3)
    assert network.eval()(images(size, channels, 1)).shape == (1, 3)


def test_same_seed_same_weights():
    space = make_space({"none": "none", "conv": "nor_conv_3x3"})
    text = "|conv~0|+|conv~0|conv~1|"
    first, again, other = build(space, text), build(space, text), build(space, text, seed=1)
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    assert not torch.equal(first.stem.conv.weight, other.stem.conv.weight)


def test_works_in_channels_last():
    space = make_space({"pool": "avg_pool_3x3", "conv": "nor_conv_3x3"})
    network = build(space, "|conv~0|+|pool~0|conv~1|")
    seen = []
    for part in network.body:
        part.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network(images())
    assert len(seen) == 3
    assert all(output.is_contiguous(memory_format=torch.channels_last) for output in seen)

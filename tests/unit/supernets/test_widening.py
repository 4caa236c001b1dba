"""Wider supernets: shapes, the function of the channels there were, momentum."""

import pytest
import torch
import torch.nn.functional as F

from raynas.errors import SpaceError
from raynas.networks.seeding import seeded
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.darts import DartsSpace
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import TaskShape
from raynas.supernets.build import build_supernet
from raynas.supernets.decisions import Decisions
from raynas.supernets.widening import widen

CPU = torch.device("cpu")
TASK = TaskShape(in_channels=3, image_size=8, num_classes=5)
SPACES = [DartsSpace(channels=12, layers=3), NasBench201(channels=12, cells_per_stage=1)]


def make(space, partial):
    with seeded(0, CPU):
        supernet = build_supernet(space, TASK, partial=partial).double()
        for norm in supernet.norms():
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return supernet


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def mixture_of(supernet):
    with seeded(1, CPU):
        theta = [torch.rand(k.num_edges, k.num_ops).double() for k in supernet.kinds]
    return Decisions(supernet.kinds).mix(theta)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_shapes_are_those_of_a_supernet_built_so(space):
    narrow = make(space, 6)
    wide = widen(narrow, 4, generator()).supernet
    assert (narrow.partial, wide.partial) == (6, 4)
    built = build_supernet(space, TASK, partial=4).double()
    assert {n: v.shape for n, v in wide.state_dict().items()} == {
        n: v.shape for n, v in built.state_dict().items()
    }
    built.load_state_dict(wide.state_dict())
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(
        built(images, mixture_of(built)), wide(images, mixture_of(wide)), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_new_channels_are_copies_of_old_ones(space):
    narrow = make(space, 6)
    widened = widen(narrow, 4, generator())
    olds = dict(narrow.named_parameters())
    assert widened.channels
    for name, new in widened.supernet.named_parameters():
        old = olds[name]
        if name not in widened.channels:
            assert torch.equal(new, old)
            continue
        go, come = widened.channels[name]
        assert go[: len(old)].tolist() == list(range(len(old)))
        for row, source in zip(new, old[go], strict=True):
            assert torch.equal(row, source if come is None else source[come])


@pytest.mark.parametrize("op", ["dil_conv_3x3", "dil_conv_5x5"])
@pytest.mark.parametrize("layer", [0, 1])
def test_old_channels_compute_what_they_did_where_new_ones_are_silent(op, layer):
    narrow = make(SPACES[0], 6)
    wide = widen(narrow, 4, generator(3)).supernet
    column = narrow.kinds[0].ops[0].index(op)
    old, new = (net.eval().stages[layer].mixed.edges[0][column] for net in (narrow, wide))
    part = narrow.stages[layer].mixed.channels // 6
    images = torch.zeros(1, 3 * part // 2, 6, 6, dtype=torch.float64)
    images[:, :part] = torch.rand(1, part, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        before, after = old(images[:, :part]), new(images)
    assert after.shape[1] == 3 * part // 2
    torch.testing.assert_close(after[:, :part], before, rtol=1e-12, atol=1e-12)


def test_statistics_go_with_the_channels_of_their_layer():
    narrow = make(NasBench201(channels=12, cells_per_stage=1), 6)
    widened = widen(narrow, 2, generator())
    for number in (2, 3):
        old = narrow.stages[0].mixed.edges[1][number]
        new = widened.supernet.stages[0].mixed.edges[1][number]
        go, _ = widened.channels[f"stages.0.mixed.edges.1.{number}.conv.weight"]
        assert torch.equal(new.norm.running_mean, old.norm.running_mean[go])
        assert torch.equal(new.norm.running_var, old.norm.running_var[go])


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_momentum_goes_along(space):
    narrow = make(space, 6)
    images, labels = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.arange(4)
    before = torch.optim.SGD(narrow.parameters(), lr=0.1, momentum=0.9)
    F.cross_entropy(narrow(images, mixture_of(narrow)), labels).backward()
    before.step()
    widened = widen(narrow, 4, generator())
    after = torch.optim.SGD(widened.supernet.parameters(), lr=0.1, momentum=0.9)
    widened.carry_momentum(before, narrow, after)
    olds = dict(narrow.named_parameters())
    carried = 0
    for name, new in widened.supernet.named_parameters():
        old = before.state[olds[name]].get("momentum_buffer")
        if old is None:
            assert new not in after.state
            continue
        carried += 1
        for axis, channels in enumerate(widened.channels.get(name, ())):
            if channels is not None:
                old = old.index_select(axis, channels)
        assert torch.equal(after.state[new]["momentum_buffer"], old)
    assert carried > 10
    F.cross_entropy(widened.supernet(images, mixture_of(narrow)), labels).backward()
    after.step()


def test_same_generator_same_copies():
    narrow = make(SPACES[1], 6)
    one, other, third = (widen(narrow, 4, generator(seed)) for seed in (0, 0, 1))
    for name, value in one.supernet.state_dict().items():
        assert torch.equal(value, other.supernet.state_dict()[name])
    first = {name: axes[0].tolist() for name, axes in one.channels.items()}
    assert first != {name: axes[0].tolist() for name, axes in third.channels.items()}


@pytest.mark.parametrize("partial", [5, 6, 7])
def test_only_to_more_channels_that_divide(partial):
    with pytest.raises(SpaceError, match="cannot be widened"):
        widen(make(SPACES[1], 6), partial, generator())


def test_ops_of_a_users_cannot_be_widened():
    ops = {"skip": "skip_connect", "mine": lambda channels: torch.nn.Conv2d(channels, channels, 1)}
    supernet = make(CellSpace(ops=ops, channels=4, stages=1), 2)
    with pytest.raises(SpaceError, match="op of your own"):
        widen(supernet, 1, generator())

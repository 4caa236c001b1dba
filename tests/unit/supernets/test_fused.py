"""The fused pieces: same values and gradients, of first and second order, from fewer tensors."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from raynas.networks.darts_operations import Pool, make_operation
from raynas.supernets.fused import phases, unphased, weighted_sum
from raynas.supernets.mixture import Mixture
from raynas.supernets.node_sum import NodeSum, State, Sums, Weights, joined
from raynas.supernets.norm import Norm


def images_of(count=2, channels=4, height=6, width=6, *, seed=0, grad=True):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, channels, height, width, generator=generator, dtype=torch.float64)
    return images.contiguous(memory_format=torch.channels_last).requires_grad_(grad)


def weights_of(*rows, edge_weights=None):
    rows = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    active = (torch.ones_like(rows) > 0).numpy()
    edges = None if edge_weights is None else (torch.tensor(edge_weights).double(),)
    return rows, Weights(Mixture((rows,), (active,), edges), 0)


@pytest.mark.parametrize(("terms", "weighted"), [(0, 1), (0, 3), (2, 0), (3, 0), (2, 2), (1, 1)])
def test_sum_and_its_gradients(terms, weighted):
    small = {"channels": 2, "height": 1, "width": 2}
    plain = [images_of(seed=seed, **small) for seed in range(terms)]
    others = [images_of(seed=10 + seed, **small) for seed in range(weighted)]
    scalars = [torch.rand((), dtype=torch.float64, requires_grad=True) for _ in others]

    def total(*tensors):
        images = tensors[terms : terms + weighted]
        pairs = list(zip(images, tensors[terms + weighted :], strict=True))
        return weighted_sum(tensors[:terms], pairs)

    inputs = (*plain, *others, *scalars)
    before = [tensor.detach().clone() for tensor in inputs]
    expected = sum(w * x for x, w in zip(others, scalars, strict=True)) + sum(plain)
    torch.testing.assert_close(total(*inputs), expected, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))
    assert gradcheck(total, inputs)
    assert gradgradcheck(total, inputs)


def test_sum_of_one_term_is_the_term_and_of_none_is_none():
    images = images_of()
    assert weighted_sum([images], []) is images
    assert weighted_sum([], []) is None


def test_sum_of_half_floats_has_full_gradients():
    images = torch.ones(1, 1, 64, 64, dtype=torch.bfloat16)
    weight = torch.tensor(0.5, requires_grad=True)
    total = weighted_sum([], [(images, weight)])
    assert total.dtype == torch.bfloat16
    total.backward(torch.ones_like(total))
    assert weight.grad == 64 * 64  # bfloat16 would have stopped at 256


def test_phases_are_every_second_pixel_and_come_back():
    images = images_of(height=4, width=8)
    apart = phases(images)
    assert apart.is_contiguous(memory_format=torch.channels_last)
    for number, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        assert torch.equal(apart[2 * number : 2 * number + 2], images[:, :, row::2, column::2])
    assert torch.equal(unphased(apart), images)


@pytest.mark.parametrize("op", ["dil_conv_3x3", "dil_conv_5x5", "sep_conv_3x3", "skip_connect"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 6), (5, 6), (5, 5)])
def test_normed_ops_run_apart_give_what_they_give_whole(op, stride, size):
    operation = make_operation(op, 4, stride, affine=False, norm=Norm).double()
    images = images_of(height=size[0], width=size[1])
    rows, weights = weights_of([0.5, -0.7])
    parameters = list(operation.parameters())
    total = NodeSum()
    total.add_op(operation, State(images, stride=stride), weights, (0, 1))
    found = joined(total.sums(), 4)
    expected = rows[0, 1] * operation(F.relu(images) if operation.on_rectified else images)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(found)
    gradients = [
        torch.autograd.grad(output, [images, rows, *parameters], upstream)
        for output in (found, expected)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_a_state_is_pooled_once():
    pool = Pool("max", 1, Norm(4, affine=False).double())
    calls = []
    pool.register_forward_hook(lambda *_: calls.append(1))
    state = State(images_of())
    _, weights = weights_of([0.5], [0.25])
    for edge in range(2):
        total = NodeSum()
        total.add_op(pool, state, weights, (edge, 0))
        total.sums()
    assert calls == [1]


def test_weights_are_gathered_once_and_their_gradients_add_up():
    rows, weights = weights_of([1.0, 2.0], [3.0, 4.0], edge_weights=[1.0, 10.0])
    channels = weights.channels(1, 0, 3)
    assert channels.tolist() == [30.0] * 3
    assert channels.is_contiguous()
    assert weights.channels(1, 0, 3) is channels
    assert weights.scalar(1, 1).item() == 40
    assert weights.edge(1).item() == 10
    (channels.sum() + weights.scalar(1, 0) + weights.scalar(0, 1)).backward()
    assert rows.grad.tolist() == [[0, 1], [40, 0]]


@pytest.mark.parametrize("partial", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_channels_that_pass_by_are_shuffled_in(partial, stride):
    """Against the formula of PC-DARTS on one edge that doubles what it reads."""
    images = images_of(channels=8, grad=False)
    _, weights = weights_of([2.0])
    part = 8 // partial
    total = NodeSum()
    state = State(images, stride=stride, partial=partial)
    mixed = 2 * images[:, :part, ::stride, ::stride]
    total.add(Sums(mixed, None))
    total.add_passed(state, weights, 0)
    passed = images[:, part:]
    if stride == 2 and partial > 1:
        passed = F.max_pool2d(passed, 2)
    whole = torch.cat([mixed, passed], dim=1) if partial > 1 else mixed
    batch, channels, height, width = whole.shape
    grouped = whole.reshape(batch, partial, channels // partial, height, width)
    expected = grouped.transpose(1, 2).reshape(batch, channels, height, width)
    found = joined(total.sums(), part)
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_what_passes_by_alone_leaves_zeros_in_place_of_the_ops():
    state = State(images_of(channels=4, grad=False), partial=2)
    _, weights = weights_of([1.0])
    total = NodeSum()
    total.add_passed(state, weights, 0)
    found = joined(total.sums(), 2)
    assert found[:, ::2].abs().sum() == 0
    assert torch.equal(found[:, 1::2], state.full[:, 2:])


def test_paths_are_dropped_image_by_image_but_identities_are_kept():
    torch.manual_seed(0)
    images = torch.rand(64, 2, 2, 2, dtype=torch.float64) + 1
    _, weights = weights_of([0.5, 1.0])
    total = NodeSum(drop=0.25)
    total.add_op(make_operation("skip_connect", 2), State(images), weights, (0, 0))
    assert torch.equal(joined(total.sums(), 2), 0.5 * images)
    total = NodeSum(drop=0.25)
    pool = make_operation("max_pool_3x3", 2, affine=False)
    total.add_op(pool, State(images), weights, (0, 1))
    ratio = joined(total.sums(), 2) / pool(images)
    kept = ratio.flatten(1)
    assert ((kept == 0) | (kept - 4 / 3).abs().lt(1e-12)).all()
    assert (kept == kept[:, :1]).all()
    assert 0 < (kept[:, 0] == 0).sum() < 32


@pytest.mark.parametrize("size", [6, 5])
def test_a_dropped_image_is_dropped_in_all_of_its_phases(size):
    torch.manual_seed(0)
    operation = make_operation("dil_conv_3x3", 2, affine=False, norm=Norm).double()
    images = torch.randn(32, 2, size, size, dtype=torch.float64)
    _, weights = weights_of([1.0])
    total = NodeSum(drop=0.5)
    total.add_op(operation, State(images), weights, (0, 0))
    ratio = joined(total.sums(), 2) / operation(F.relu(images))
    torch.testing.assert_close(ratio, ratio[:, :1, :1, :1].expand_as(ratio))
    assert set(ratio[:, 0, 0, 0].round(decimals=6).tolist()) == {0.0, 2.0}

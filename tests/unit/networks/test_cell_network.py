"""The networks of the DARTS family against ones written straight: one module per op, all run."""

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from raynas.errors import SpaceError
from raynas.networks.cell_network import Cell, CellNetwork, drop_path, final_size
from raynas.networks.darts_operations import (
    FactorizedReduce,
    Identity,
    Noise,
    Pool,
    SeparableConv,
    make_operation,
)
from raynas.proxies.score import ProxySuite
from raynas.spaces.darts import DartsSpace, S4Space
from raynas.spaces.darts_ops import OPS
from raynas.spaces.space import TaskShape

NAMES = (*OPS, "noise")
SHAPE = {"channels": 2, "layers": 5, "in_channels": 1, "num_classes": 3}
SPACE = DartsSpace()

# All ops twice, every source; pools and ReLUs shared between nodes.
MIXED = (
    (("max_pool_3x3", 0), ("sep_conv_3x3", 1)),
    (("max_pool_3x3", 0), ("dil_conv_3x3", 2)),
    (("skip_connect", 1), ("avg_pool_3x3", 3)),
    (("sep_conv_5x5", 3), ("dil_conv_5x5", 4)),
)
OTHER = (
    (("skip_connect", 0), ("avg_pool_3x3", 1)),
    (("skip_connect", 1), ("max_pool_3x3", 2)),
    (("dil_conv_5x5", 0), ("avg_pool_3x3", 1)),
    (("sep_conv_5x5", 1), ("max_pool_3x3", 2)),
)


def make(normal=MIXED, reduce=OTHER, seed=0, **shape):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CellNetwork(normal, reduce, **{**SHAPE, **shape})


def batch(size=8, channels=1, count=6):
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(count, channels, size, size, generator=generator, dtype=torch.float64)
    return images, torch.arange(count) % 3


def train_step(network, images, labels):
    logits = network(images)
    F.cross_entropy(logits, labels).backward()
    return logits


# -- the same function, written straight -------------------------------------------------------


class Halves(nn.Module):
    """Two strided convolutions, the second of the image without its first row and column."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.even = nn.Conv2d(in_channels, out_channels // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(in_channels, out_channels // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, images: Tensor) -> Tensor:
        images = F.relu(images)
        return self.norm(torch.cat([self.even(images), self.odd(images[..., 1:, 1:])], 1))


def straight_op(op: str, channels: int, stride: int) -> nn.Module:
    if op == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, 1)
    if op == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    if op == "skip_connect":
        return nn.Identity() if stride == 1 else Halves(channels, channels)
    side = int(op[-1])
    dilation = 2 if op.startswith("dil") else 1
    layers: list[nn.Module] = []
    for step in [stride] if dilation == 2 else [stride, 1]:
        pad = (side - 1) * dilation // 2
        options = {"dilation": dilation, "groups": channels, "bias": False}
        layers += [nn.ReLU(), nn.Conv2d(channels, channels, side, step, pad, **options)]
        layers += [nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels)]
    return nn.Sequential(*layers)


def fit(in_channels: int, channels: int) -> nn.Module:
    conv = nn.Conv2d(in_channels, channels, 1, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(channels))


class StraightCell(nn.Module):
    def __init__(self, nodes, before, previous, channels, reduction, halved) -> None:
        super().__init__()
        self.before = (Halves if halved else fit)(before, channels)
        self.previous = fit(previous, channels)
        self.pairs = [pair for node in nodes for pair in node]
        self.ops = nn.ModuleList(
            straight_op(op, channels, 2 if reduction and source < 2 else 1)
            for op, source in self.pairs
        )

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        states = [self.before(before), self.previous(previous)]
        outputs = iter(zip(self.ops, self.pairs, strict=True))
        for _ in range(4):
            states.append(
                sum(op(states[source]) for op, (_, source) in [next(outputs), next(outputs)])
            )
        return torch.cat(states[2:], 1)


def step_norm(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
    return [conv, nn.BatchNorm2d(out_channels)]


class StraightNetwork(nn.Module):
    """Parameters and buffers come in the same order as those of `CellNetwork`."""

    def __init__(
        self, normal, reduce, *, channels, layers, in_channels, num_classes, stem="cifar"
    ) -> None:
        super().__init__()
        self.imagenet = stem == "imagenet"
        if self.imagenet:
            first = step_norm(in_channels, channels // 2, 2)
            self.stem0 = nn.Sequential(*first, nn.ReLU(), *step_norm(channels // 2, channels, 2))
            self.stem1 = nn.Sequential(nn.ReLU(), *step_norm(channels, channels, 2))
            before = previous = channels
        else:
            self.stem0 = nn.Sequential(*step_norm(in_channels, 3 * channels, 1))
            before = previous = 3 * channels
        halved = self.imagenet
        self.cells = nn.ModuleList()
        for layer in range(layers):
            reduction = layer in (layers // 3, 2 * layers // 3)
            channels = 2 * channels if reduction else channels
            nodes = reduce if reduction else normal
            self.cells.append(StraightCell(nodes, before, previous, channels, reduction, halved))
            before, previous, halved = previous, 4 * channels, reduction
        self.classifier = nn.Linear(previous, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        before = self.stem0(images)
        previous = self.stem1(before) if self.imagenet else before
        for cell in self.cells:
            before, previous = previous, cell(before, previous)
        return self.classifier(F.adaptive_avg_pool2d(previous, 1).flatten(1))


def copy_state(source, target):
    pairs = zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    for value, place in pairs:
        assert value.shape == place.shape
        place.copy_(value)


def grad(parameter):
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def drawn(seed):
    return SPACE.cells(SPACE.sample(np.random.default_rng(seed)))


@pytest.mark.parametrize(
    ("cells", "shape"),
    [
        ((MIXED, OTHER), {}),
        ((OTHER, MIXED), {"layers": 3}),
        ((MIXED, OTHER), {"stem": "imagenet"}),
        *((drawn(seed), {}) for seed in range(4)),
    ],
)
def test_equals_one_module_per_op(cells, shape):
    network = make(*cells, **shape).double()
    reference = StraightNetwork(*cells, **{**SHAPE, **shape}).double()
    copy_state(network, reference)
    images, labels = batch(32 if "stem" in shape else 8)
    logits = train_step(network, images, labels)
    torch.testing.assert_close(logits, train_step(reference, images, labels), rtol=1e-9, atol=1e-9)
    pairs = zip(network.parameters(), reference.parameters(), strict=True)
    for parameter, expected in pairs:
        torch.testing.assert_close(grad(parameter), grad(expected), rtol=1e-7, atol=1e-9)
    # and with the running statistics of that step
    network.eval(), reference.eval()
    torch.testing.assert_close(network(images), reference(images), rtol=1e-9, atol=1e-9)


def test_equal_keys_are_equal_functions_of_permuted_channels():
    """A cell whose nodes are numbered otherwise gives the same nodes in another order."""
    one = (MIXED[0], (("skip_connect", 0), ("dil_conv_3x3", 1)), MIXED[2], MIXED[3])
    other = (
        one[1],
        one[0],
        (("skip_connect", 1), ("avg_pool_3x3", 2)),
        (("sep_conv_5x5", 2), ("dil_conv_5x5", 4)),
    )
    keys = {SPACE.key(SPACE.parse(literal(cell))) for cell in (one, other)}
    assert len(keys) == 1
    cells = [Cell(c, (3, 3), 2, reduction=True, halved=False).double() for c in (one, other)]
    order = (2, 3, 0, 1, 4, 5, 6, 7)  # of the ops of `one`, those of `other`
    cells[1].inputs.load_state_dict(cells[0].inputs.state_dict())
    for place, origin in enumerate(order):
        state = cells[0].operations[origin].state_dict()
        cells[1].operations[place].load_state_dict(state)
    images = batch(channels=3)[0]
    first, second = (cell(images, images).unflatten(1, (4, 2)) for cell in cells)
    torch.testing.assert_close(first[:, [1, 0, 2, 3]], second)


def literal(cell):
    pairs = [pair for node in cell for pair in node]
    return f"Genotype(normal={pairs}, reduce={pairs})"


# -- only what is needed is done ---------------------------------------------------------------


class Calls(TorchFunctionMode):
    """Counts the calls of torch functions by name."""

    def __init__(self):
        super().__init__()
        self.names = Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names[func.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_a_cell_computes_what_ops_share_once():
    cell = Cell(MIXED, (4, 4), 2, reduction=False, halved=False).eval()
    with Calls() as calls, torch.no_grad():
        cell(torch.rand(2, 4, 8, 8), torch.rand(2, 4, 8, 8))
    # states 1 to 4 are rectified (3 for one op, 4 for one), and the middles of two sep_convs
    assert calls.names["relu"] == 4 + 2
    assert calls.names["boolean_dispatch"] + calls.names["max_pool2d"] == 1
    assert calls.names["avg_pool2d"] == 1
    assert calls.names["conv2d"] == 2 + 4 + 2 + 4 + 2


def test_a_cell_output_is_rectified_once():
    pools = ((("max_pool_3x3", 0), ("avg_pool_3x3", 1)),) * 4
    network = make(pools, pools, layers=5).eval()
    with Calls() as calls, torch.no_grad():
        network(batch()[0].float())
    assert calls.names["relu"] == 1 + 5  # of the stem and of each cell, read by two cells


def test_inputs_are_not_changed():
    network = make()
    images = batch()[0].float()
    before = images.clone()
    network(images)
    assert torch.equal(images, before)
    inside = torch.randn(2, 6, 8, 8)
    kept = inside.clone()
    network.cells[0](inside, inside, 0.5)
    assert torch.equal(inside, kept)


# -- dropped paths -----------------------------------------------------------------------------


def test_drop_path_keeps_or_drops_each_image_by_itself():
    images = torch.ones(400, 2, 3, 3)
    torch.manual_seed(0)
    dropped = drop_path(images, 0.25)
    kept = dropped[:, 0, 0, 0] > 0
    assert torch.equal(dropped, images * kept.view(-1, 1, 1, 1) / 0.75)
    assert 270 < int(kept.sum()) < 330
    assert torch.equal(images, torch.ones_like(images))


def test_drop_path_of_nothing_is_the_same_tensor_and_draws_nothing():
    images = torch.ones(2, 1, 1, 1)
    state = torch.get_rng_state()
    assert drop_path(images, 0.0) is images
    assert torch.equal(torch.get_rng_state(), state)


def test_paths_are_dropped_in_training_only():
    network = make(drop_path=0.9)
    images = batch()[0].float()
    network(images)  # running statistics
    plain = make()
    plain.load_state_dict(network.state_dict())
    assert torch.equal(network.eval()(images), plain.eval()(images))
    network.train(), plain.train()
    assert not torch.equal(network(images), plain(images))
    network.drop_path_probability = 0.0  # as a training loop sets it
    plain.load_state_dict(network.state_dict())
    assert torch.equal(network(images), plain(images))


def test_identities_are_never_dropped_and_everything_else_is(monkeypatch):
    seen = []

    def spy(images, probability):
        seen.append(probability)
        return images

    monkeypatch.setattr("raynas.networks.cell_network.drop_path", spy)
    for reduction, count in ((False, 5), (True, 8)):
        cell = Cell(OTHER[:1] * 3 + MIXED[:1], (4, 4), 2, reduction=reduction, halved=False)
        seen.clear()
        cell(torch.rand(2, 4, 8, 8), torch.rand(2, 4, 8, 8), 0.3)
        assert seen == [0.3] * count  # skips that halve are convolutions, so they are dropped


def test_a_shared_pool_is_dropped_for_each_edge_by_itself():
    pools = ((("max_pool_3x3", 0), ("max_pool_3x3", 1)),) * 4
    cell = Cell(pools, (4, 4), 2, reduction=False, halved=False)
    torch.manual_seed(0)
    output = cell(torch.rand(32, 4, 8, 8), torch.rand(32, 4, 8, 8), 0.5)
    nodes = output.unflatten(1, (4, 2))
    assert not torch.equal(nodes[:, 0], nodes[:, 1])


# -- the auxiliary classifier ------------------------------------------------------------------


@pytest.mark.parametrize(("size", "stem"), [(32, "cifar"), (40, "cifar"), (200, "imagenet")])
def test_auxiliary_logits_beside_the_logits(size, stem):
    space = DartsSpace(channels=2, layers=3, stem=stem, auxiliary=True)
    network = space.build(space.parse("DARTS_V2"), TaskShape(3, size, 7))
    images, labels = batch(size, channels=3, count=2)
    plain = network(images.float())
    assert plain.shape == (2, 7)
    logits, auxiliary = network.forward_with_auxiliary(images.float())
    assert torch.equal(logits, plain)
    assert auxiliary.shape == (2, 7)
    (F.cross_entropy(logits, labels) + 0.4 * F.cross_entropy(auxiliary, labels)).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_auxiliary_reads_the_second_reduction_cell():
    network = make(layers=7, auxiliary=True).eval()
    images = batch(32)[0].float()
    seen = []
    network.cells[4].register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        _, logits = network.forward_with_auxiliary(images)
        assert torch.equal(logits, network.auxiliary(F.relu(seen[0])))


def test_auxiliary_norms_are_as_published():
    cifar, imagenet = (make(auxiliary=True, stem=stem).auxiliary for stem in ("cifar", "imagenet"))
    assert sum(isinstance(module, nn.BatchNorm2d) for module in cifar.modules()) == 2
    assert sum(isinstance(module, nn.BatchNorm2d) for module in imagenet.modules()) == 1


def test_says_that_there_is_no_auxiliary_classifier():
    with pytest.raises(ValueError, match="no auxiliary classifier"):
        make().forward_with_auxiliary(batch()[0].float())


@pytest.mark.parametrize(
    ("size", "stem", "left"), [(32, "cifar", 8), (29, "cifar", 8), (224, "imagenet", 7)]
)
def test_final_size(size, stem, left):
    assert final_size(size, stem) == left
    network = make(stem=stem, layers=3).eval()
    seen = []
    network.cells[-1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        network(batch(size, count=1)[0].float())
    assert seen[0].shape[2:] == (left, left)


# -- shapes, weights, layout -------------------------------------------------------------------


@pytest.mark.parametrize("size", [4, 5, 7, 8, 9, 28])
def test_any_image_from_four_pixels_up(size):
    network = make(channels=1, layers=3)
    images, labels = batch(size)
    assert train_step(network, images.float(), labels).shape == (6, 3)
    assert network.eval()(images[:1].float()).shape == (1, 3)


@pytest.mark.parametrize("size", [32, 33, 47])
def test_any_image_from_32_pixels_up(size):
    network = make(stem="imagenet", layers=3)
    assert network(batch(size)[0].float()).shape == (6, 3)


def test_images_need_not_be_square():
    assert make()(torch.randn(2, 1, 5, 12)).shape == (2, 3)


def test_skeleton_is_the_published_one():
    network = make(layers=8, channels=4)
    widths = [cell.inputs[1].conv.out_channels for cell in network.cells]
    assert widths == [4, 4, 8, 8, 8, 16, 16, 16]  # reductions at 2 and 5
    assert network.stem.conv.conv.out_channels == 12
    assert network.classifier.in_features == 64
    halved = [isinstance(cell.inputs[0], FactorizedReduce) for cell in network.cells]
    assert halved == [False, False, False, True, False, False, True, False]
    assert isinstance(make(stem="imagenet").cells[0].inputs[0], FactorizedReduce)


def test_a_step_of_training_lowers_the_loss():
    network = make()
    images, labels = batch()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images.float()), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_same_seed_same_weights():
    first, again, other = make(), make(), make(seed=1)
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


def test_state_goes_through_a_file_that_holds_no_code(tmp_path):
    network, other = make(), make(seed=1)
    torch.save(network.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    images = batch()[0].float()
    assert torch.equal(network.eval()(images), other.eval()(images))


def test_works_in_channels_last():
    network = make(channels=4)
    seen = []
    for cell in network.cells:
        cell.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network(batch()[0].float())
    assert all(output.is_contiguous(memory_format=torch.channels_last) for output in seen)


def test_noise_is_drawn_from_torch_and_anew():
    space = S4Space(channels=2, layers=3)
    noise = "+".join(["|noise~0|noise~1|"] * 4)
    architecture = space.parse(f"normal:{noise};reduce:{noise}")
    network = space.build(architecture, TaskShape(1, 8, 3)).eval()
    images = batch()[0].float()
    with torch.no_grad():
        torch.manual_seed(0)
        first, second = network(images), network(images)
        torch.manual_seed(0)
        assert torch.equal(network(images), first)
    assert not torch.equal(first, second)


def test_proxies_score_it():
    network = make()
    images, labels = batch(count=8)
    scores = ProxySuite().score(network, images.float(), labels)
    assert all(np.isfinite(score) for score in scores.values())


# -- operations --------------------------------------------------------------------------------


@pytest.mark.parametrize("op", NAMES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 4, 5])
def test_operations_keep_or_halve_the_size(op, stride, size):
    operation = make_operation(op, 4, stride, affine=False, pool_norm=True)
    images = torch.randn(3, 4, size, size + 1)
    expected = (3, 4, -(-size // stride), -(-(size + 1) // stride))
    assert operation(images).shape == expected


@pytest.mark.parametrize(("op", "norms"), [("max_pool_3x3", 1), ("sep_conv_3x3", 2)])
def test_norms_of_supernets_have_no_parameters(op, norms):
    operation = make_operation(op, 4, affine=False, pool_norm=True)
    found = [module for module in operation.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(found) == norms
    assert not any(module.affine for module in found)
    affine = make_operation(op, 4, affine=True, pool_norm=True)
    kinds = {module.affine for module in affine.modules() if isinstance(module, nn.BatchNorm2d)}
    assert kinds == {op != "max_pool_3x3"}  # a pool's norm never has any


def test_kinds_of_operations():
    assert make_operation("none", 4)(torch.ones(1, 4, 2, 2)).abs().sum() == 0
    assert isinstance(make_operation("skip_connect", 4), Identity)
    assert isinstance(make_operation("skip_connect", 4, 2), FactorizedReduce)
    assert isinstance(make_operation("noise", 4), Noise)
    assert isinstance(make_operation("avg_pool_3x3", 4), Pool)
    assert isinstance(make_operation("dil_conv_5x5", 4), SeparableConv)
    with pytest.raises(SpaceError, match="unknown op 'sep_conv_7x7', did you mean"):
        make_operation("sep_conv_7x7", 4)


def test_pools_leave_the_border_out():
    ones = torch.ones(1, 1, 4, 4)
    assert torch.equal(make_operation("avg_pool_3x3", 1)(ones), ones)
    assert torch.equal(make_operation("max_pool_3x3", 1)(-ones), -ones)


def test_noise_has_no_gradient_and_unit_variance():
    images = torch.full((64, 4, 8, 8), 5.0, requires_grad=True)
    torch.manual_seed(0)
    output = make_operation("noise", 4, 2)(images)
    assert not output.requires_grad
    assert output.shape == (64, 4, 4, 4)
    assert abs(float(output.mean())) < 0.1
    assert abs(float(output.std()) - 1) < 0.1


def test_a_skip_that_halves_sees_every_other_diagonal_pixel():
    """One convolution reads pixels of even row and column, the other those of odd."""
    operation = FactorizedReduce(1, 2)
    for conv in (operation.conv1, operation.conv2):
        nn.init.ones_(conv.weight)
    operation.eval()
    image = torch.arange(16.0).view(1, 1, 4, 4)
    halves = operation(image)[0] * (1 + operation.norm.eps) ** 0.5
    torch.testing.assert_close(halves[0], image[0, 0, ::2, ::2])
    torch.testing.assert_close(halves[1], image[0, 0, 1::2, 1::2])
    odd = operation(image[..., :3, :3])[0] * (1 + operation.norm.eps) ** 0.5
    torch.testing.assert_close(odd[1], torch.tensor([[5.0, 0.0], [0.0, 0.0]]))

"""Supernets: what runs, what does not, and what they are made for."""

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from raynas.errors import SpaceError
from raynas.networks.darts_operations import Identity, Operation, Pool, Zero
from raynas.networks.seeding import seeded
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.darts import DartsSpace, S2Space, S3Space, S4Space
from raynas.spaces.nasbench101 import NasBench101
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import TaskShape
from raynas.supernets.build import build_supernet
from raynas.supernets.decisions import Decisions

CPU = torch.device("cpu")
TASK = TaskShape(in_channels=3, image_size=8, num_classes=5)
NB201 = NasBench201(channels=4, cells_per_stage=1)


def make(space, **options):
    with seeded(0, CPU):
        supernet = build_supernet(space, TASK, **options)
        theta = [torch.rand(k.num_edges, k.num_ops) for k in supernet.kinds]
    return supernet, Decisions(supernet.kinds), theta


def images_of(count=2, size=8):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def runs_of(supernet, mixture):
    """Return how often ops were run, by stage, edge and op."""
    runs = Counter()
    for number, stage in enumerate(supernet.stages):
        for edge, operations in enumerate(getattr(getattr(stage, "mixed", None), "edges", [])):
            for op, operation in enumerate(operations):
                convs = [m for m in operation.modules() if isinstance(m, nn.Conv2d)]
                for conv in convs[-1:]:
                    conv.register_forward_hook(lambda *_, k=(number, edge, op): runs.update([k]))
    supernet(images_of(), mixture)
    return runs


def test_only_active_ops_are_run():
    supernet, decisions, theta = make(NB201)
    decisions.decide_op(0, 1, 3)  # nor_conv_3x3
    decisions.decide_op(0, 2, 1)  # skip
    decisions.prune_op(0, 3, 2)  # nor_conv_1x1
    runs = runs_of(supernet, decisions.mix(theta))
    ran = {edge: {op for s, e, op in runs if e == edge} for edge in range(6)}
    assert ran == {0: {2, 3}, 1: {3}, 2: set(), 3: {3}, 4: {2, 3}, 5: {2, 3}}
    assert set(runs.values()) == {1}


def test_edges_that_are_not_kept_add_nothing():
    supernet, decisions, theta = make(S2Space(channels=4, layers=3))
    decisions.keep_edges(0, 3, [2, 4])
    mixture = decisions.mix(theta)
    zeroed = [rows.clone() for rows in theta]
    zeroed[0][3] = 0
    supernet.tracking = False
    expected = supernet(images_of(), Decisions(supernet.kinds).mix(zeroed))
    torch.testing.assert_close(supernet(images_of(), mixture), expected, rtol=1e-4, atol=1e-5)
    assert not any(edge == 3 for stage, edge, _ in runs_of(supernet, mixture) if stage == 0)


@pytest.mark.parametrize("space", [NB201, S3Space(channels=4, layers=3)], ids=lambda s: s.name)
def test_supernet_of_which_nothing_is_left_still_runs(space):
    supernet, decisions, theta = make(space)
    mixture = decisions.mix(theta)
    for active in mixture.active:
        active[:] = False
    logits = supernet(images_of(), mixture)
    assert logits.shape == (2, 5)
    assert torch.equal(logits[0], logits[1])  # the images do not reach them


@pytest.mark.parametrize("partial", [1, 2])
def test_gradients_reach_every_op_that_has_some(partial):
    supernet, decisions, theta = make(DartsSpace(channels=4, layers=3), partial=partial)
    theta = [rows.requires_grad_() for rows in theta]
    F.cross_entropy(supernet(images_of(4), decisions.mix(theta)), torch.arange(4)).backward()
    assert all(rows.grad.ne(0).all() for rows in theta)
    assert all(p.grad is not None for p in supernet.parameters())


def test_alpha_gradients_need_none_of_the_weights():
    supernet, decisions, theta = make(NB201)
    theta = [rows.requires_grad_() for rows in theta]
    labels = torch.arange(2)
    supernet.tracking = False
    loss = F.cross_entropy(supernet(images_of(), decisions.mix(theta)), labels)
    (expected,) = torch.autograd.grad(loss, theta)
    for parameter in supernet.parameters():
        parameter.requires_grad_(False)
    loss = F.cross_entropy(supernet(images_of(), decisions.mix(theta)), labels)
    (found,) = torch.autograd.grad(loss, theta)
    assert torch.equal(found, expected)


def test_second_derivatives_by_the_weights_of_ops():
    supernet, decisions, theta = make(NasBench201(channels=2, cells_per_stage=1))
    supernet.double()
    supernet.tracking = False
    images, labels = images_of(4).double(), torch.arange(4)
    rows = theta[0].double().requires_grad_()

    def loss(rows):
        return F.cross_entropy(supernet(images, decisions.mix([rows])), labels)

    (gradient,) = torch.autograd.grad(loss(rows), rows, create_graph=True)
    (row,) = torch.autograd.grad(gradient[2, 3], rows)
    step = torch.zeros_like(rows)
    step[2, 3] = 1e-5
    ends = [torch.autograd.grad(loss(rows + sign * step), rows)[0] for sign in (1, -1)]
    torch.testing.assert_close(row, (ends[0] - ends[1]) / 2e-5, rtol=1e-4, atol=1e-6)


def test_tracking_and_drop_path():
    supernet, decisions, theta = make(NB201)
    mixture = decisions.mix(theta)
    assert supernet.tracking
    assert supernet.drop_path_probability == 0
    supernet.tracking = False
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    plain = supernet(images_of(), mixture)
    assert all(torch.equal(before[n], v) for n, v in supernet.state_dict().items())
    supernet.drop_path_probability = 0.5
    assert not torch.equal(supernet(images_of(), mixture), plain)
    one, other = supernet.eval()(images_of(), mixture), supernet(images_of(), mixture)
    assert torch.equal(one, other)


def test_same_seed_same_weights():
    first, second = (make(S4Space(channels=2, layers=3))[0] for _ in range(2))
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


def test_edges_out_of_a_state_have_their_pools_in_common():
    supernet, _, _ = make(DartsSpace(channels=2, layers=3))
    mixed = supernet.stages[0].mixed
    pools = {op for edge in mixed.edges for op in edge if isinstance(op, Pool)}
    assert len(pools) == 2 * 5
    sources = {id(mixed.edges[e][0]): s for e, (s, _) in enumerate(mixed.kind.edges)}
    assert sorted(sources.values()) == [0, 1, 2, 3, 4]


def test_half_precision_on_the_cpu():
    supernet, decisions, theta = make(DartsSpace(channels=4, layers=3), partial=2)
    theta = [rows.requires_grad_() for rows in theta]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = F.cross_entropy(supernet(images_of(4), decisions.mix(theta)), torch.arange(4))
    loss.backward()
    assert all(rows.grad.dtype == torch.float32 and rows.grad.isfinite().all() for rows in theta)
    assert all(p.grad.isfinite().all() for p in supernet.parameters())


def test_every_network_owns_its_ops():
    full, some = make(NB201)[0], make(NasBench201(channels=4, ops=["none", "nor_conv_3x3"]))[0]
    kinds = [[type(op) for op in net.stages[0].mixed.edges[0]] for net in (full, some)]
    assert len(kinds[0]) == 5
    assert kinds[1][0] is Zero
    assert len(kinds[1]) == 2
    assert kinds[0][1] is Identity


def test_imagenet_stem():
    space = S2Space(channels=4, layers=3, stem="imagenet")
    with seeded(0, CPU):
        supernet = build_supernet(space, TaskShape(3, 64, 7))
    theta = [torch.rand(k.num_edges, k.num_ops) for k in supernet.kinds]
    mixture = Decisions(supernet.kinds).mix(theta)
    assert supernet(torch.randn(2, 3, 64, 64), mixture).shape == (2, 7)


def test_odd_images():
    for space in (DartsSpace(channels=2, layers=3), NB201):
        supernet, decisions, theta = make(space)
        assert supernet(images_of(size=9), decisions.mix(theta)).shape == (2, 5)
    supernet, decisions, theta = make(DartsSpace(channels=2, layers=3), partial=2)
    assert supernet(images_of(size=9), decisions.mix(theta)).shape == (2, 5)


@pytest.mark.parametrize(
    ("space", "task", "partial", "message"),
    [
        (NasBench101(), TASK, 1, "no supernets of space nasbench101"),
        (NB201, TaskShape(3, 2, 5), 1, "at least 4 x 4"),
        (S2Space(channels=4), TaskShape(3, 2, 5), 1, "at least 4 x 4"),
        (CellSpace(ops=["none", "skip_connect"]), TaskShape(3, 2, 5), 1, "at least 4 x 4"),
        (NB201, TASK, 3, "must divide"),
        (NB201, TASK, 0, "must divide"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(space, task, partial, message):
    with pytest.raises(SpaceError, match=message) as error:
        build_supernet(space, task, partial=partial)
    assert "\n" not in str(error.value)


def test_ops_of_a_users_are_tried():
    space = CellSpace(ops={"skip": "skip_connect", "bad": lambda channels: nn.Flatten()})
    with pytest.raises(SpaceError, match="op 'bad' must keep the shape"):
        build_supernet(space, TASK)


def test_every_op_of_a_cell_is_an_operation():
    for space in (DartsSpace(channels=2, layers=3, with_none=True), NB201):
        for stage in make(space)[0].stages:
            for edge in getattr(getattr(stage, "mixed", None), "edges", []):
                assert all(isinstance(op, Operation) for op in edge)
    assert np.asarray(make(NB201)[1].active()).all()

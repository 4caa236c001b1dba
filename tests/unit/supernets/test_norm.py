"""The batch norm of supernets: torch's numbers, scaled; and two workers as one."""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import nn

from raynas.networks.seeding import seeded
from raynas.spaces.darts import S2Space
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import TaskShape
from raynas.supernets.build import build_supernet
from raynas.supernets.decisions import Decisions
from raynas.supernets.norm import Norm, set_synchronised
from raynas.supernets.operations import with_our_norms

CPU = torch.device("cpu")
SPACES = [NasBench201(channels=4, cells_per_stage=1), S2Space(channels=4, layers=3)]


def images_of(count=6, channels=4, size=5):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, channels, size, size, generator=generator, dtype=torch.float64)
    return images.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_numbers_are_torchs(training, affine):
    ours = Norm(4, affine=affine).double().train(training)
    theirs = nn.BatchNorm2d(4, affine=affine).double().train(training)
    for _ in range(2):
        images = images_of()
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-12, atol=1e-12)
    state = theirs.state_dict()
    del state["num_batches_tracked"]
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=1e-12, atol=1e-12)


def test_scale_multiplies_the_output_and_gets_its_gradient():
    norm = Norm(4, affine=False).double()
    images = images_of()
    scale = torch.rand(4, dtype=torch.float64, requires_grad=True)
    scaled = norm(images, scale)
    plain = norm(images)
    torch.testing.assert_close(scaled, plain * scale[:, None, None], rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(scaled)
    (gradient,) = torch.autograd.grad(scaled, scale, upstream)
    expected = (upstream * plain).sum(dim=(0, 2, 3))
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)


def test_running_statistics_stay_while_not_tracking():
    norm = Norm(4).double()
    norm.tracking = False
    before = copy.deepcopy(norm.state_dict())
    norm(images_of())
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())
    norm.tracking = True
    norm(images_of())
    assert not torch.equal(before["running_mean"], norm.running_mean)


def test_norms_in_a_users_op_become_ours():
    theirs = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, momentum=0.3), nn.ReLU()).double()
    theirs[1].weight.data.uniform_()
    theirs(images_of())
    ours = with_our_norms(copy.deepcopy(theirs))
    assert isinstance(ours[1], Norm)
    for _ in range(2):
        torch.testing.assert_close(ours(images_of()), theirs(images_of()))
    torch.testing.assert_close(ours.eval()(images_of()), theirs.eval()(images_of()))
    cumulative = nn.Sequential(nn.BatchNorm2d(4, momentum=None))
    assert with_our_norms(cumulative)[0] is cumulative[0]


def test_one_worker_needs_no_group():
    norm = Norm(4).double()
    norm.synchronised = True
    expected = Norm(4).double()(images_of())
    assert torch.equal(norm(images_of()), expected)


def joint_results(space, rank, size):
    """Loss, logits, gradients of a worker's share summed over workers, and statistics."""
    with seeded(0, CPU):
        supernet = build_supernet(space, TaskShape(3, 8, 5)).double()
        alpha = [
            torch.randn(k.num_edges, k.num_ops).double().requires_grad_() for k in supernet.kinds
        ]
        images = torch.randn(5, 3, 8, 8).double()
        labels = torch.arange(5)
    set_synchronised(supernet, size > 1)
    share = slice(0, 5) if size == 1 else (slice(0, 2), slice(2, 5))[rank]  # of unequal size
    mixture = Decisions(supernet.kinds).mix([a.softmax(dim=1) for a in alpha])
    logits = supernet(images[share], mixture)
    loss = F.cross_entropy(logits, labels[share], reduction="sum") / len(images)
    grads = torch.autograd.grad(loss, [*alpha, *supernet.parameters()])
    total = [loss.detach().clone(), *(gradient.clone() for gradient in grads)]
    if size > 1:
        for tensor in total:
            dist.all_reduce(tensor)
    return logits.detach(), total, list(supernet.buffers())


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    results = [joint_results(space, rank, 2) for space in SPACES]
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_workers_compute_what_one_does(tmp_path):
    mp.spawn(work, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for space, one, other in zip(SPACES, first, second, strict=True):
        logits, totals, buffers = joint_results(space, 0, 1)
        both = torch.cat([one[0], other[0]])
        torch.testing.assert_close(both, logits, rtol=1e-9, atol=1e-9)
        for found in (one, other):
            for ours, expected in zip([*found[1], *found[2]], [*totals, *buffers], strict=True):
                torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)

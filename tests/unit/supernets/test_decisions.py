"""What is decided of a supernet: rows, gradients, JSON (algorithms.md §11.1)."""

import json

import numpy as np
import pytest
import torch

from raynas.errors import CheckpointError, SpaceError
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.darts import DartsSpace, S2Space, S3Space
from raynas.spaces.nasbench201 import NasBench201
from raynas.supernets.decisions import Decisions, Question, expressible
from raynas.supernets.mixture import Mixture


def theta(kinds, requires_grad=True):
    generator = torch.Generator().manual_seed(0)
    alphas = [torch.randn(k.num_edges, k.num_ops, generator=generator) for k in kinds]
    return [alpha.requires_grad_(requires_grad) for alpha in alphas]


def test_nothing_decided_leaves_the_weights_as_they_are():
    kinds = DartsSpace().kinds
    weights = theta(kinds)
    mixture = Decisions(kinds).mix(weights)
    assert all(a is b for a, b in zip(mixture.weights, weights, strict=True))
    assert all(active.all() for active in mixture.active)


def test_decided_rows_are_one_hot_removed_ones_zero_and_neither_gets_a_gradient():
    kinds = DartsSpace().kinds
    decisions = Decisions(kinds)
    decisions.decide_op(0, 3, 5)
    decisions.decide_op(1, 13, 0)
    decisions.keep_edges(0, 4, [8, 5])  # edges 6 and 7 go
    weights = theta(kinds)
    mixture = decisions.mix(weights)
    rows = [rows.detach() for rows in mixture.weights]
    assert torch.equal(rows[0][3], torch.eye(7)[5])
    assert torch.equal(rows[1][13], torch.eye(7)[0])
    assert not rows[0][[6, 7]].any()
    assert not mixture.active[0][[6, 7]].any()
    assert mixture.active[0][3].tolist() == [op == 5 for op in range(7)]
    assert torch.equal(rows[0][[0, 1, 2, 4, 5, 8, 9]], weights[0].detach()[[0, 1, 2, 4, 5, 8, 9]])

    sum((m * torch.rand_like(m)).sum() for m in mixture.weights).backward()
    assert not weights[0].grad[[3, 6, 7]].any()
    assert not weights[1].grad[13].any()
    assert weights[0].grad[[0, 5, 8]].all()


def test_a_decided_edge_that_is_not_kept_is_gone():
    decisions = Decisions(DartsSpace().kinds)
    decisions.decide_op(0, 2, 1)
    decisions.keep_edges(0, 3, [3, 4])
    assert decisions.gone(0, 2)
    assert not decisions.active()[0][2].any()
    assert not decisions.mix(theta(decisions.kinds)).weights[0][2].any()
    assert 2 not in decisions.undecided_edges(0)
    assert decisions.undecided_nodes(0) == [4, 5]
    assert decisions.undecided_nodes(1) == [3, 4, 5]


def test_pruned_ops_do_not_run_and_the_rest_keeps_its_weights():
    kinds = NasBench201().kinds
    decisions = Decisions(kinds)
    decisions.prune_op(0, 2, 0)
    decisions.prune_op(0, 2, 3)
    mixture = decisions.mix(weights := theta(kinds))
    assert mixture.active[0][2].tolist() == [False, True, True, False, True]
    assert mixture.weights[0] is weights[0]
    decisions.decide_op(0, 2, 4)
    assert decisions.active()[0][2].tolist() == [False, False, False, False, True]


@pytest.mark.parametrize(
    "again",
    [
        lambda d: d.decide_op(0, 0, 2),  # decided
        lambda d: d.prune_op(0, 0, 2),  # decided
        lambda d: d.decide_op(0, 1, 0),  # pruned
        lambda d: d.prune_op(0, 1, 0),  # pruned
        lambda d: d.decide_op(0, 2, 1),  # gone
        lambda d: d.keep_edges(0, 3, [2, 3]),  # the node is decided
        lambda d: d.keep_edges(0, 4, [4]),  # edge 4 enters node 3
    ],
)
def test_what_is_decided_stays(again):
    decisions = Decisions(DartsSpace().kinds)
    decisions.decide_op(0, 0, 1)
    decisions.prune_op(0, 1, 0)
    decisions.keep_edges(0, 3, [3, 4])
    with pytest.raises(AssertionError):
        again(decisions)


def test_the_last_op_of_an_edge_is_not_pruned():
    decisions = Decisions(S2Space().kinds)
    decisions.prune_op(0, 0, 0)
    with pytest.raises(AssertionError, match="one op left"):
        decisions.prune_op(0, 0, 1)


def test_a_complete_set_is_an_architecture():
    space = S3Space()
    decisions = Decisions(space.kinds)
    for number, kind in enumerate(space.kinds):
        for edge in range(kind.num_edges):
            assert not decisions.complete
            decisions.decide_op(number, edge, 2 if edge % 2 else 1)
        for node in kind.crowded():
            decisions.keep_edges(number, node, kind.incoming(node)[:2])
    assert decisions.complete
    cells = space.cells(decisions.architecture(space))
    pairs = [("skip_connect", 0), ("sep_conv_3x3", 1)]
    odd = [("sep_conv_3x3", 0), ("skip_connect", 1)]
    assert [sorted(node) for node in cells[0]] == [sorted(n) for n in (pairs, pairs, odd, odd)]


def test_an_op_that_cannot_be_in_an_architecture_needs_another_in_its_stead():
    space = CellSpace(ops=["none", "skip_connect"], nodes=2)
    decisions = Decisions(space.kinds)
    decisions.decide_op(0, 0, 0)
    assert decisions.architecture(space).text == "|none~0|"
    assert decisions.architecture(space, {(0, 0): 1}).text == "|skip_connect~0|"

    s3 = S3Space(two_cells=False)
    decisions = Decisions(s3.kinds)
    for edge in range(14):
        decisions.decide_op(0, edge, 0)
    for node in (3, 4, 5):
        decisions.keep_edges(0, node, s3.kinds[0].incoming(node)[:2])
    with pytest.raises(SpaceError, match="is no op"):
        decisions.architecture(s3)
    assert "skip" in decisions.architecture(s3, {(0, e): 1 for e in range(14)}).text


def test_decisions_survive_json():
    kinds = DartsSpace().kinds
    decisions = Decisions(kinds)
    decisions.decide_op(0, 0, 1)
    decisions.prune_op(1, 4, 6)
    decisions.keep_edges(1, 5, [13, 9])
    other = Decisions(kinds)
    other.prune_op(0, 7, 0)  # forgotten
    other.load_state_dict(json.loads(json.dumps(decisions.state_dict())))
    assert other.state_dict() == decisions.state_dict()
    assert all(map(np.array_equal, other.active(), decisions.active()))
    assert other.kept[1] == {5: (9, 13)}


@pytest.mark.parametrize("other", [NasBench201(), DartsSpace(two_cells=False), S2Space()])
def test_decisions_of_other_cells_are_refused(other):
    decisions = Decisions(DartsSpace().kinds)
    decisions.decide_op(0, 0, 6)
    with pytest.raises(
        CheckpointError, match=r"normal \(14 edges of 7 ops\) and reduce .* not on those of this"
    ):
        Decisions(other.kinds).load_state_dict(decisions.state_dict())


def test_what_an_architecture_can_have():
    assert expressible(S3Space().kinds[0], 4) == (1, 2)
    assert expressible(NasBench201().kinds[0], 4) == (0, 1, 2, 3, 4)


def test_a_question_is_about_an_edge_or_a_node():
    with pytest.raises(AssertionError):
        Question(0, (0, 1))
    with pytest.raises(AssertionError):
        Question(0, (0, 1), edge=1, node=2)


def test_masks_do_not_renormalise_and_leave_the_mixture_alone():
    kinds = NasBench201().kinds
    weights = [t.softmax(1) for t in theta(kinds)]
    mixture = Decisions(kinds).mix(weights, [torch.rand(6, requires_grad=True)])
    masked = mixture.without_op(0, 2, 3)
    assert masked.weights[0] is weights[0]
    assert np.argwhere(~masked.active[0]).tolist() == [[2, 3]]
    assert np.argwhere(~mixture.without_edge(0, 4).active[0])[:, 0].tolist() == [4] * 5
    assert mixture.active[0].all()
    detached = masked.detach()
    assert not detached.weights[0].requires_grad
    assert not detached.edge_weights[0].requires_grad
    assert Mixture(mixture.weights, mixture.active).detach().edge_weights is None

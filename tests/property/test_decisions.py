"""Decisions in any order: what holds after each (algorithms.md §11.1)."""

import json

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raynas.spaces.cell_space import CellSpace
from raynas.spaces.darts import DartsSpace, S2Space, S3Space
from raynas.spaces.nasbench201 import NasBench201
from raynas.supernets.decisions import Decisions

SPACES = [
    DartsSpace(),
    S2Space(two_cells=False),
    S3Space(),
    NasBench201(),
    CellSpace(ops=["none", "skip_connect", "nor_conv_3x3"], nodes=3),
]


def possible(decisions):
    """Yield all that can be done next, in words."""
    for number, kind in enumerate(decisions.kinds):
        for edge in decisions.undecided_edges(number):
            allowed = np.flatnonzero(decisions.allowed(number)[edge]).tolist()
            yield from (("decide_op", number, edge, op) for op in allowed)
            if len(allowed) > 1:
                yield from (("prune_op", number, edge, op) for op in allowed)
        for node in decisions.undecided_nodes(number):
            edges = kind.incoming(node)
            pairs = [
                edges[i : i + 1] + edges[j : j + 1] for j in range(len(edges)) for i in range(j)
            ]
            yield from (("keep_edges", number, node, pair) for pair in pairs)


def check(decisions):
    generator = torch.Generator().manual_seed(0)
    alphas = [
        torch.randn(k.num_edges, k.num_ops, generator=generator).requires_grad_()
        for k in decisions.kinds
    ]
    mixture = decisions.mix([alpha.softmax(1) for alpha in alphas])
    sum((w * torch.rand_like(w)).sum() for w in mixture.weights).backward()
    for number, (weights, active, alpha) in enumerate(
        zip(mixture.weights, mixture.active, alphas, strict=True)
    ):
        for edge, row in enumerate(weights.detach()):
            op = decisions.ops[number][edge]
            if decisions.gone(number, edge):
                assert not row.any()
                assert not active[edge].any()
            elif op is not None:
                assert row.tolist() == active[edge].tolist() == [o == op for o in range(len(row))]
            else:
                assert torch.equal(row, alpha.detach().softmax(1)[edge])
                assert np.array_equal(active[edge], decisions.allowed(number)[edge])
            decided = op is not None or decisions.gone(number, edge)
            gradient = alpha.grad
            assert gradient is None or decided == (not gradient[edge].any())


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_rows_and_gradients_after_any_decisions(data):
    space = data.draw(st.sampled_from(SPACES))
    decisions = Decisions(space.kinds)
    for _ in range(data.draw(st.integers(0, 25))):
        options = list(possible(decisions))
        if not options:
            break
        name, *arguments = data.draw(st.sampled_from(options))
        getattr(decisions, name)(*arguments)
    check(decisions)
    other = Decisions(space.kinds)
    other.load_state_dict(json.loads(json.dumps(decisions.state_dict())))
    assert other.state_dict() == decisions.state_dict()
    assert all(map(np.array_equal, other.active(), decisions.active()))
    assert other.complete == decisions.complete


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_deciding_on_ends_with_an_architecture(data):
    space = data.draw(st.sampled_from(SPACES))
    decisions = Decisions(space.kinds)
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    while options := list(possible(decisions)):
        name, *arguments = options[rng.integers(len(options))]
        getattr(decisions, name)(*arguments)
    assert decisions.complete
    able = {
        (k, e): next(iter(np.flatnonzero([op != "none" for op in kind.ops[e]]).tolist()))
        for k, kind in enumerate(space.kinds)
        for e in range(kind.num_edges)
        if kind.keep is not None and kind.ops[e][decisions.ops[k][e] or 0] == "none"
    }
    architecture = decisions.architecture(space, able)
    assert space.parse(architecture.text) == architecture

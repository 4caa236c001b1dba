"""Swapping edges and layers: nothing changes where it must not, and all is put back."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from raynas.diagnostics.chain import Chain
from raynas.diagnostics.shuffle import sentences, spread
from raynas.diagnostics.swapping import edges_swapped, layers_swapped, swappable, swapped_kind
from raynas.seeds import derive_rng
from raynas.supernets.supernet import CellStage


def cells_of(supernet):
    return [stage.mixed for stage in supernet.stages if isinstance(stage, CellStage)]


def logits(training, images):
    with torch.no_grad():
        return training.supernet.eval()(images, training.mixture())


def test_an_edge_takes_its_ops_and_weights_along(exact_training):
    """Swapping by hand: modules and rows of α change places, and the wiring stays."""
    training = exact_training()
    images, _ = next(training.selection_batches(8))
    supernet, pairs = training.supernet, []
    with edges_swapped(supernet, derive_rng(0, "swap")):
        swapped = logits(training, images)
        for cell in cells_of(supernet):
            edges, before = cell.kind.edges, training.decisions.kinds[0].edges
            moved = [e for e in range(6) if edges[e] != before[e]]
            assert len(moved) == 2
            pairs.append(moved)
    assert not torch.equal(swapped, logits(training, images))

    # Every cell has weights of its own, as cells of one kind have not: run them by hand.
    theta = training.theta()[0]
    with torch.no_grad():
        (carried,) = supernet.begin(images)
        left = iter(pairs)
        for stage in supernet.stages:
            if not isinstance(stage, CellStage):
                carried = stage.block(carried)
                continue
            order = list(range(6))
            first, second = next(left)
            order[first], order[second] = second, first
            states = [carried]
            for node in (1, 2, 3):
                total = 0
                for place, (source, target) in enumerate(training.decisions.kinds[0].edges):
                    if target != node:
                        continue
                    for op in range(5):
                        module = stage.mixed.operation(order[place], op)
                        state = states[source]
                        given = torch.relu(state) if module.on_rectified else state
                        total = total + theta[order[place], op] * module(given)
                states.append(total)
            carried = states[-1]
        by_hand = supernet.end((carried,))
    assert torch.allclose(swapped, by_hand, atol=1e-10)


@pytest.mark.parametrize("space", ["nasbench201", "s2"])
def test_swapping_is_undone(space, exact_training):
    training = exact_training(space)
    images, _ = next(training.selection_batches(8))
    before = logits(training, images)
    kinds = [cell.kind for cell in cells_of(training.supernet)]

    def interrupted():
        with edges_swapped(training.supernet, derive_rng(0, "swap")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [cell.kind for cell in cells_of(training.supernet)] == kinds
    assert torch.equal(logits(training, images), before)


def test_strides_are_respected(exact_training):
    training = exact_training("s2")
    for cell in cells_of(training.supernet):
        halving = [cell.stride if source < 2 else 1 for source, _ in cell.kind.edges]
        pairs = swappable(cell)
        assert all(halving[a] == halving[b] for a, b in pairs)
        strided = halving.count(2)
        plain = 14 - strided
        assert len(pairs) == (strided * (strided - 1) + plain * (plain - 1)) // 2
        assert strided == (8 if cell.stride == 2 else 0)
    images, _ = next(training.selection_batches(4))
    for draw in range(30):  # a wrong pair would add up images of two sizes
        with edges_swapped(training.supernet, derive_rng(0, "swap", draw)):
            assert logits(training, images).isfinite().all()


def test_nothing_changes_where_every_edge_is_the_identity(exact_training):
    training = exact_training()
    skip = training.decisions.kinds[0].ops[0].index("skip_connect")
    for edge in range(6):
        training.decisions.decide_op(0, edge, skip)
    images, _ = next(training.selection_batches(8))
    before = logits(training, images)
    for draw in range(10):
        with edges_swapped(training.supernet, derive_rng(0, "swap", draw)):
            assert torch.equal(logits(training, images), before)


def test_nodes_stay_in_order_whatever_is_swapped(exact_training):
    kind = exact_training("s2").decisions.kinds[0]
    swapped = swapped_kind(kind, 0, 13)
    assert swapped.nodes == kind.nodes
    assert swapped.edges[0] == (4, 5)
    assert swapped.edges[13] == (0, 2)
    assert swapped.ops == kind.ops
    assert replace(swapped, edges=kind.edges) == kind


# -- the networks beside it --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vgg", "resnet"])
def test_layers_are_swapped_and_put_back(kind):
    torch.manual_seed(0)
    network = Chain(kind, 1, 10, width=4, layers=3).eval()
    images = torch.randn(4, 1, 8, 8)
    before = network(images)
    whole = [list(stage) for stage in network.stages_of_layers()]
    with layers_swapped(network, derive_rng(0, "swap")):
        for stage, layers in zip(network.stages_of_layers(), whole, strict=True):
            moved = [one is not other for one, other in zip(stage, layers, strict=True)]
            assert sum(moved) == 2
            assert set(stage) == set(layers)
        assert not torch.equal(network(images), before)
    assert [list(stage) for stage in network.stages_of_layers()] == whole
    assert torch.equal(network(images), before)


def test_layers_that_do_nothing_can_be_swapped():
    network = Chain("resnet", 1, 10, width=4, layers=3).eval()
    for stage in network.stages_of_layers():
        for layer in stage:  # what is added is 0, so each is the identity
            nn.init.zeros_(layer.second.norm.weight)
    images = torch.randn(4, 1, 8, 8)
    before = network(images)
    for draw in range(5):
        with layers_swapped(network, derive_rng(0, "swap", draw)):
            assert torch.equal(network(images), before)


def test_only_the_residual_network_adds_to_what_came_in():
    images = torch.randn(2, 4, 8, 8)
    plain, residual = (
        Chain(kind, 1, 10, width=4, layers=2).eval().stages_of_layers()[0][0]
        for kind in ("vgg", "resnet")
    )
    for parameter in [*plain.parameters(), *residual.parameters()]:
        nn.init.zeros_(parameter)
    assert not plain(images).any()
    assert torch.equal(residual(images), images)


# -- words -------------------------------------------------------------------------------------


def rows_of(**accuracies):
    return [
        {"network": name, "draw": draw, "swapped": draw > 0, "accuracy": accuracy}
        for name, found in accuracies.items()
        for draw, accuracy in enumerate(found)
    ]


def test_spread_is_mean_and_deviation_of_the_swapped_alone():
    found = spread(rows_of(supernet=[0.9, 0.7, 0.8, 0.6]))["supernet"]
    assert found["before"] == 0.9
    assert found["after"] == pytest.approx(0.7)
    assert found["std"] == pytest.approx(np.std([0.7, 0.8, 0.6], ddof=1))


def test_sentences_tell_whom_the_supernet_is_like():
    like = rows_of(supernet=[0.9, 0.8, 0.8], vgg=[0.92, 0.1, 0.1], resnet=[0.94, 0.85, 0.85])
    told = " ".join(sentences(like))
    assert "from 90.0 % to 80.0 ± 0.0 %" in told
    assert "closer to that of the residual network" in told
    unlike = rows_of(supernet=[0.9, 0.2, 0.2], vgg=[0.92, 0.1, 0.1], resnet=[0.94, 0.85, 0.85])
    assert "closer to that of the plain network" in " ".join(sentences(unlike))
    assert len(sentences(rows_of(supernet=[0.9, 0.8, 0.8]))) == 1

"""The Hessian by α against torch's own, of a loss that is written down anew."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raynas.diagnostics import curvature
from raynas.diagnostics.curvature import free_entries, sentences
from raynas.diagnostics.measuring import mixed_edges
from raynas.diagnostics.visiting import train_mode
from raynas.supernets.mixture import Mixture

DECAY = 0.01


def dense_hessians(training, batches):
    """Gradient and Hessian of each batch, by torch.autograd.functional."""
    shapes = [alpha.shape for alpha in training.method.alphas]
    start = torch.cat([alpha.detach().flatten() for alpha in training.method.alphas])
    active = tuple(np.ones(shape, dtype=bool) for shape in shapes)
    found = []
    for images, labels in batches:

        def loss(flat, images=images, labels=labels):
            parts = flat.split([shape.numel() for shape in shapes])
            rows = tuple(p.reshape(s).softmax(1) for p, s in zip(parts, shapes, strict=True))
            logits = training.supernet(images, Mixture(rows, active))
            return F.cross_entropy(logits, labels) + DECAY / 2 * flat.square().sum()

        with train_mode(training):
            gradient = torch.autograd.functional.jacobian(loss, start)
            found.append((gradient, torch.autograd.functional.hessian(loss, start)))
    return found


@pytest.mark.parametrize("space", ["nasbench201", "s2"])
def test_all_figures_are_those_of_the_dense_hessian(space, exact_training, holding):
    training = exact_training(space, alpha_weight_decay=DECAY)
    count = 1 if space == "s2" else 2
    found = curvature._measured(holding(training), step=0, batches=count)
    batches = [batch for batch, _ in zip(training.selection_batches(8), range(count), strict=False)]
    pairs = dense_hessians(training, batches)
    gradient = sum(g for g, _ in pairs) / count
    hessian = (sum(h for _, h in pairs) / count).numpy()
    largest = [float(torch.linalg.eigvalsh(h)[-1]) for _, h in pairs]
    assert found["entries"] == len(hessian)
    assert found["gradient_norm"] == pytest.approx(float(gradient.norm()))
    assert found["eigenvalue"] == pytest.approx(np.mean(largest), rel=1e-6)
    assert found["eigenvalue_std"] == pytest.approx(np.std(largest), abs=1e-8)
    assert found["lanczos"] == pytest.approx(np.mean(largest), rel=1e-4)
    assert found["diagonal"] == pytest.approx(np.diag(hessian).tolist(), abs=1e-9)
    assert found["spectrum"] == pytest.approx(np.linalg.eigvalsh(hessian).tolist(), abs=1e-9)
    assert found["condition"] == pytest.approx(np.linalg.cond(hessian, 2), rel=1e-5)
    beside = np.abs(hessian).sum() - np.abs(np.diag(hessian)).sum()
    assert found["off_diagonal_mass"] == pytest.approx(beside / np.abs(hessian).sum())


def test_where_a_softmax_sees_nothing_there_is_only_decay(exact_training, holding):
    training = exact_training(alpha_weight_decay=DECAY)
    found = curvature._measured(holding(training), step=0, batches=1)
    sizes = np.sort(np.abs(found["spectrum"]))
    assert np.isclose(found["spectrum"], DECAY).sum() >= 6  # one constant direction an edge
    assert found["condition"] == pytest.approx(sizes[-1] / sizes[0])
    others = np.delete(found["spectrum"], np.flatnonzero(np.isclose(found["spectrum"], DECAY))[:6])
    expected = np.abs(others).max() / np.abs(others).min()
    assert found["contrast_condition"] == pytest.approx(expected, rel=1e-5)


def test_what_is_decided_or_pruned_is_left_out(exact_training, holding):
    training = exact_training(alpha_weight_decay=DECAY)
    training.decisions.decide_op(0, 2, 1)
    training.decisions.prune_op(0, 4, 0)
    free, counts = free_entries(training, mixed_edges(training))
    expected = [e * 5 + o for e in range(6) for o in range(5) if e != 2 and (e, o) != (4, 0)]
    assert free.tolist() == expected
    assert counts == [5, 5, 5, 4, 5]
    found = curvature._measured(holding(training), step=0, batches=1)
    assert found["entries"] == 24


def test_a_large_alpha_is_left_to_lanczos(exact_training, holding, monkeypatch):
    training = exact_training(alpha_weight_decay=DECAY)
    whole = curvature._measured(holding(training), step=0, batches=1)
    monkeypatch.setattr(curvature, "EXACT_UP_TO", 29)
    found = curvature._measured(holding(training), step=0, batches=1)
    assert found["eigenvalue"] is None
    assert found["spectrum"] is None
    assert found["lanczos"] == pytest.approx(whole["eigenvalue"], rel=1e-4)
    assert "Lanczos" in sentences([{"epoch": 3, "accuracy": 0.5, **found}])[0]


def test_the_supernet_is_left_as_it_was(exact_training, holding):
    training = exact_training()
    before = {k: v.clone() for k, v in training.supernet.state_dict().items()}
    training.supernet.eval()
    curvature._measured(holding(training), step=0, batches=1)
    after = training.supernet.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not training.supernet.training
    assert all(weight.requires_grad for weight in training.supernet.parameters())


def test_sentences_say_how_much_the_eigenvalue_grew():
    row = {
        "entries": 30,
        "gradient_norm": 0.1,
        "off_diagonal_mass": 0.5,
        "contrast_condition": 12.0,
    }
    rows = [{"epoch": e, "eigenvalue": v, **row} for e, v in ((1, 0.1), (2, 0.4), (3, 0.2))]
    told = " ".join(sentences(rows))
    assert "factor of 2.00" in told
    assert "by 4.00 at most" in told
    assert "50 %" in told

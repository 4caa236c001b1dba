"""Strengths of ops against loops that are written down anew; and what is said of them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raynas.api.diagnosing import _supernet
from raynas.diagnostics.options import DiagnoseOptions
from raynas.diagnostics.session import measure
from raynas.diagnostics.strength import Strength, agreement, sentences
from raynas.diagnostics.strength_map import StrengthMap
from raynas.diagnostics.strength_map import sentences as map_sentences
from raynas.errors import ConfigError, TrialError
from raynas.runs.folder import RunFolder
from raynas.selection import oracle
from raynas.supernets.mixture import Mixture


@pytest.fixture(scope="module")
def subject(finished_run):
    return _supernet(RunFolder(finished_run, "supernet"), None, None, None, False)[0]


def measured(diagnostic, subject):
    parts = diagnostic.parts(subject)
    return diagnostic.conclude(subject, [measure(subject, 0, part) for part in parts])


def hits(training, weights, batches):
    """Images classified right under given weights, batch statistics, no trace left."""
    supernet, count = training.supernet, 0
    supernet.train()
    supernet.tracking = False
    with torch.no_grad():
        for images, labels in batches:
            mixture = Mixture((weights,), ((weights != 0).numpy(),))
            count += int((supernet(images, mixture).argmax(1) == labels).sum())
    supernet.tracking = True
    return count


def test_strengths_are_those_of_a_loop(subject):
    """Each op left out in turn; each op put alone on its edge, and two epochs trained."""
    options = DiagnoseOptions(edges=2, oracle_epochs=2)
    finding = measured(Strength(options), subject)
    edges = sorted({row["edge"] for row in finding.rows})
    assert len(edges) == 2
    assert len(finding.rows) == 10
    step = subject.end.step
    whole = subject.training(step)
    theta = whole.theta()[0]
    count = sum(len(labels) for _, labels in whole.selection_batches(64))
    all_ops = hits(whole, theta, whole.selection_batches(64))
    for row in finding.rows:
        op = whole.decisions.kinds[0].ops[row["edge"]].index(row["op"])
        assert row["theta"] == pytest.approx(float(theta[row["edge"], op]))
        without = theta.clone()
        without[row["edge"], op] = 0
        left = hits(whole, without, whole.selection_batches(64))
        assert row["perturbation_strength"] == pytest.approx((all_ops - left) / count)

        copy = subject.training(step)
        copy.decisions.decide_op(0, row["edge"], op)
        copy.begin_tuning(0.0025, "constant", 2)
        for _ in range(2):
            copy.train_epoch()
        alone = copy.theta()[0]
        alone[row["edge"]] = F.one_hot(torch.tensor(op), 5)
        assert row["oracle_accuracy"] == hits(copy, alone, copy.selection_batches(64)) / count
        assert (row["oracle_epochs"], row["converged"]) == (2, False)
    assert finding.settings["oracle_epochs"] == 2


def test_edges_are_drawn_by_the_seed(subject):
    few = [Strength(DiagnoseOptions(edges=3, seed=seed)).edges(subject) for seed in range(8)]
    assert all(len(set(edges)) == 3 and edges == sorted(edges) for edges in few)
    assert few[0] == Strength(DiagnoseOptions(edges=3, seed=0)).edges(subject)
    assert len({tuple(edges) for edges in few}) > 1
    every = [(0, edge) for edge in range(6)]
    assert Strength(DiagnoseOptions(edges="all")).edges(subject) == every
    assert Strength(DiagnoseOptions(edges=99)).edges(subject) == every


def test_one_that_diverges_has_no_oracle_strength(subject, monkeypatch):
    def diverge(*_):
        raise TrialError("diverged at epoch 4: training loss is nan")

    monkeypatch.setattr("raynas.diagnostics.measuring.oracle_strength", diverge)
    finding = measured(Strength(DiagnoseOptions(edges=1)), subject)
    assert all(row["oracle_accuracy"] is None for row in finding.rows)
    assert "diverged" in finding.rows[0]["error"]
    assert all(row["spearman_theta_oracle"] is None for row in finding.rows)
    assert "undefined" in finding.sentences[0]
    assert Strength(DiagnoseOptions()).draw(finding.rows) is not None
    assert oracle.oracle_strength is not diverge


def row(edge, op, theta, oracle_accuracy, strength, converged=True):
    return {
        "kind": "normal",
        "edge": edge,
        "source": 0,
        "target": 2 + edge,
        "op": op,
        "theta": theta,
        "oracle_accuracy": oracle_accuracy,
        "perturbation_strength": strength,
        "converged": converged,
    }


def test_agreement_is_by_rank():
    of_edge = [row(0, "a", 0.2, 0.7, 0.01), row(0, "b", 0.3, 0.6, 0.02), row(0, "c", 0.5, 0.5, 0.0)]
    found = agreement(of_edge)
    assert found["spearman_theta_oracle"] == -1
    assert found["kendall_theta_oracle"] == -1
    assert found["kendall_theta_perturbation"] == pytest.approx(-1 / 3)
    assert found["spearman_theta_perturbation"] == pytest.approx(-0.5)


def test_sentences_count_the_edges_on_which_alpha_misleads():
    first = [row(0, "skip", 0.9, 0.5, 0.0), row(0, "conv", 0.1, 0.8, 0.2, converged=False)]
    second = [row(1, "skip", 0.2, 0.5, 0.3), row(1, "conv", 0.8, 0.6, 0.2)]
    rows = [{**r, **agreement(edge)} for edge in (first, second) for r in edge]
    told = sentences(rows, 10)
    assert "On 1 of 2 edges the op with the largest θ is not the one" in told[0]
    assert "and on 2 not the one it misses most" in told[0]
    assert "1 of 4 oracle trainings had not converged after 10 epochs" in told[1]
    assert "conv on normal 0→2: θ 0.10, yet 80.0 % alone" in told[2]


def test_equals_mislead_nobody():
    rows = [row(0, "skip", 0.4, 0.7, 0.1), row(0, "conv", 0.6, 0.7, 0.1)]
    told = sentences([{**r, **agreement(rows)} for r in rows], 10)
    assert "On 0 of 1 edge" in told[0]
    assert "and on 0 not the one it misses most" in told[0]
    assert "undefined" in told[0]


# -- the map -----------------------------------------------------------------------------------


def test_map_is_of_the_op_with_the_largest_theta_and_the_one_missed_most(subject):
    finding = measured(StrengthMap(DiagnoseOptions()), subject)
    assert len(finding.rows) == 6
    training = subject.training(subject.end.step)
    theta, ops = training.theta()[0], training.decisions.kinds[0].ops
    for found in finding.rows:
        edge = found["edge"]
        assert found["alpha_op"] == ops[edge][int(theta[edge].argmax())]
        counts = []
        for op in range(5):
            without = theta.clone()
            without[edge, op] = 0
            counts.append(hits(training, without, training.selection_batches(64)))
        least = [ops[edge][op] for op in np.flatnonzero(np.array(counts) == min(counts))]
        expected = [op for op in least if op != "none"] or least  # none wins no tie
        assert found["perturbation_op"] == expected[0]
        assert "oracle_op" not in found


def test_map_asks_the_oracle_if_it_may(subject):
    options = DiagnoseOptions(oracle_epochs=1)
    wanted = StrengthMap(options).parts(subject)
    assert len(wanted) == 6 * 6
    shared = {(p.name, str(dict(p.arguments))) for p in wanted}
    strength = Strength(options).parts(subject)  # what is asked for twice is measured once
    assert {(p.name, str(dict(p.arguments))) for p in strength} < shared


def map_row(alpha, perturbation, **more):
    return {"alpha_op": alpha, "perturbation_op": perturbation, **more}


def test_map_says_what_the_thesis_says():
    rows = [map_row("skip_connect", "sep_conv_3x3")] * 7
    rows += [map_row("skip_connect", "skip_connect")] * 5
    rows += [map_row("sep_conv_3x3", "skip_connect")] * 2
    assert map_sentences(rows) == [
        "12 of 14 edges would pick skip_connect by α; 7 of them are better served by sep_conv_3x3."
    ]


def test_where_alpha_is_equal_it_picks_nothing():
    rows = [map_row(None, op) for op in ("conv", "skip", "conv")]
    (told,) = map_sentences(rows)
    assert told.startswith("α is equal for the ops of each of 3 edges")
    assert "conv on 2, skip on 1." in told
    edges = [{**row, "kind": "normal", "source": 0, "target": 2} for row in rows]
    (axes,) = StrengthMap(DiagnoseOptions()).draw(edges).axes
    alpha, missed = axes.get_lines()
    assert (len(alpha.get_xdata()), len(missed.get_xdata())) == (0, 3)


def test_map_counts_several_better_ops():
    rows = [map_row("skip", op, oracle_op="skip", oracle_max_epochs=3) for op in ("a", "b", "b")]
    told = map_sentences(rows)
    assert "3 of them are better served by another op, most often b (2)." in told[0]
    assert told[1].startswith("By the oracle (3 epochs at most), on none of them")


def test_where_nothing_mixes_there_is_nothing_to_map(subject, monkeypatch):
    monkeypatch.setattr("raynas.diagnostics.strength.mixed_edges", lambda training: [])
    with pytest.raises(ConfigError, match="every edge was decided while run trained"):
        StrengthMap(DiagnoseOptions()).check(subject)

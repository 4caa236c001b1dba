import io

import pytest
from rich.console import Console

from raynas.cli.supernet_progress import Lines, LiveTable, Silent, eta_s, step_lines, table
from raynas.runs.supernet_journal import SupernetLog


def epoch(step, number, phase="search", time_s=2.0):
    return {
        "event": "epoch",
        "step": step,
        "phase": phase,
        "epoch": number,
        "num_epochs": 6,
        "time_s": time_s,
        "elapsed_s": 2.0 * step,
        "metrics": {
            "accuracy": 0.8125,
            "loss": 0.5,
            "train_loss": 0.25,
            "alpha_loss": None,
            "theta_entropy": {"normal": 0.9, "reduce": 0.8},
            "skip_gap": {"normal": 0.125, "reduce": None},
        },
        "decisions": [],
    }


def decided(edge, node, candidates, strengths=None):
    names = ["skip_connect", "sep_conv_3x3"]
    return {
        "kind": "normal",
        "edge": edge,
        "node": node,
        "source": 0,
        "target": 2,
        "rule": "perturbation",
        "names": names,
        "chosen_names": ["sep_conv_3x3"],
        "candidates": candidates,
        "strengths": strengths,
    }


def decision(step, *decisions):
    return {
        "event": "decision",
        "step": step,
        "phase": "select",
        "epoch": 4,
        "num_epochs": 6,
        "time_s": 3.0,
        "elapsed_s": 9.0,
        "metrics": None,
        "decisions": list(decisions),
    }


def scored(name, accuracy, round=0):
    return {"name": name, "accuracy": accuracy, "round": round}


OP = decided(1, None, [scored("skip_connect", 0.75), scored("sep_conv_3x3", 0.5)])


@pytest.fixture
def log():
    log = SupernetLog()
    log.hear({"event": "session", "from_step": 0, "notices": []})
    for record in (epoch(1, 3), epoch(2, 4), decision(3, OP)):
        log.hear(record)
    return log


def test_an_epoch_is_a_line_that_says_what_matters(log):
    (text,) = step_lines(log.steps[0], log)
    for word in ("epoch 3 of 6", "81.25 %", "entropy 0.90 0.80", "skip gap 0.12", "left"):
        assert word in text


def test_a_decision_comes_with_the_accuracies_behind_it(log):
    (text,) = step_lines(log.steps[2], log)
    assert "normal edge 0->2: sep_conv_3x3" in text
    assert "without skip_connect 75.00 %, sep_conv_3x3 50.00 %" in text


def test_of_rounds_the_last_is_shown_and_of_magnitude_the_weights(log):
    rounds = [scored("0->3", 0.1), scored("1->3", 0.2), scored("1->3", 0.3, round=1)]
    node = decided(None, 3, rounds)
    mixed = decided(1, None, [], strengths=[0.25, 0.75])
    first, second = step_lines(decision(4, node, mixed), log)
    assert "node 3" in first
    assert "30.00 %" in first
    assert "10.00 %" not in first
    assert "skip_connect 0.250, sep_conv_3x3 0.750" in second


def test_time_left_counts_epochs_and_the_decisions_between(log):
    assert eta_s(SupernetLog()) is None
    assert eta_s(log) == pytest.approx(2 * 2.0)
    log.hear(epoch(4, 5, phase="select", time_s=1.0))
    assert eta_s(log) == pytest.approx(1 * 1.0 + 1 * 3.0)


def test_lines_say_everything_once(log, capsys):
    progress = Lines()
    with progress:
        progress(log)
        progress(log)
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_lines_of_a_resumed_run_begin_where_it_goes_on(log, capsys):
    log.hear({"event": "session", "from_step": 2, "notices": []})
    progress = Lines()
    progress(log)
    log.hear(decision(3, OP))
    progress(log)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "goes on after step 2"
    assert len(out) == 2


def test_silent_says_nothing(log, capsys):
    with Silent() as progress:
        progress(log)
    assert capsys.readouterr().out == ""


def test_the_table_shows_figures_and_decisions(log):
    console = Console(file=io.StringIO(), width=120)
    console.print(table(log))
    text = console.file.getvalue()
    assert "epoch 4 of 6, 1 decisions" in text
    assert "81.25 %" in text
    assert "sep_conv_3x3 50.00 %" in text
    console.print(table(SupernetLog()))
    assert "starting workers" in console.file.getvalue()


def test_a_live_table_leaves_the_terminal_clean(log):
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with LiveTable(console) as progress:
        progress(log)
    assert "epoch 4 of 6" in console.file.getvalue()

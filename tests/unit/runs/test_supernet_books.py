import subprocess
import sys

import pytest
import torch

from raynas.errors import CheckpointError
from raynas.runs import supernet_books
from raynas.runs.supernet_books import (
    CHECKPOINT,
    SupernetBooks,
    newest_checkpoint,
    saved_steps,
    sole_writer,
    step_name,
)
from raynas.runs.supernet_journal import read_supernet_journal
from raynas.supernet_config import CheckpointsConfig

KEEP = CheckpointsConfig(keep_last=2, keep_every=3)


def books(folder, from_step=0):
    return SupernetBooks(folder, KEEP, from_step=from_step, facts={"workers": 1}, notices=[])


def step(number, phase="search", event="epoch"):
    return {"event": event, "step": number, "phase": phase, "epoch": number, "decisions": []}


def run(folder, numbers, phase="search", from_step=0):
    book = books(folder, from_step)
    for number in numbers:
        book.keep(step(number, phase), {"value": torch.tensor(number)})
    book.close()


def test_a_record_and_a_checkpoint_a_step(tmp_path):
    run(tmp_path, [1, 2])
    log, _ = read_supernet_journal(tmp_path / "journal.jsonl")
    assert [s["step"] for s in log.steps] == [1, 2]
    assert log.steps[1]["elapsed_s"] >= log.steps[0]["elapsed_s"] >= 0
    number, state, notices = newest_checkpoint(tmp_path / "checkpoints")
    assert (number, int(state["value"]), notices) == (2, 2, [])


def test_the_last_stay_and_every_third_of_the_search_and_the_search_s_end(tmp_path):
    run(tmp_path, range(1, 9))
    run(tmp_path, range(9, 14), phase="select", from_step=8)
    assert saved_steps(tmp_path / "checkpoints") == [3, 6, 8, 12, 13]


def test_time_goes_on_from_where_it_was(tmp_path, monkeypatch):
    clock = iter([0.0, 100.0, 0.0, 5.0])
    monkeypatch.setattr(supernet_books.time, "monotonic", lambda: next(clock))
    run(tmp_path, [1])
    run(tmp_path, [2], from_step=1)
    log, _ = read_supernet_journal(tmp_path / "journal.jsonl")
    assert [s["elapsed_s"] for s in log.steps] == [100.0, 105.0]


def test_a_truncated_checkpoint_is_passed_over_and_that_is_said(tmp_path):
    run(tmp_path, [1, 2])
    path = tmp_path / "checkpoints" / step_name(2) / CHECKPOINT
    path.write_bytes(path.read_bytes()[:100])
    number, state, (notice,) = newest_checkpoint(tmp_path / "checkpoints")
    assert (number, int(state["value"])) == (1, 1)
    assert step_name(2) in notice
    assert "truncated" in notice


def test_no_checkpoint_is_a_start_but_none_that_can_be_read_is_not(tmp_path):
    assert newest_checkpoint(tmp_path / "checkpoints") == (0, None, [])
    run(tmp_path, [1])
    (tmp_path / "checkpoints" / step_name(1) / CHECKPOINT).write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        newest_checkpoint(tmp_path / "checkpoints")


def test_a_failure_names_the_last_good_checkpoint(tmp_path):
    book = books(tmp_path)
    book.keep(step(1), {})
    book.fail("diverged at epoch 2: training loss is nan")
    book.close()
    failure = read_supernet_journal(tmp_path / "journal.jsonl")[0].failure
    assert failure["checkpoint"] == "checkpoints/step-000001"


def test_one_writer_at_a_time_the_next_waits(tmp_path):
    code = (
        "import sys, pathlib, time\n"
        "from raynas.runs.supernet_books import sole_writer\n"
        "with sole_writer(pathlib.Path(sys.argv[1])):\n"
        "    print('in', flush=True); time.sleep(60)\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "in\n"
    with pytest.raises(BlockingIOError), (tmp_path / ".writer.lock").open("wb") as file:
        supernet_books.fcntl.flock(
            file, supernet_books.fcntl.LOCK_EX | supernet_books.fcntl.LOCK_NB
        )
    other.kill()
    other.wait()
    with sole_writer(tmp_path):
        pass

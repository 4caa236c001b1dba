import json

import pytest

from raynas.errors import RunFolderError
from raynas.runs.journal import RecordFile
from raynas.runs.supernet_journal import read_supernet_journal


def session(from_step, **more):
    return {"event": "session", "from_step": from_step, "notices": [], **more}


def epoch(step, mark=0):
    return {
        "event": "epoch",
        "step": step,
        "phase": "search",
        "epoch": step,
        "elapsed_s": 1.0 * step,
        "decisions": [],
        "mark": mark,
    }


def write(path, records):
    with RecordFile(path) as file:
        for record in records:
            file.write(record)


def test_no_journal_yet(tmp_path):
    log, size = read_supernet_journal(tmp_path / "journal.jsonl")
    assert (log.steps, size, log.last, log.elapsed_s, log.architecture) == ([], 0, None, 0.0, None)


def test_a_step_done_again_supersedes_the_first(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, [session(0), epoch(1), epoch(2), session(1), epoch(2, mark=1)])
    log, size = read_supernet_journal(path)
    assert [(s["step"], s["mark"]) for s in log.steps] == [(1, 0), (2, 1)]
    assert size == path.stat().st_size
    assert len(log.sessions) == 2


def test_a_session_from_an_earlier_checkpoint_voids_what_came_after(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, [session(0), epoch(1), epoch(2), epoch(3), session(1)])
    log, _ = read_supernet_journal(path)
    assert [s["step"] for s in log.steps] == [1]
    assert log.elapsed_s == 1.0


def test_a_failure_lasts_until_workers_start_again(tmp_path):
    path = tmp_path / "journal.jsonl"
    failed = {"event": "failed", "error": "diverged", "checkpoint": None}
    write(path, [session(0), epoch(1), failed])
    assert read_supernet_journal(path)[0].failure == failed
    write(path, [session(0), epoch(1), failed, session(1)])
    assert read_supernet_journal(path)[0].failure is None


def test_a_torn_tail_is_dropped(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, [session(0), epoch(1), epoch(2)])
    path.write_bytes(path.read_bytes()[:-10])
    log, size = read_supernet_journal(path)
    assert [s["step"] for s in log.steps] == [1]
    with RecordFile(path, size) as file:
        file.write(epoch(2, mark=7))
    assert read_supernet_journal(path)[0].steps[-1]["mark"] == 7


@pytest.mark.parametrize(
    "line", ["[1]", '{"event": 3}', '{"event": "epoch", "step": 1}', '{"event": "session"}']
)
def test_what_is_no_entry_says_where(tmp_path, line):
    path = tmp_path / "journal.jsonl"
    path.write_text(f"{line}\n{json.dumps(epoch(1))}\n")
    with pytest.raises(RunFolderError, match="line 1"):
        read_supernet_journal(path)

import pytest

from raynas.errors import RunFolderError
from raynas.runs.journal import Journal, read_journal
from raynas.scheduling.events import Failed, Newcomer, Proposed, Reported, Started

EVENTS = [
    (Proposed(0, "random", [Newcomer("a1", "a1")]), 0.0),
    (Started(0, 2), 0.5),
    (Reported(0, 1, {"accuracy": 0.5}, 0.25), 1.0),
    (Failed(0, "boom\nsecond line"), 1.5),
]


def write(path, events=EVENTS):
    with Journal(path) as journal:
        for event, elapsed_s in events:
            journal.append(event, elapsed_s)


def test_reads_back_what_was_written(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path)
    entries, size = read_journal(path)
    assert entries == EVENTS
    assert size == path.stat().st_size


@pytest.mark.parametrize("cut", [1, 5, 20, 40])
def test_a_torn_tail_is_dropped_and_written_over(tmp_path, cut):
    path = tmp_path / "journal.jsonl"
    write(path)
    path.write_bytes(path.read_bytes()[:-cut])
    entries, size = read_journal(path)
    assert entries == EVENTS[:-1]
    with Journal(path, size) as journal:
        journal.append(*EVENTS[-1])
    assert read_journal(path)[0] == EVENTS


def test_a_torn_tail_of_garbage_is_dropped(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path)
    with path.open("ab") as file:
        file.write(b"\x00\x00\x00\n")
    assert read_journal(path)[0] == EVENTS


def test_garbage_in_the_middle_is_an_error_that_says_where(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"garbage\n" + b"".join(lines[1:]))
    with pytest.raises(RunFolderError, match="line 2"):
        read_journal(path)


@pytest.mark.parametrize("line", [b"[1]\n", b'{"event":"started","id":0,"to_epoch":2}\n'])
def test_json_that_is_no_entry_is_an_error(tmp_path, line):
    path = tmp_path / "journal.jsonl"
    write(path)
    path.write_bytes(line + path.read_bytes())
    with pytest.raises(RunFolderError, match="line 1"):
        read_journal(path)


def test_a_missing_journal_is_an_error(tmp_path):
    with pytest.raises(RunFolderError, match="cannot read"):
        read_journal(tmp_path / "none.jsonl")

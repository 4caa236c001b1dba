"""Training workers, evaluators and the driver SIGKILLed: the same architecture and α at the end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from ray import cloudpickle
from toys import assert_equal, final_state

from raynas import api

pytestmark = [pytest.mark.ray, pytest.mark.faults]

DRIVER = Path(__file__).with_name("supernet_driver.py")


PATIENCE_S = 600
STARTED = []


@pytest.fixture(autouse=True)
def _leave_nothing_behind():
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()


def start(verb, folder, workers=1, engine="ray"):
    process = subprocess.Popen(
        [sys.executable, str(DRIVER), verb, str(folder), str(workers), engine],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    STARTED.append(process)
    return process


def lines(folder):
    path = folder / "journal.jsonl"
    whole = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in whole]


def wait_for(folder, process, condition):
    """Wait for a line of the journal that fulfils a condition, and return it."""
    seen = len(lines(folder))
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for record in lines(folder)[seen:]:
            if condition(record):
                return record
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    raise AssertionError("the driver makes no progress")


def is_epoch(number):
    return lambda record: record["event"] == "epoch" and record["epoch"] == number


def finish(process):
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors


def here(run):
    """Run something of the driver's in this process, on one thread as workers do."""
    sys.path.insert(0, str(DRIVER.parent))
    try:
        import supernet_driver
    finally:
        sys.path.pop(0)
    cloudpickle.register_pickle_by_value(supernet_driver)  # workers cannot import it
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return run(supernet_driver)
    finally:
        torch.set_num_threads(threads)


def uninterrupted(folder):
    return here(
        lambda driver: api.search_supernet(
            config=driver.CONFIG, method=driver.Slow(), out=folder, engine="local"
        )
    )


KILLED = "supernet: Train worker, evaluator and driver SIGKILLed"


def repeated(folder):
    """Return how many steps were done more than once: every session says where it goes on from."""
    done, again = 0, 0
    for record in lines(folder):
        if record["event"] == "session":
            again += done - record["from_step"]
        elif "step" in record:
            done = record["step"]
    return again


def same(killed, whole, record_fault, fault, injected):
    """Hold all that a run ends with against one that nothing happened to, bit by bit."""
    assert_equal(final_state(killed), final_state(whole))
    record_fault(
        fault,
        injected=injected,
        lost_epochs=repeated(killed),
        lost_architectures=0,
        differences=0,
    )


def kill_all_in_turn(folder, workers):
    """Run to the end, with a worker, an evaluator and the driver killed on the way."""
    process = start("start", folder, workers)
    session = wait_for(folder, process, lambda record: record["event"] == "session")
    wait_for(folder, process, is_epoch(2))
    time.sleep(0.1)  # in the middle of the third epoch
    os.kill(session["pid"], signal.SIGKILL)
    again = wait_for(folder, process, lambda record: record["event"] == "session")
    assert again["from_step"] == 2
    assert again["pid"] != session["pid"]
    decided = wait_for(folder, process, lambda record: record["event"] == "decision")
    evaluator = int(decided["decisions"][0]["workers"][0].rpartition(":")[2])
    wait_for(folder, process, lambda record: record["event"] == "epoch")
    wait_for(folder, process, lambda record: record["event"] == "epoch")  # a decision is next
    os.kill(evaluator, signal.SIGKILL)
    wait_for(folder, process, lambda record: record["event"] == "decision")
    wait_for(folder, process, lambda record: record["event"] == "epoch")
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    process = start("resume", folder, workers)
    finish(process)
    assert api.status(folder)["state"] == "done"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    uninterrupted(folder)
    return folder


def test_a_training_worker_is_killed(local_ray, tmp_path, whole, record_fault):
    """The quick form of what follows, on a Ray that is there."""
    folder, killed = tmp_path / "run", []

    def kill():
        while not killed:
            told = lines(folder)
            if any(is_epoch(2)(record) for record in told):
                pid = next(r["pid"] for r in told if r["event"] == "session")
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.05)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    here(lambda driver: api.search_supernet(config=driver.CONFIG, method=driver.Slow(), out=folder))
    killer.join(timeout=10)
    sessions = [record for record in lines(folder) if record["event"] == "session"]
    assert killed == [sessions[0]["pid"]]
    assert len(sessions) == 2
    assert sessions[1]["from_step"] in (1, 2)  # its second checkpoint may have been on its way
    same(folder, whole, record_fault, "supernet: Train worker SIGKILLed", 1)


def test_the_driver_is_killed(tmp_path, whole, record_fault):
    """Likewise; without Ray, which makes no difference."""
    folder = tmp_path / "run"
    process = start("start", folder, engine="local")
    wait_for(folder, process, lambda record: record["event"] == "decision")
    wait_for(folder, process, lambda record: record["event"] == "epoch")
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    assert api.status(folder)["state"] == "interrupted"
    resumed = here(lambda driver: api.resume(folder, method=driver.Slow(), engine="local"))
    assert resumed.finished
    same(folder, whole, record_fault, "supernet: driver SIGKILLed", 1)


@pytest.mark.slow
def test_a_run_survives_worker_evaluator_and_driver_being_killed(tmp_path, record_fault):
    kill_all_in_turn(tmp_path / "killed", workers=1)
    result = uninterrupted(tmp_path / "whole")
    assert api.status(tmp_path / "killed")["architecture"] == result.architecture.text
    same(tmp_path / "killed", tmp_path / "whole", record_fault, KILLED, 3)


@pytest.mark.slow
def test_so_does_one_of_two_workers(tmp_path, record_fault):
    whole = start("start", tmp_path / "whole", workers=2)
    finish(whole)
    kill_all_in_turn(tmp_path / "killed", workers=2)
    same(tmp_path / "killed", tmp_path / "whole", record_fault, KILLED, 3)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_notice_or_ctrl_c_leaves_a_run_that_resumes(tmp_path, record_fault, number):
    folder = tmp_path / "run"
    process = start("start", folder)
    wait_for(folder, process, is_epoch(2))
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3, errors
    assert api.status(folder)["state"] == "interrupted"
    process = start("resume", folder)
    finish(process)
    result = uninterrupted(tmp_path / "whole")
    assert api.status(folder)["architecture"] == result.architecture.text
    same(folder, tmp_path / "whole", record_fault, f"{number.name}: supernet", 1)

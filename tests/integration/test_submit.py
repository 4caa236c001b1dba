"""`raynas submit` and `ray job submit` to a real head with a dashboard, guarded by a token."""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import raynas

pytest.importorskip("aiohttp", reason="the extra `cluster` is not installed")
pytestmark = pytest.mark.ray

ROOT = Path(raynas.__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
WAIT_S = 120
TINY = {
    "space": {"name": "nasbench201", "channels": 4, "cells_per_stage": 1},
    "data": {"name": "digits", "train_size": 100, "valid_size": 50},
    "budget": 4,
    "levels": [1],
    "policy": {"name": "nosh", "initial": 2, "per_round": 2},
    "level0": {"mode": "off"},
    "workers": 1,
}


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Head:
    def __init__(self, folder):
        client, self.port, agent, agent_grpc, metrics = free_ports(5)
        self.address = f"http://127.0.0.1:{self.port}"
        self.token = secrets.token_hex(32)
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "HOME": str(folder),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
        }
        ports = {"port": 0, "dashboard-port": self.port, "ray-client-server-port": client}
        ports |= {"dashboard-agent-listen-port": agent, "metrics-export-port": metrics}
        ports |= {"dashboard-agent-grpc-port": agent_grpc}
        self.log = folder / "head.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(BIN / "ray", "start", "--head", "--block", "--temp-dir", folder / "t"),
                    *("--include-dashboard", "true", "--dashboard-host", "127.0.0.1"),
                    *("--node-ip-address", "127.0.0.1", "--num-cpus", "2"),
                    *("--disable-usage-stats",),
                    *(word for name, port in ports.items() for word in (f"--{name}", str(port))),
                ],
                env={**self.env, "PYTHONPATH": ""},  # it knows raynas from what is shipped only
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def get(self, path, token=None):
        request = urllib.request.Request(self.address + path)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def wait(self):
        until = time.monotonic() + WAIT_S
        while self.get("/api/jobs/", self.token) != 200:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.5)

    def end(self):
        """End what was started here, all of one process group."""
        for number, wait_s in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(wait_s)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue


@pytest.fixture(scope="module")
def head():
    folder = Path(tempfile.mkdtemp(prefix="rn-"))  # short: Ray's sockets lie below it
    started = Head(folder)
    try:
        started.wait()
        yield started
    finally:
        started.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.yaml").write_text(json.dumps(TINY))
    return tmp_path


def command(head, *words, cwd, **changes):
    return subprocess.Popen(
        [sys.executable, "-m", "raynas", *map(str, words)],
        cwd=cwd,
        env={**head.env, **changes},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_search_is_sent_left_alone_and_come_back_to(head, project):
    assert head.get("/api/jobs/") == 401
    sent = command(
        *(head, "submit", "--address", head.address, "--", "search"),
        *("--config", "configs/tiny.yaml", "--out", "runs/a"),
        cwd=project,
    )
    for line in sent.stdout:
        if line.startswith("Running entrypoint"):
            break
    sent.send_signal(signal.SIGINT)
    _, told = sent.communicate(timeout=WAIT_S)
    assert sent.returncode == 3, told
    job_id = re.search(r"raynas submit --follow (\S+)", told)[1]

    back = command(
        head, "submit", "--follow", job_id, "--address", head.address, "--json", cwd=project
    )
    answer, printed = back.communicate(timeout=WAIT_S)
    assert back.returncode == 0, printed
    folder = project / "runs" / "a"
    end = json.loads(answer)
    assert (end["status"], end["folder"], end["in_reach"]) == ("SUCCEEDED", str(folder), True)
    assert printed.count("best architecture") == 1

    status = raynas.status(folder)
    assert status["state"] == "done"
    assert status["spent_epochs"] == 4
    manifest = json.loads((folder / "run.json").read_text())
    assert "_ray_pkg_" in manifest["command"][0]  # the shipped source ran, not an installed one


@pytest.mark.slow
def test_without_the_token_nothing_is_sent(head, project):
    refused = command(
        *(head, "submit", "--address", head.address, "search", "--budget", "1"),
        cwd=project,
        RAY_AUTH_TOKEN="0" * 64,
    )
    _, told = refused.communicate(timeout=WAIT_S)
    assert refused.returncode == 2
    assert told.startswith("raynas: address: the cluster")
    assert "token" in told
    assert len(told.splitlines()) == 1


@pytest.mark.slow
def test_a_job_that_is_not_there(head, project):
    lost = command(head, "submit", "--follow", "nosuch", "--address", head.address, cwd=project)
    _, told = lost.communicate(timeout=WAIT_S)
    assert lost.returncode == 2
    assert f"{head.address} has no job 'nosuch' (it has: " in told


@pytest.mark.slow
def test_mistakes_there_come_back_with_their_exit_code(head, project):
    wrong = command(
        *(head, "submit", "--address", head.address, "search", "--config", "configs/tiny.yaml"),
        *("--set", "levles=[1]"),
        cwd=project,
    )
    printed, told = wrong.communicate(timeout=WAIT_S)
    assert wrong.returncode == 2, told
    assert "did you mean 'levels'" in printed


@pytest.mark.slow
def test_the_plain_line_of_ray(head):
    """Run on this checkout, as written in the README, but for the size of the search."""
    line = f"{BIN}/ray job submit --address {head.address} --working-dir . -- raynas search"
    small = "--budget 2 --workers 1 --set levels=[1] --set data.train_size=100"
    small += " --set level0.mode=off --set policy.initial=2"
    done = subprocess.run(
        [*line.split(), "--config", "configs/laptop.yaml", "--address", "auto", *small.split()],
        cwd=ROOT,
        env=head.env,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    assert "best architecture" in printed
    assert "goes when the Ray session does: give --out" in printed

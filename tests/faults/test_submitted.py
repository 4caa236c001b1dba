"""`ray job submit` to a cluster of three nodes, one of which is killed on the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from faults.harness import fingerprint, num_reported, pool_of, wait_for

from raynas import api

pytest.importorskip("aiohttp", reason="the extra `cluster` is not installed")
from integration.test_submit import BIN, ROOT, Head, free_ports

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.slow]

CONFIG = {
    "space": {"name": "nasbench201", "channels": 4, "cells_per_stage": 1},
    "data": {"name": "digits", "train_size": 400, "valid_size": 100},
    "budget": 100,
    "levels": [1, 2, 4],
    "policy": {"name": "nosh", "per_round": 5},
    "proposer": {"name": "random"},
    "level0": {"mode": "off"},
    "resources": {"cpus": 1, "gpus": 0},
    "workers": 4,
}


def join(head, name, folder):
    """Start another node of a head's cluster, in a process group of its own."""
    told = folder / "t" / "ray_current_cluster"
    wait_for(lambda: told.exists() and told.read_text().strip(), head.process)
    address = told.read_text().strip()
    agent, agent_grpc, metrics = free_ports(3)
    ports = {"dashboard-agent-listen-port": agent, "dashboard-agent-grpc-port": agent_grpc}
    ports |= {"metrics-export-port": metrics}
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [
                *(BIN / "ray", "start", "--block", "--address", address, "--num-cpus", "1"),
                *("--node-ip-address", "127.0.0.1", "--disable-usage-stats"),
                *("--temp-dir", folder / name),  # as if it had a disk of its own
                *(word for port, number in ports.items() for word in (f"--{port}", str(number))),
            ],
            env={**head.env, "PYTHONPATH": ""},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def family(pid):
    """Return the pids and command lines of a process and all that descend from it."""
    told = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,args="], capture_output=True, text=True)
    rows = [line.split(None, 2) for line in told.stdout.splitlines()]
    found = {pid: next((args for number, _, args in rows if int(number) == pid), "")}
    grown = True
    while grown:
        born = {int(n): args for n, parent, args in rows if int(parent) in found}
        grown = not born.keys() <= found.keys()
        found |= born
    return found


def trains(node):
    """Return whether a worker on a node has begun to train."""
    working = ("ray::CandidateTrainable", "ray::ResourceTrainable.train")
    return any(args.startswith(working) for args in family(node.pid).values())


def end_node(process):
    """Kill a node as a power cut would: everything of it at once."""
    if process.poll() is not None:
        return
    for pid in family(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(30)


def test_a_search_on_three_nodes_outlives_one_of_them(tmp_path, record_fault):
    place = Path(tempfile.mkdtemp(prefix="rn-"))  # short: Ray's sockets lie below it
    asked, folder = tmp_path / "asked.yaml", tmp_path / "run"
    asked.write_text(json.dumps(CONFIG))
    head, others = Head(place), []
    try:
        head.wait()
        others = [join(head, name, place) for name in ("one", "two")]
        line = f"{BIN}/ray job submit --address {head.address} --working-dir . -- raynas search"
        sent = subprocess.Popen(
            [*line.split(), "--config", asked, "--address", "auto", "--out", folder],
            cwd=ROOT,
            env=head.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: num_reported(folder) >= 5 and trains(others[0]), sent)
        end_node(others[0])
        printed, errors = sent.communicate(timeout=300)
        assert sent.returncode == 0, printed + errors
    finally:
        for process in others:
            end_node(process)
        head.end()
        shutil.rmtree(place, ignore_errors=True)
    assert "best architecture" in printed
    found, expected = fingerprint(pool_of(folder)), fingerprint(alone(asked, tmp_path))
    differences = sum(a != b for a, b in zip(found, expected, strict=True))
    record_fault(
        "`ray job submit` to 3 nodes, one killed",
        injected=1,
        lost_epochs=None,
        lost_architectures=0,
        differences=differences,
    )
    assert differences == 0


def alone(asked, tmp_path):
    """Search in one process, with one thread, as workers of one CPU do."""
    code = "import sys; from pathlib import Path; from raynas import api; "
    code += "api.search(config=Path(sys.argv[1]), out=sys.argv[2], engine='simulate')"
    whole = tmp_path / "whole"
    subprocess.run(
        [sys.executable, "-c", code, asked, whole],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert api.status(whole)["state"] == "done"
    return pool_of(whole)

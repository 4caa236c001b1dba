"""The local Ray that raynas starts: every socket on 127.0.0.1, and no dashboard."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's /proc"),
]

LISTENING = "0A"

SCRIPT = """
import sys
from pathlib import Path
import ray
from raynas.engine.session import connected, Resources

with connected(None, workers=1, resources=Resources()):
    @ray.remote
    class Worker:
        def pid(self):
            import os
            return os.getpid()
    worker = Worker.remote()
    ray.get(worker.pid.remote())
    print("up", repr(ray.get_runtime_context().gcs_address), flush=True)
    sys.stdin.readline()
"""


def children_of(pid):
    """Return a process and all it has started, by parent; Ray's own reparent nothing."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, open_ = [], [pid]
    while open_:
        found.append(open_.pop())
        open_ += parents.get(found[-1], [])
    return found


def inodes_of(pids):
    """Return the numbers of all sockets that processes hold."""
    found = set()
    for pid in pids:
        try:
            links = list(Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
        for link in links:
            with suppress(OSError):  # closed meanwhile, as the one that listed them is
                target = os.readlink(link)
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


def address_of(text):
    """Return ``127.0.0.1`` of the kernel's hexadecimal form (little-endian words)."""
    import ipaddress

    words = [bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8)]
    return ipaddress.ip_address(b"".join(words))


def listening(inodes):
    """Return address and port of each listening TCP socket among them."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and fields[9] in inodes:
                address, _, port = fields[1].partition(":")
                found.append((address_of(address), int(port, 16)))
    return found


def is_local(address):
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def test_the_kernels_form_is_read_right():
    assert str(address_of("0100007F")) == "127.0.0.1"
    assert str(address_of("00000000")) == "0.0.0.0"
    assert str(address_of("0" * 24 + "01000000")) == "::1"
    assert is_local(address_of("0000000000000000FFFF00000100007F"))
    assert not is_local(address_of("0" * 32))


def test_a_socket_for_all_is_found_out():
    """The test below can fail: a socket that listens everywhere is seen."""
    import socket

    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        found = [a for a, p in listening(inodes_of([os.getpid()])) if p == port]
        assert found
        assert not any(map(is_local, found))


def test_the_local_ray_listens_on_this_machine_only():
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout.readline().startswith("up '127.0.0.1:"), process.stderr.read()
        pids = children_of(process.pid)
        sockets = listening(inodes_of(pids))
    finally:
        process.communicate("\n", timeout=120)
    assert len(pids) > 3
    assert sockets, "Ray's own servers listen somewhere"
    assert [(str(a), p) for a, p in sockets if not is_local(a)] == []
    assert 8265 not in {port for _, port in sockets}, "the dashboard is off"

"""A real S3-compatible server (moto's), started once in a process of its own."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import pytest

from raynas.storage import location

ROOT = Path(__file__).resolve().parents[2]
KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def find_server():
    """moto needs an older python-dateutil than the rest, so it lives in an environment apart."""
    beside = Path(sys.executable).with_name("moto_server")
    apart = (ROOT / ".venv/s3/bin/moto_server", Path(sys.prefix) / "s3/bin/moto_server")
    for path in (os.environ.get("RAYNAS_MOTO_SERVER"), beside, *apart, shutil.which("moto_server")):
        if path and Path(path).exists():
            return str(path)
    return None


def end_with_us():
    """Have this process killed when the tests' process ends, even by SIGKILL (Linux)."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """Where the server listens; the credentials it takes are in the environment meanwhile."""
    program = find_server()
    if program is None:
        pytest.skip(
            "no moto_server here (`make test` installs it, into .venv/s3): no S3 to test on"
        )
    port = free_port()
    log = (tmp_path_factory.mktemp("moto") / "log").open("wb")
    process = subprocess.Popen(
        [program, "-H", "127.0.0.1", "-p", str(port)],
        stdout=log,
        stderr=subprocess.STDOUT,
        preexec_fn=end_with_us,
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert process.poll() is None, "the S3 server has ended"
            assert time.monotonic() < deadline, "the S3 server does not listen"
            time.sleep(0.1)
    before = {name: os.environ.get(name) for name in KEYS}
    os.environ.update(KEYS)
    yield f"127.0.0.1:{port}"
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    process.kill()
    process.wait()


@pytest.fixture
def s3(s3_server):
    """Make URIs in a bucket of the test's own."""
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    request = urllib.request.Request(f"http://{s3_server}/{bucket}", method="PUT")
    urllib.request.urlopen(request).close()

    def uri(path, bucket=bucket):
        return f"s3://{bucket}/{path}?endpoint_override={s3_server}&scheme=http"

    return uri


@pytest.fixture
def memory():
    """A place in pyarrow's in-memory file system."""
    return location(f"mock:///{uuid.uuid4().hex}/runs/a")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Staging folders of the test's own, for its child processes too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"

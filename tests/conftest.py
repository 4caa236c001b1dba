"""Fixtures shared by all tests: one local Ray for the whole session, paths to real data."""

import os
import signal
from pathlib import Path

import pytest
from fault_table import moments as moments
from fault_table import pytest_addoption as pytest_addoption
from fault_table import pytest_terminal_summary as pytest_terminal_summary
from fault_table import record_fault as record_fault
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray's workers import the module of whatever a test sends them, and what that imports.
_HERE, _BEFORE = str(Path(__file__).parent), os.environ.get("PYTHONPATH")
os.environ["PYTHONPATH"] = os.pathsep.join([_HERE, *([_BEFORE] if _BEFORE else [])])
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # In what a shell script starts with `&`, and all that we would start, Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Hundreds of cases of each property are tried by default; `make test-slow` tries thousands.
settings.register_profile("thorough", max_examples=3000, deadline=None)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real tables and images beside the project; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("../shared/data is not here (real tables and images for tests)")
    return SHARED


@pytest.fixture(scope="session")
def local_ray():
    """A local Ray of two CPUs, started once."""
    from raynas.engine.session import Resources, connected

    with connected(None, workers=2, resources=Resources()):
        yield

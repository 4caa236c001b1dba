"""The table of faults: what tests injected, and what it cost, printed at the end of a session.

A test says with the fixture `record_fault` what it did to a run and what came of it. The figures
travel on its report, so they are there whoever ran the test.
"""

import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

_KEY = "fault"
_COLUMNS = {
    "injected": "injected",
    "lost_epochs": "epochs trained again",
    "lost_architectures": "architectures lost",
    "differences": "decisions that differ",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--fault-table`` and ``--fault-seed``."""
    group = parser.getgroup("faults")
    table = os.environ.get("RAYNAS_FAULT_TABLE")
    group.addoption("--fault-table", metavar="PATH", default=table, help="Markdown goes there too.")
    seed = os.environ.get("RAYNAS_FAULT_SEED", "0")
    group.addoption("--fault-seed", type=int, default=int(seed), help="Of the random moments.")


@pytest.fixture
def record_fault(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return what writes a line into the table of faults; None is what was not measured."""

    def record(fault: str, **counts: int | None) -> None:
        assert counts.keys() == _COLUMNS.keys(), counts
        request.node.user_properties.append((_KEY, {"fault": fault, **counts}))

    return record


@pytest.fixture
def moments(request: pytest.FixtureRequest) -> random.Random:
    """Return where random moments come from: a generator of the session's seed and the test."""
    return random.Random(f"{request.config.getoption('--fault-seed')} {request.node.nodeid}")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table, if anything was injected."""
    reports = [r for found in terminalreporter.stats.values() for r in found]
    told = [
        value
        for report in reports
        if getattr(report, "when", None) == "call"
        for key, value in report.user_properties
        if key == _KEY
    ]
    if not told:
        return
    seed = config.getoption("--fault-seed")
    lines = [*as_markdown(told), "", f"Random moments of seed {seed} (`--fault-seed {seed}`)."]
    terminalreporter.section("faults")
    terminalreporter.write("\n".join(lines) + "\n")
    path = config.getoption("--fault-table")
    if path:
        Path(path).write_text("\n".join(lines) + "\n")


def as_markdown(told: Iterable[dict[str, Any]]) -> list[str]:
    """Return a row a fault, in the order they were first met; counts of one fault add up."""
    rows: dict[str, dict[str, Any]] = {}
    for one in told:
        row = rows.setdefault(one["fault"], {"runs": 0, **dict.fromkeys(_COLUMNS, "-")})
        row["runs"] += 1
        for column in _COLUMNS:
            if one[column] is not None:
                row[column] = one[column] + (0 if row[column] == "-" else row[column])
    titles = ["fault", "runs", *_COLUMNS.values()]
    lines = [f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 1)}"]
    lines += [f"| {name} | {' | '.join(map(str, row.values()))} |" for name, row in rows.items()]
    return lines

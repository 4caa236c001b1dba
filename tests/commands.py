"""raynas' commands in this process, on the Ray that the tests share: no start-up to wait for."""

import os
from contextlib import chdir
from dataclasses import dataclass

from typer.testing import CliRunner

from raynas.cli.main import app


@dataclass
class Done:
    """What came of a command, as of a process that has ended."""

    returncode: int
    stdout: str
    stderr: str


def run_command(*words: object, cwd: os.PathLike[str]) -> Done:
    """Run ``raynas WORDS`` in a folder; real processes are for tests of kills and of packaging."""
    with chdir(cwd):
        result = CliRunner().invoke(app, list(map(str, words)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)

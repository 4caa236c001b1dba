"""What `import raynas` offers, and what it costs."""

import subprocess
import sys

import raynas

HEAVY = {"torch", "ray", "pandas", "scipy", "pyarrow", "sklearn"}


def loaded_after(code):
    program = f"{code}\nimport sys; print(' '.join(m for m in sys.modules if '.' not in m))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(run.stdout.splitlines()[-1].split())


def test_every_public_name_is_there():
    for name in raynas.__all__:
        assert getattr(raynas, name) is not None
    assert list(raynas.__all__) == sorted(raynas.__all__)


def test_import_is_light():
    assert not HEAVY & loaded_after("import raynas")


def test_help_is_light():
    code = (
        "from typer.testing import CliRunner; from raynas.cli.main import app\n"
        "commands = 'search,supernet,resume,status,compare,table,table build,retrain'\n"
        "commands += ',export,report,diagnose,submit'\n"
        "for line in ('', *commands.split(',')):\n"
        "    args = line.split()\n"
        "    result = CliRunner().invoke(app, [*args, '--help'])\n"
        "    assert result.exit_code == 0 and len(result.output) > 200, result.output"
    )
    assert not HEAVY & loaded_after(code)

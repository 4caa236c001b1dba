"""What commands make of a URI where no store is needed."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from raynas import api
from raynas.api.submitting import complete
from raynas.cli.main import app
from raynas.errors import ConfigError, RunFolderError
from raynas.proposing.random import RandomProposer
from raynas.runs import remote
from raynas.testing import FakeObjective, ToySpace

URI = "s3://bucket/runs/a?scheme=http&endpoint_override=127.0.0.1:1"


@pytest.mark.parametrize("command", ["search", "supernet", "retrain", "status", "resume", "report"])
def test_a_scheme_that_is_none_is_one_line(command):
    given = ["--out", "s4://b/a"] if command in ("search", "supernet") else ["s4://b/a"]
    result = CliRunner().invoke(app, [command, *given])
    assert result.exit_code == 2
    assert "unknown scheme 's4', did you mean 's3'?" in result.output
    assert result.output.count("\n") == 1


def test_a_comparison_is_local():
    with pytest.raises(ConfigError, match="is written to a local folder"):
        api.compare("any", methods="random", budgets=[10], out=URI)


def test_a_job_is_sent_with_its_uri_as_it_is():
    words, folder = complete(["search", "--budget", "2h", "--out", URI], Path("/home/me"))
    assert words == ["search", "--budget", "2h", "--out", URI]
    assert str(folder) == URI
    words, folder = complete(["resume", URI], Path("/home/me"))
    assert words == ["resume", URI]
    assert str(folder) == URI
    words, folder = complete(["search", "--out", "runs/a"], Path("/home/me"))
    assert folder == Path("/home/me/runs/a")


def test_a_driver_that_loses_its_lease_ends_as_by_ctrl_c_and_says_why(memory, monkeypatch):
    leases = []

    class Seen(remote.Lease):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            leases.append(self)

    monkeypatch.setattr(remote, "Lease", Seen)

    class TakenOver(FakeObjective):
        def metrics(self, text, epoch):
            if leases[0].lost is None:
                leases[0].lost = "was taken over by process 7 on far"
                leases[0]._on_loss(leases[0].lost)
            return super().metrics(text, epoch)

    space = ToySpace()
    with pytest.raises(RunFolderError, match=r"mock:.*: was taken over by process 7 on far"):
        api.search(
            space=space,
            proposer=RandomProposer(space),
            objective=TakenOver(),
            budget=30,
            levels=[1, 2, 4],
            assignments=["level0.mode=off"],
            engine="simulate",
            out=memory,
        )
    assert api.status(memory)["spent_epochs"] == 0  # nothing of it was pushed

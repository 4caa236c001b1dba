"""Following a job over connections that break, and addresses that compete."""

import os

import pytest

from raynas.errors import ConfigError

submit = pytest.importorskip("raynas.engine.submit", reason="Ray is not installed")
aiohttp = pytest.importorskip("aiohttp", reason="the extra `cluster` is not installed")

TEXT = "one\ntwo\nthree\nfour\n"


class Client:
    """Tells `TEXT` from its beginning each time, and breaks after so many characters."""

    def __init__(self, breaks):
        self.breaks = list(breaks)

    async def tail_job_logs(self, job_id):
        upto = self.breaks.pop(0) if self.breaks else None
        for start in range(0, len(TEXT) if upto is None else upto, 3):
            yield TEXT[start : start + 3]
        if upto is not None:
            raise aiohttp.ClientConnectionError("broken")


@pytest.fixture
def jobs(monkeypatch):
    monkeypatch.setattr(submit, "_AGAIN_AFTER_S", 0.0)
    made = object.__new__(submit.Jobs)
    made.ended = True
    made.state = lambda job_id: submit.JobState(job_id, "SUCCEEDED", made.ended, 0, "", {})
    return made


@pytest.mark.parametrize("breaks", [[], [6], [6, 3, 12], [0, 9]])
def test_each_part_is_shown_once_however_often_the_connection_breaks(jobs, breaks):
    jobs._client = Client(breaks)
    shown = []
    assert jobs.follow("a", shown.append).exit_code == 0
    assert "".join(shown) == TEXT


def test_a_log_that_ends_before_the_job_is_read_again(jobs):
    states = [False, False, False, True, True]
    jobs.state = lambda job_id: submit.JobState(job_id, "RUNNING", states.pop(0), 0, "", {})
    jobs._client = Client([])
    shown = []
    jobs.follow("a", shown.append)
    assert "".join(shown) == TEXT
    assert len(states) == 1


def test_a_cluster_that_stays_away_is_given_up(jobs, monkeypatch):
    monkeypatch.setattr(submit, "_TRIES", 3)
    asked = []

    def state(job_id):
        asked.append(job_id)
        raise ConfigError("address: gone")

    jobs.state = state
    with pytest.raises(ConfigError, match="gone"):
        jobs.follow("a", print)
    assert len(asked) == 3


def test_an_address_that_is_given_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://other:1")
    seen = []

    class Spy:
        def __init__(self, address):
            seen.append((address, os.environ.get("RAY_ADDRESS")))

    monkeypatch.setattr(submit, "JobSubmissionClient", Spy)
    submit.Jobs("http://mine:2")
    submit.Jobs(None)
    assert seen == [("http://mine:2", None), (None, "http://other:1")]
    assert os.environ["RAY_ADDRESS"] == "http://other:1"


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (RuntimeError("The Ray jobs CLI & SDK require the ray[default]\ninstall"), r"\[cluster\]"),
        (ConnectionError("Failed to\nconnect"), "no Ray jobs API answers at 'http://a:1'"),
        (RuntimeError("Request failed with status code 500:\nx"), "refuses: Request failed"),
        (submit.RpcError("Timed\nout"), "no Ray jobs API answers at 'http://a:1'"),
        (ValueError("bad\naddress"), "refuses: bad address"),
        (submit.AuthenticationError("no\ntoken"), "asks for a token: set RAY_AUTH_MODE=token"),
    ],
)
def test_what_ray_raises_is_one_line(raised, words, monkeypatch):
    def client(address):
        raise raised

    monkeypatch.setattr(submit, "JobSubmissionClient", client)
    with pytest.raises(ConfigError, match=words) as caught:
        submit.Jobs("http://a:1")
    assert "\n" not in str(caught.value)


def test_an_address_where_nobody_listens_is_told_at_once(monkeypatch):
    """Ray would try for most of a minute."""
    monkeypatch.setattr(submit, "JobSubmissionClient", pytest.fail)
    with pytest.raises(ConfigError, match=r"no Ray cluster answers at '127\.0\.0\.1:1'"):
        submit.Jobs("127.0.0.1:1")

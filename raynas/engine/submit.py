"""Ray's jobs API: send a command to a cluster, follow what it prints, say how it ended.

Needs ``ray[default]`` (the extra ``cluster``) here and on the head node.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray.exceptions import AuthenticationError, RpcError
from ray.job_submission import JobStatus, JobSubmissionClient

from raynas.engine.session import check_answers
from raynas.errors import ConfigError, UsageError

_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")
_AGAIN_AFTER_S = 1.0
_TRIES = 30
_TOKEN = (
    "address: the cluster asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
    "RAY_AUTH_TOKEN_PATH (default ~/.ray/auth_token)"
)


@dataclass(frozen=True, slots=True)
class JobState:
    """Where a job is.

    Attributes:
        job_id: Its submission id.
        status: ``PENDING``, ``RUNNING``, ``SUCCEEDED``, ``FAILED`` or ``STOPPED``.
        ended: Whether it will change no more.
        exit_code: Of its command (None: not ended, or never started).
        message: What Ray says of it.
        metadata: What was sent with it.
    """

    job_id: str
    status: str
    ended: bool
    exit_code: int | None
    message: str
    metadata: Mapping[str, str]


class Jobs:
    """The jobs of one cluster.

    Args:
        address: ``http://HEAD:8265``, ``auto`` or ``HEAD:6379``; None: ``RAY_API_SERVER_ADDRESS``,
            ``RAY_ADDRESS``, or the Ray that runs on this machine.

    Raises:
        ConfigError: nobody answers there, or a token is missing.
    """

    def __init__(self, address: str | None = None) -> None:
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
        check_answers(address)
        with _only(address), _one_line(address):
            self._client = JobSubmissionClient(address)

    @property
    def address(self) -> str:
        """Where the jobs API answers."""
        return str(self._client.get_address())

    def submit(
        self,
        entrypoint: str,
        runtime_env: Mapping[str, Any],
        metadata: Mapping[str, str],
        job_id: str,
    ) -> None:
        """Start a command on the head node; what it needs is uploaded first.

        Raises:
            ConfigError: the cluster refuses it.
        """
        with _one_line(self.address):
            self._client.submit_job(
                entrypoint=entrypoint,
                runtime_env=dict(runtime_env),
                metadata=dict(metadata),
                submission_id=job_id,
            )

    def state(self, job_id: str) -> JobState:
        """Return where a job is.

        Raises:
            UsageError: the cluster has no such job.
        """
        with _one_line(self.address):
            try:
                info = self._client.get_job_info(job_id)
            except RuntimeError as error:
                if "404" not in str(error):
                    raise
                known = [job.submission_id for job in self._client.list_jobs()]
                names = ", ".join(str(name) for name in known if name) or "none"
                raise UsageError(
                    f"{self.address} has no job {job_id!r} (it has: {names})"
                ) from None
        status = JobStatus(info.status)
        return JobState(
            job_id,
            status.value,
            status.is_terminal(),
            info.driver_exit_code,
            " ".join((info.message or "").split()),
            dict(info.metadata or {}),
        )

    def follow(self, job_id: str, show: Callable[[str], None]) -> JobState:
        """Hand what a job prints, from its beginning, to `show` until the job ends.

        A connection that breaks (proxies close quiet ones) is opened again where it broke.

        Raises:
            UsageError: the cluster has no such job.
            ConfigError: the cluster stopped answering; the job may go on all the same.
        """
        unseen = _Unseen(show)
        failures = 0
        while True:
            try:
                self.state(job_id)
                whole = asyncio.run(self._tail(job_id, unseen))
                state = self.state(job_id)
                if state.ended and whole:
                    return state
                failures = 0
            except ConfigError:
                failures += 1
                if failures == _TRIES:
                    raise
            time.sleep(_AGAIN_AFTER_S)

    async def _tail(self, job_id: str, unseen: "_Unseen") -> bool:
        """Read what a job prints; return whether to its end, or until the connection broke."""
        import aiohttp  # comes with ray[default], without which there is no client

        unseen.rewind()
        try:
            async for text in self._client.tail_job_logs(job_id):
                unseen(text)
        except (OSError, RuntimeError, aiohttp.ClientError):
            return False
        return True


class _Unseen:
    """Passes a text on that may be told again from its beginning; each part once."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._shown = 0
        self._at = 0

    def rewind(self) -> None:
        """Hear that the text is told from its beginning."""
        self._at = 0

    def __call__(self, text: str) -> None:
        """Hear the next part."""
        fresh = text[max(0, self._shown - self._at) :]
        self._at += len(text)
        self._shown = max(self._shown, self._at)
        if fresh:
            self._show(fresh)


@contextmanager
def _only(address: str | None) -> Iterator[None]:
    """Have an address that was given go before the environment's; Ray does it the other way."""
    hidden = {name: os.environ.pop(name) for name in _ADDRESSES if address and name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def _one_line(address: str | None) -> Iterator[None]:
    """Turn what Ray raises into an error of one line."""
    where = f"at {address!r}" if address else "on this machine"
    try:
        yield
    except AuthenticationError:
        raise ConfigError(_TOKEN) from None
    except (ConnectionError, OSError, RpcError) as error:
        raise ConfigError(
            f"address: no Ray jobs API answers {where} (http://HEAD:8265): {_short(error)}"
        ) from None
    except UsageError:  # a ValueError too
        raise
    except (RuntimeError, ValueError) as error:
        if "ray[default]" in str(error):
            raise ConfigError(
                "jobs need the extra `cluster`: pip install 'raynas[cluster]'"
            ) from None
        raise ConfigError(f"address: the cluster {where} refuses: {_short(error)}") from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

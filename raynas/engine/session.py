"""Connect to Ray once, and say what it offers: a running cluster, or a local Ray of our own."""

import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import ray
from ray._private import ray_constants
from ray._private import worker as ray_worker

from raynas.errors import ConfigError, WorkerError
from raynas.interrupts import sigterm_as_ctrl_c

_ANSWER_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Resources:
    """What one trial holds while it trains.

    Attributes:
        cpus: CPU cores.
        gpus: GPUs; a fraction shares one.
    """

    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.cpus < 0 or self.gpus < 0 or self.cpus + self.gpus <= 0:
            raise ConfigError(
                f"resources: cpus {self.cpus:g}, gpus {self.gpus:g}: at least 0 and not both 0"
            )

    def as_bundle(self) -> dict[str, float]:
        """Return them as Ray spells them."""
        bundle = {"CPU": self.cpus, "GPU": self.gpus}
        return {name: amount for name, amount in bundle.items() if amount}


@contextmanager
def connected(
    address: str | None, workers: int | None = None, resources: Resources | None = None
) -> Iterator[bool]:
    """Use the Ray this process is connected to, else `address` or `RAY_ADDRESS`, else a local one.

    A local Ray listens on 127.0.0.1 only, shows no dashboard, has as many CPUs as `workers` trials
    need (at least the machine's), and is shut down at the end.

    Yields:
        Whether it is a local one, which has all that it will ever have.

    Raises:
        ConfigError: no Ray answers at the address, or no trial fits this machine.
    """
    if ray.is_initialized():
        with sigterm_as_ctrl_c(), _ray_speaks_on_stderr():
            yield False
        return
    target = address or os.environ.get("RAY_ADDRESS") or None
    if target == "local":
        target = None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if target is None:
        per_trial = resources or Resources()
        needed = math.ceil((workers or 0) * per_trial.cpus)
        options |= {
            "num_cpus": max(os.cpu_count() or 1, needed),
            "include_dashboard": False,
        }
    check_answers(target)
    try:
        # Without an address Ray would join whatever cluster was last started on this machine.
        with _loopback() if target is None else nullcontext():
            ray.init(target or "local", **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"address: no Ray cluster at {target!r}: {' '.join(str(error).split())[:200]}"
        ) from error
    except Exception as error:  # Ray raises no more special one where a machine is too busy
        raise WorkerError(f"Ray did not start: {' '.join(str(error).split())[:200]}") from error
    try:
        if target is None:  # a cluster may grow what it lacks; this machine will not
            _check_capacity(resources or Resources())
        with sigterm_as_ctrl_c(), _ray_speaks_on_stderr():
            yield target is None
    finally:
        ray.shutdown()


@contextmanager
def _loopback() -> Iterator[None]:
    """Have a Ray that starts meanwhile listen on 127.0.0.1 only, as it does on macOS and Windows.

    By itself Ray 2.60 takes the address of this machine on Linux, whatever ``_node_ip_address``
    says, and its servers then listen on all interfaces. The variable is read once, at import, for
    this process, and again by each process that Ray starts.
    """
    name = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    given, before = os.environ.get(name), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        os.environ.pop(name)
        if given is not None:
            os.environ[name] = given


@contextmanager
def _ray_speaks_on_stderr() -> Iterator[None]:
    """Keep what Ray has to say (many workers, memory that runs out) out of what is printed.

    Ray 2.60 prints its messages to stdout whenever they come, in the middle of ``--json`` too.
    """
    say = ray_worker.print_to_stdstream

    def on_stderr(data: dict[str, Any], ignore_prefix: bool) -> None:
        say({**data, "is_err": True}, ignore_prefix)

    ray_worker.print_to_stdstream = on_stderr
    try:
        yield
    finally:
        ray_worker.print_to_stdstream = say


def has_gpus() -> bool:
    """Return whether the cluster offers GPUs now."""
    return bool(ray.cluster_resources().get("GPU", 0) >= 1)


def check_answers(target: str | None) -> None:
    """Raise `ConfigError` if nobody listens at ``host:port``; Ray itself would try for minutes."""
    host, _, port = (target or "").rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return  # `auto`, a named cluster or ray://…: for Ray to resolve
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_WITHIN_S).close()
    except OSError as error:
        raise ConfigError(f"address: no Ray cluster answers at {target!r}: {error}") from None


def capacity(resources: Resources) -> int:
    """Return how many trials of `resources` the cluster holds side by side now."""
    offered = ray.cluster_resources()
    counts = [offered.get(name, 0.0) / amount for name, amount in resources.as_bundle().items()]
    return int(min(counts) + 1e-6)


def _check_capacity(resources: Resources) -> None:
    """Raise `ConfigError` if not even one trial fits this machine."""
    if capacity(resources) < 1:
        offered = ray.cluster_resources()
        have = ", ".join(f"{offered.get(n, 0):g} {n}" for n in ("CPU", "GPU"))
        raise ConfigError(
            f"resources: a trial needs {resources.cpus:g} CPU and {resources.gpus:g} GPU, "
            f"but this machine has {have}"
        )

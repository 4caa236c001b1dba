"""Connect to Ray once, and say what it offers: a running cluster, or a local Ray of our own."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from raynas.errors import ConfigError

# Read by ray.tune when it is imported: no loggers that keep files open per trial, no new output.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
# The journal is the truth; Tune's own snapshots are never read.
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray


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
) -> Iterator[None]:
    """Use the Ray this process is connected to, else `address` or `RAY_ADDRESS`, else a local one.

    A local Ray listens on 127.0.0.1 only, shows no dashboard, has as many CPUs as `workers` trials
    need (at least the machine's), and is shut down at the end.

    Raises:
        ConfigError: no Ray answers at the address.
    """
    if ray.is_initialized():
        yield
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
            "_node_ip_address": "127.0.0.1",
        }
    try:
        ray.init(target, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"address: no Ray cluster at {target!r}: {' '.join(str(error).split())[:200]}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def capacity(resources: Resources) -> int:
    """Return how many trials of `resources` the cluster holds side by side now."""
    offered = ray.cluster_resources()
    counts = [offered.get(name, 0.0) / amount for name, amount in resources.as_bundle().items()]
    return int(min(counts) + 1e-6)


def check_capacity(resources: Resources) -> None:
    """Raise `ConfigError` if not even one trial fits the cluster."""
    if capacity(resources) < 1:
        offered = ray.cluster_resources()
        have = ", ".join(f"{offered.get(n, 0):g} {n}" for n in ("CPU", "GPU"))
        raise ConfigError(
            f"resources: a trial needs {resources.cpus:g} CPU and {resources.gpus:g} GPU, "
            f"but the cluster has {have}"
        )

"""Score networks and architectures with several proxies at once, sharing the work.

Every architecture of a comparison gets the same initialisation seed and the same batch. Torch's
random state is left as it was; scores are a function of the network and the batch alone.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from raynas.errors import ConfigError, DataError
from raynas.networks.seeding import seeded
from raynas.proxies.proxy import DEFAULT_PROXIES, PROXIES, Proxy, finite
from raynas.proxies.trace import Need, TracedProxy, trace
from raynas.registry import lookup
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import SearchSpace, TaskShape

Batch = tuple[Tensor, Tensor]
"""Images `B x C x H x W` (float) and labels `B` (int64)."""

Proxies = Iterable[str] | Mapping[str, str | Proxy]
"""What `ProxySuite` takes."""


class ProxySuite:
    """Several proxies, scored together.

    Args:
        proxies: Names of ours or ``module:attribute`` of yours; or a mapping from names of your
            choice to such, or to objects.

    Raises:
        ConfigError: unknown name, or something that is not a proxy.
    """

    def __init__(self, proxies: Proxies = DEFAULT_PROXIES) -> None:
        named = proxies if isinstance(proxies, Mapping) else {name: name for name in proxies}
        self._proxies = {name: _resolve(name, proxy) for name, proxy in named.items()}
        if not self._proxies:
            raise ConfigError(f"name at least one proxy (ours: {', '.join(PROXIES)})")

    @property
    def names(self) -> tuple[str, ...]:
        """Keys of what `score` returns."""
        return tuple(self._proxies)

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
        """Return every proxy's score: finite or -inf, higher is better.

        The network is left exactly as it was (parameters, buffers, gradients, modes).

        Args:
            network: Images to logits; scored in train mode.
            images: `B x C x H x W` floats on the network's device, at least two.
            labels: `B` int64 classes.
        """
        traced = [p for p in self._proxies.values() if isinstance(p, TracedProxy)]
        needs = Need.NOTHING
        for one in traced:
            needs |= one.needs
        shared = trace(network, images, labels, needs) if traced else None
        scores = {}
        for name, proxy in self._proxies.items():
            if isinstance(proxy, TracedProxy):
                assert shared is not None
                scores[name] = proxy.score(shared)
            else:
                with seeded(0, images.device):
                    scores[name] = finite(float(proxy(network, images, labels)))
        return scores


@dataclass(frozen=True, slots=True)
class _OnCopy:
    """A proxy we know nothing of: it gets a copy of the network."""

    proxy: Proxy

    def __call__(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        return self.proxy(copy.deepcopy(network).train(), images, labels)


def _resolve(name: str, proxy: str | Proxy) -> Proxy:
    found: Any = lookup("proxy", proxy, PROXIES) if isinstance(proxy, str) else proxy
    if isinstance(found, type):
        found = found()
    if not callable(found):
        raise ConfigError(f"proxy {name!r} is {found!r}: it must be callable")
    ours = isinstance(proxy, str) and (proxy in PROXIES or proxy in PROXIES.values())
    harmless: Proxy = found if ours or isinstance(found, TracedProxy) else _OnCopy(found)
    return harmless


def score_architecture(
    space: SearchSpace,
    architecture: Architecture,
    task: TaskShape,
    images: Tensor,
    labels: Tensor,
    seed: int,
    *,
    suite: ProxySuite | None = None,
) -> dict[str, float]:
    """Build an architecture and score it.

    Args:
        space: Builds the network.
        architecture: A point of `space`.
        task: What the network must fit.
        images: `B x C x H x W` floats.
        labels: `B` int64 classes.
        seed: Of the initialisation; the same for all that are compared.
        suite: None for the default proxies.
    """
    with seeded(seed, images.device):
        network = space.build(architecture, task).to(images.device)
    return (suite or ProxySuite()).score(network, images, labels)


class ProxyScorer:
    """Scores lists of architectures; small to pickle, loads its batch where it is first called.

    Args:
        space: Where the architectures come from.
        task: What networks must fit.
        batch: Images `B x C x H x W` (normalised, not augmented) and labels `B`, or a function
            without arguments that loads them (then only the function is pickled). The literature
            takes 64 images, 128 for naswot.
        names: See `ProxySuite`.
        seed: Of the initialisation, the same for every architecture.
        device: Where to score.

    Raises:
        ConfigError: unknown proxy.
        DataError: the batch does not fit the task (at the first call if it is a function).
    """

    def __init__(
        self,
        space: SearchSpace,
        task: TaskShape,
        batch: Batch | Callable[[], Batch],
        *,
        names: Proxies = DEFAULT_PROXIES,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self._space = space
        self._task = task
        self._suite = ProxySuite(names)
        self._seed = seed
        self._device = device
        self._load = batch if callable(batch) else None
        self._batch = None if callable(batch) else check_batch(batch, task)

    def __call__(self, architectures: Sequence[Architecture]) -> list[dict[str, float]]:
        """Return the scores of each architecture, by proxy."""
        if self._batch is None:
            assert self._load is not None
            self._batch = check_batch(self._load(), self._task)
        images, labels = (tensor.to(self._device) for tensor in self._batch)
        return [
            score_architecture(
                self._space, architecture, self._task, images, labels, self._seed, suite=self._suite
            )
            for architecture in architectures
        ]

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if self._load is not None:
            state["_batch"] = None
        return state


def check_batch(batch: Batch, task: TaskShape) -> Batch:
    """Return `batch` if it is one that networks of `task` can be scored with.

    Raises:
        DataError: wrong shape, type, size or labels.
    """
    images, labels = batch
    shape, size = tuple(images.shape), task.image_size
    expected = (task.in_channels, size, size)
    if images.dim() != 4 or shape[1:] != expected or not images.is_floating_point():
        raise DataError(
            f"proxies got images {shape} of {images.dtype}: "
            f"they need (B, {', '.join(map(str, expected))}) of a floating-point type"
        )
    if len(images) < 2 or labels.shape != (len(images),):
        raise DataError(
            f"proxies got {len(images)} images and labels {tuple(labels.shape)}: "
            "they need at least 2 images and one label each"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= task.num_classes:
        raise DataError(
            f"proxies got labels from {low} to {high}: "
            f"the task has classes 0 to {task.num_classes - 1}"
        )
    return images, labels

"""Work that is cut into items which do not know each other, as Ray tasks."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray
from ray import cloudpickle

from raynas.engine.session import Resources, capacity
from raynas.errors import RaynasError, WorkerError

_RETRIES = 3
"""How often an item is tried again when its worker dies."""

_AHEAD = 2
"""Tasks handed to Ray for each that can run, so that no worker waits for the next."""

_Item = TypeVar("_Item")


def run_items(
    work: Callable[[_Item], Any],
    items: Sequence[_Item],
    resources: Resources,
    workers: int | None = None,
) -> Iterator[tuple[int, Any]]:
    """Work on all items on the connected Ray, as many side by side as fit.

    An item whose worker dies is done again by another; workers are kept from item to item.

    Args:
        work: Called with each item, on the workers; is sent once.
        items: What to work on; small.
        resources: What an item holds while it is worked on.
        workers: Items at a time (None: as many as fit).

    Yields:
        The number of an item and what came of it, in the order they are done.

    Raises:
        RaynasError: as raised by `work`.
        WorkerError: `work` raised something else, or its workers died again and again.
    """
    held = ray.put(cloudpickle.dumps(work))
    remote: Any = ray.remote  # its overloads know no options given as a mapping
    task = remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=_RETRIES)(_do)
    waiting = list(enumerate(items))[::-1]
    running: dict[Any, int] = {}
    try:
        while waiting or running:
            width = workers or _AHEAD * max(1, capacity(resources))
            while waiting and len(running) < width:
                number, item = waiting.pop()
                running[task.remote(held, item)] = number
            done, _ = ray.wait(list(running))
            yield running.pop(done[0]), _answer(done[0])
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _do(work: bytes, item: Any) -> Any:
    return cloudpickle.loads(work)(item)


def _answer(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, RaynasError):
            raise error.cause from None
        raise WorkerError(f"a worker failed: {error}") from None
    except ray.exceptions.RayError as error:
        raise WorkerError(f"workers died: {' '.join(str(error).split())[:200]}") from None

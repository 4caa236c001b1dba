"""Who trains together: one process, or several that add up their gradients."""

import json
from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor


class Workers(Protocol):
    """The processes that train one supernet, each on a share of every batch.

    Attributes:
        rank: Which of them this is, from 0.
        size: How many there are.
    """

    @property
    def rank(self) -> int:
        """Which of them this is, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def all_reduce_(self, tensors: Sequence[Tensor], *, mean: bool = False) -> None:
        """Replace each tensor by its sum (or mean) over the workers, the same bits on all.

        All workers must call it with tensors of the same shapes and types, in the same order.
        """
        ...

    def broadcast(self, value: Any) -> Any:
        """Return the JSON value that worker 0 was called with."""
        ...


class Alone:
    """One process that trains by itself."""

    rank = 0
    size = 1

    def all_reduce_(self, tensors: Sequence[Tensor], *, mean: bool = False) -> None:
        """Leave the tensors as they are."""

    def broadcast(self, value: Any) -> Any:
        """Return the value."""
        return value


class Distributed:
    """The processes of the default group of `torch.distributed`, which must be initialised.

    Args:
        device: Where small messages go: the worker's GPU with ``nccl``, the CPU with ``gloo``.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self._device = torch.device(device)

    def all_reduce_(self, tensors: Sequence[Tensor], *, mean: bool = False) -> None:
        """Add up as one flat message for each type and device of tensors."""
        groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for tensor in tensors:
            groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
        for group in groups.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            dist.all_reduce(flat)
            if mean:
                flat /= self.size
            parts = torch.split(flat, [tensor.numel() for tensor in group])
            for tensor, part in zip(group, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))

    def broadcast(self, value: Any) -> Any:
        """Send the JSON text of worker 0's value to all, its length first."""
        text = json.dumps(value).encode() if self.rank == 0 else b""
        length = torch.tensor([len(text)], device=self._device)
        dist.broadcast(length, src=0)
        message = torch.zeros(int(length), dtype=torch.uint8, device=self._device)
        if self.rank == 0:
            message.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        dist.broadcast(message, src=0)
        return json.loads(message.cpu().numpy().tobytes())

"""Counts that need no clock: calls into torch, and what a forward pass keeps for the backward."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


class _Calls(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def torch_calls(run: Callable[[], object]) -> int:
    """Return how many operations of torch (views aside) `run` makes, backward passes included."""
    with _Calls() as calls:
        run()
    return calls.count


def saved_bytes(run: Callable[[], object], network: nn.Module) -> int:
    """Return how many bytes the graph made by `run` keeps, parameters aside; each piece once."""
    known = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, Tensor] = {}  # holding them keeps their addresses from being used again

    def pack(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in known:
            kept[address] = tensor.detach()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        graph = run()
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del graph
    return total

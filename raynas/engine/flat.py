"""All tensors of a module as one flat array of bytes: what travels fast through the object store.

Ray hands a NumPy array to every worker of a node without copying it; a dictionary of thousands of
tensors it takes apart and puts together for each of them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

_ALIGNED_TO = 16
Flat = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Slot:
    name: str
    shape: torch.Size
    dtype: torch.dtype
    start: int
    size: int


class FlatLayout:
    """Where each parameter and buffer of a module lies in the array.

    Args:
        module: Any; others with equally named tensors of the same shapes and types have the same
            layout.
    """

    def __init__(self, module: nn.Module) -> None:
        self._slots: list[_Slot] = []
        start = 0
        for name, tensor in module.state_dict().items():
            size = tensor.numel() * tensor.element_size()
            self._slots.append(_Slot(name, tensor.shape, tensor.dtype, start, size))
            start += -(-size // _ALIGNED_TO) * _ALIGNED_TO
        self._size = start

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FlatLayout) and self._slots == other._slots

    def __hash__(self) -> int:
        return hash(tuple((slot.name, slot.shape, slot.dtype) for slot in self._slots))

    @torch.no_grad()
    def pack(self, module: nn.Module) -> Flat:
        """Return the tensors of a module, on whatever device it is."""
        flat = np.zeros(self._size, dtype=np.uint8)
        tensors = module.state_dict()
        for slot in self._slots:
            self._view(flat, slot).copy_(tensors[slot.name])
        return flat

    @torch.no_grad()
    def unpack(self, flat: Flat, module: nn.Module) -> None:
        """Copy the tensors into a module of this layout, on whatever device it is."""
        # The object store hands out arrays that cannot be written, which torch warns of.
        writable = np.array(flat) if not flat.flags.writeable else flat
        tensors = module.state_dict()
        for slot in self._slots:
            tensors[slot.name].copy_(self._view(writable, slot))

    @staticmethod
    def _view(flat: Flat, slot: _Slot) -> torch.Tensor:
        raw = torch.from_numpy(flat[slot.start : slot.start + slot.size])
        return raw.view(slot.dtype).view(slot.shape)

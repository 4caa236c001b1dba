"""Data-parallel training of one network: what each replica does of a batch, and what they share.

A batch is cut into one share a replica; gradients are averaged so that they are those of the whole
batch, whatever the sizes of the shares. Batch norm sees the share alone, as is usual with
DistributedDataParallel, and the running statistics are those of the first replica.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, slots=True)
class Replicas:
    """This process among those that train one network; alone by default.

    With more than one, `torch.distributed` must be initialised.

    Attributes:
        rank: Number of this one, from 0.
        size: Number of them all.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, values: Tensor) -> Tensor:
        """Return this replica's part of a batch, `B x …`, or of anything laid out by image."""
        return values if self.size == 1 else values.tensor_split(self.size)[self.rank]

    def weight(self, share: int, batch: int) -> float:
        """Return what the mean loss of a share counts, so that the average is the batch's mean."""
        return share * self.size / batch

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module to run forward: its gradients are averaged while it runs backward."""
        if self.size == 1:
            return module
        # A static graph copes with parameters that are never used (edges that lead nowhere).
        return DistributedDataParallel(module, static_graph=True)

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all replicas."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    @torch.no_grad()
    def align(self, module: nn.Module) -> None:
        """Give all replicas the buffers of the first."""
        if self.size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)

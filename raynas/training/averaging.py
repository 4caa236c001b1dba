"""An exponential moving average of a network's weights: smoother than any one step's.

Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992. The decay starts
low, as min(decay, (1 + t) / (10 + t)) after t steps, so that the average forgets the untrained
weights also in a short training.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """Averages a network's parameters and running statistics step by step.

    Args:
        network: What is averaged; it is copied.
        decay: Share of the old average that a step keeps in the long run, in (0, 1).

    Attributes:
        network: The average as a network of its own.
        steps: Number of updates so far.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network)
        self.network.requires_grad_(False)
        self.steps = 0
        self._decay = decay
        mine, theirs = self.network.state_dict(), network.state_dict()
        self._averaged = [mine[k] for k in mine if mine[k].is_floating_point()]
        self._sources = [theirs[k] for k in mine if mine[k].is_floating_point()]
        self._counters = [(mine[k], theirs[k]) for k in mine if not mine[k].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network as it is now."""
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self._averaged, self._sources, 1 - decay)
        for counter, source in self._counters:
            counter.copy_(source)
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the average and the number of steps."""
        return {"network": self.network.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        network: dict[str, Tensor] = state["network"]
        self.network.load_state_dict(network)
        self.steps = int(state["steps"])

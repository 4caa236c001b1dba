"""What moves in a step: weights w by SGD, mixing weights α by Adam."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raynas.supernets.bilevel import Bilevel, Outcome, Step
from raynas.supernets.config import SupernetTrainingConfig
from raynas.supernets.decisions import Decisions
from raynas.supernets.method import Method
from raynas.supernets.norm import set_synchronised
from raynas.supernets.supernet import Supernet
from raynas.supernets.widening import widen
from raynas.supernets.workers import Workers
from raynas.training.loop import snapshot
from raynas.training.placement import Placement


class Learner:
    """A supernet, α, and the optimisers of both.

    Args:
        supernet: The network; is moved to its device.
        method: How α is trained; its parameters must have been made.
        decisions: What is decided of the supernet's edges.
        config: The settings.
        placement: Device and precision.
        workers: Who shares the work.

    Attributes:
        bilevel: Losses and gradients on the supernet.
        optimizer: SGD of w.
        alpha_optimizer: Adam of α.
    """

    def __init__(
        self,
        supernet: Supernet,
        method: Method,
        decisions: Decisions,
        config: SupernetTrainingConfig,
        placement: Placement,
        workers: Workers,
    ) -> None:
        self._method = method
        self._decisions = decisions
        self._config = config
        self.bilevel = Bilevel(supernet, placement, workers)
        self.use(supernet)
        self.alpha_optimizer = torch.optim.Adam(
            method.parameters,
            lr=config.alpha_lr,
            betas=config.alpha_betas,
            weight_decay=config.alpha_weight_decay,
        )

    def use(self, supernet: Supernet) -> None:
        """Go on with another network, and a new optimiser of its weights."""
        bilevel = self.bilevel
        placed = bilevel.placement.place(supernet)
        assert isinstance(placed, Supernet)
        set_synchronised(placed, self._config.sync_norm and bilevel.workers.size > 1)
        bilevel.use(placed)
        self.renew_optimizer()

    def widen(self, partial: int, seed: int) -> None:
        """Let ops read one of `partial` channels, more than before; momentum goes along.

        Args:
            partial: K of partial channels.
            seed: Decides which channels new ones are copies of.
        """
        narrow, before = self.bilevel.supernet, self.optimizer
        widened = widen(narrow, partial, torch.Generator().manual_seed(seed))
        self.use(widened.supernet)
        widened.carry_momentum(before, narrow, self.optimizer)

    def renew_optimizer(self) -> None:
        """Go on with a new optimiser of the weights."""
        config = self._config
        self.optimizer = torch.optim.SGD(
            self.bilevel.supernet.parameters(),
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            foreach=True,
        )

    def set_rates(self, lr: float, weight_decay: float) -> None:
        """Set learning rate and weight decay of w."""
        for group in self.optimizer.param_groups:
            group["lr"], group["weight_decay"] = lr, weight_decay

    def learn_alpha(self, step: Step) -> Outcome:
        """Move α; what is decided or pruned keeps its α, whatever Adam's momentum says."""
        outcome, gradients = self._method.alpha_gradient(step)
        before = [alpha.detach().clone() for alpha in self._method.alphas]
        self.bilevel.descend(
            self.alpha_optimizer, self._method.parameters, gradients, self._config.alpha_grad_clip
        )
        for kind, (alpha, old) in enumerate(zip(self._method.alphas, before, strict=True)):
            free = self._free(kind)
            if not free.all():
                mask = torch.from_numpy(free).to(alpha.device)
                alpha.data.copy_(torch.where(mask, alpha.data, old))
        return outcome

    def learn_weights(self, step: Step) -> Outcome:
        """Move w; weights of ops that were not run are left alone."""
        mixture = self._method.weights_mixture(step).detach()
        outcome = self.bilevel.run(step.train, mixture)
        weights = self.bilevel.weights
        gradients = self.bilevel.gradient(outcome.loss, weights)
        self.bilevel.descend(self.optimizer, weights, gradients, self._config.grad_clip)
        return outcome

    @property
    def alpha_matters(self) -> bool:
        """Whether anything that α mixes is undecided."""
        if len(self._method.parameters) > len(self._method.alphas):
            return True
        return any(self._decisions.undecided_edges(k) for k in range(len(self._decisions.kinds)))

    def _free(self, kind: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        free = self._decisions.allowed(kind)
        undecided = np.zeros(len(free), dtype=np.bool_)
        undecided[self._decisions.undecided_edges(kind)] = True
        return free & undecided[:, None]

    # -- saving --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return a copy on the CPU: plain values and tensors."""
        state: dict[str, Any] = snapshot(
            {
                "supernet": self.bilevel.supernet.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.bilevel.scaler.state_dict(),
                "alphas": [parameter.data for parameter in self._method.parameters],
                "alpha_optimizer": self.alpha_optimizer.state_dict(),
            }
        )
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; it stays as it is, however training goes on."""
        state = snapshot(state)  # torch's optimisers take tensors over without copying them
        self.bilevel.supernet.load_state_dict(state["supernet"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.bilevel.scaler.is_enabled() and state["scaler"]:
            self.bilevel.scaler.load_state_dict(state["scaler"])
        self._load_alphas(state["alphas"])
        self.alpha_optimizer.load_state_dict(state["alpha_optimizer"])

    def _load_alphas(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self._method.parameters, values, strict=True):
            if parameter.shape != value.shape:
                raise ValueError(
                    f"alpha of shape {tuple(value.shape)}, not {tuple(parameter.shape)}"
                )
            parameter.data.copy_(value)

"""DARTS: weights and mixing weights are trained in turn, each on its own half of the images.

Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from raynas.config import Section
from raynas.supernets.bilevel import Gradients, Outcome, Step, axpy
from raynas.supernets.method import Method

_EPSILON = 0.01


class DartsOptions(Section):
    """Options of `Darts`.

    Attributes:
        order: 1: w is held fixed when α moves; 2: α looks one step of w ahead.
    """

    order: Literal[1, 2] = 1


class Darts(Method):
    """DARTS of first or second order, with the published settings of training."""

    Options: ClassVar[type[Section]] = DartsOptions
    options: DartsOptions

    def alpha_gradient(self, step: Step) -> tuple[Outcome, Gradients]:
        """Return the gradient of the validation loss, at w (order 1) or one step ahead (order 2).

        Order 2 (eq. 6 to 8): with w' one step of SGD on from w, learning rate ξ, the gradient is
        that of ``L_valid(w', α)`` with w' fixed, less ξ times the product of ∂²L_train/∂α∂w with
        ``v = ∂L_valid(w', α)/∂w'``, taken as a central difference over ``w ± εv``, ε = 0.01/‖v‖.
        w is put back exactly, and running statistics are left alone.
        """
        if self.options.order == 1:
            return super().alpha_gradient(step)
        return self._second_order(step)

    def _second_order(self, step: Step) -> tuple[Outcome, Gradients]:
        bilevel, alphas = step.bilevel, self.parameters
        weights, size = bilevel.weights, len(alphas)
        before = [weight.detach().clone() for weight in weights]
        with bilevel.untracked():
            ahead = bilevel.run(step.train, self.draw(step)).loss
            self._step_ahead(step, bilevel.gradient(ahead, weights))
            outcome = bilevel.run(step.valid, self.draw(step))
            loss = self.penalised(outcome.loss, step)
            found = bilevel.gradient(loss, [*alphas, *weights])
            implicit = self._implicit(step, before, found[size:])
        with torch.no_grad():
            torch._foreach_copy_(weights, before)
        return outcome, axpy(found[:size], -step.lr, implicit)

    def _implicit(self, step: Step, before: list[Tensor], v: Gradients) -> Gradients:
        """Return the product of ∂²L_train/∂α∂w at w with v; moves w."""
        bilevel, sides = step.bilevel, []
        norm = float(torch.nn.utils.get_total_norm([one for one in v if one is not None]))
        if norm == 0:
            return [None] * len(self.parameters)
        epsilon = _EPSILON / norm
        for sign in (1, -1):
            with torch.no_grad():
                moved = axpy(before, sign * epsilon, v)
                torch._foreach_copy_(bilevel.weights, [one for one in moved if one is not None])
            with bilevel.frozen_weights():
                loss = bilevel.run(step.train, self.draw(step)).loss
            sides.append(bilevel.gradient(loss, self.parameters))
        zeros: Gradients = [None] * len(self.parameters)
        difference = axpy(sides[0], -1, sides[1])
        return axpy(zeros, 1 / (2 * epsilon), difference)

    @torch.no_grad()
    def _step_ahead(self, step: Step, gradients: Gradients) -> None:
        """Move w one step of SGD, without touching its momentum; clipping is left out."""
        (group,) = step.optimizer.param_groups
        for weight, gradient in zip(step.bilevel.weights, gradients, strict=True):
            if gradient is None:
                continue
            momentum = step.optimizer.state.get(weight, {}).get("momentum_buffer")
            move = gradient.add(weight, alpha=group["weight_decay"])
            if momentum is not None:
                move.add_(momentum, alpha=group["momentum"])
            weight.sub_(move, alpha=step.lr)

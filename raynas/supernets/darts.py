"""DARTS: weights and mixing weights are trained in turn, each on its own half of the images.

Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019.
"""

from typing import ClassVar, Literal

import torch

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
            direct, v = found[:size], found[size:]
            norm = torch.nn.utils.get_total_norm([one for one in v if one is not None])
            epsilon = _EPSILON / float(norm)
            sides = []
            for sign in (1, -1):
                with torch.no_grad():
                    moved = axpy(before, sign * epsilon, v)
                    torch._foreach_copy_(weights, [one for one in moved if one is not None])
                with bilevel.frozen_weights():
                    train = bilevel.run(step.train, self.draw(step))
                sides.append(bilevel.gradient(train.loss, alphas))
        with torch.no_grad():
            torch._foreach_copy_(weights, before)
        implicit = axpy(sides[0], -1, sides[1])
        return outcome, axpy(direct, -step.lr / (2 * epsilon), implicit)

    @torch.no_grad()
    def _step_ahead(self, step: Step, gradients: Gradients) -> None:
        """Move w one step of SGD, without touching its momentum; clipping is left out."""
        for weight, gradient in zip(step.bilevel.weights, gradients, strict=True):
            if gradient is None:
                continue
            momentum = step.optimizer.state[weight].get("momentum_buffer")
            move = gradient.add(weight, alpha=self.config.weight_decay)
            if momentum is not None:
                move.add_(momentum, alpha=self.config.momentum)
            weight.sub_(move, alpha=step.lr)

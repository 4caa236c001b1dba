"""What a method of training supernets is: a class with a few hooks, all of which have defaults.

The defaults make DARTS of first order; a method of your own overrides what it does differently.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from raynas.config import Section, construct, validate
from raynas.errors import ConfigError
from raynas.registry import lookup
from raynas.spaces.mixture import CellKind
from raynas.supernets import METHODS
from raynas.supernets.bilevel import Epoch, Gradients, Outcome, Step
from raynas.supernets.config import SupernetTrainingConfig
from raynas.supernets.decisions import Decisions, Question
from raynas.supernets.mixture import Active, Mixture


class Method:
    """How mixing weights and weights are trained.

    Args:
        options: Fields of `Options`.

    Attributes:
        Options: The method's own options.
        frozen_share: Share of the epochs in which α is left alone, unless the config says it.
        options: The options, checked.
        kinds: The kinds of cells; set by `begin`, like all that follows.
        config: The settings of training.
        alphas: The unconstrained parameters α, `E x O` a kind.
        decisions: What is decided of the supernet's edges.

    Raises:
        ConfigError: an option is unknown or out of range.
    """

    Options: ClassVar[type[Section]] = Section
    frozen_share: ClassVar[float] = 0.0

    kinds: tuple[CellKind, ...]
    config: SupernetTrainingConfig
    alphas: list[nn.Parameter]
    decisions: Decisions

    def __init__(self, **options: Any) -> None:
        self.options = validate(self.Options, options, where="method.")

    # -- settings ------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What messages and checkpoints call the method."""
        return type(self).__name__

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Published settings of training that differ from those of DARTS."""
        return {}

    @property
    def partial(self) -> int:
        """K: one of K channels goes through the mixed ops now; 1: all."""
        return self.partials[0]

    @property
    def partials(self) -> tuple[int, ...]:
        """K of each stage of the search, where it has stages; never larger than before."""
        return (1,)

    def training_config(self, options: Mapping[str, Any] | None = None) -> SupernetTrainingConfig:
        """Return the method's settings of training with a user's on top.

        Raises:
            ConfigError: an option is unknown or out of range.
        """
        merged = {**self.defaults, **(options or {})}
        return validate(SupernetTrainingConfig, merged, where="training.")

    def check(self, kinds: Sequence[CellKind], config: SupernetTrainingConfig) -> None:
        """Refuse a space or settings that the method makes no sense with.

        Raises:
            ConfigError: what is wrong and what can be done, in one line.
        """
        if self.frozen_epochs(config) >= config.epochs:
            raise ConfigError(
                f"training.alpha_frozen_epochs: {self.frozen_epochs(config)} leave none of the "
                f"{config.epochs} epochs for alpha to learn in"
            )

    def frozen_epochs(self, config: SupernetTrainingConfig) -> int:
        """Return the number of epochs at the start in which α is left alone."""
        frozen = config.alpha_frozen_epochs
        return round(self.frozen_share * config.epochs) if frozen is None else frozen

    # -- parameters ----------------------------------------------------------------------------

    def begin(
        self,
        decisions: Decisions,
        config: SupernetTrainingConfig,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        """Make the parameters.

        Args:
            decisions: Of the supernet; their `kinds` are what it mixes.
            config: The settings of training.
            generator: On the CPU; decides their values.
            device: Where they live.
        """
        self.kinds, self.decisions, self.config = decisions.kinds, decisions, config
        shapes = [(kind.num_edges, kind.num_ops) for kind in self.kinds]
        self.alphas = [nn.Parameter(self.initial(shape, generator).to(device)) for shape in shapes]

    def initial(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return the values that parameters start from, on the CPU."""
        return torch.randn(shape, generator=generator) * self.config.alpha_init

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """All that the optimiser of α moves, `alphas` first."""
        return self.alphas

    # -- mixing --------------------------------------------------------------------------------

    def theta(self) -> list[Tensor]:
        """Return the mixing weights `E x O` a kind, with gradient: free of noise and decisions.

        Rows lie on the simplex; pruned ops weigh 0.
        """
        return [
            masked_softmax(alpha, self.decisions.allowed(number))
            for number, alpha in enumerate(self.alphas)
        ]

    def edge_weights(self) -> list[Tensor] | None:
        """Return what whole edges are multiplied by, `E` a kind, with gradient; None: 1."""
        return None

    def strengths(self) -> list[Tensor]:
        """Return `E x O` a kind: what selection by magnitude compares, ops and edges."""
        theta, edges = self.theta(), self.edge_weights()
        if edges is None:
            return theta
        return [rows * own[:, None] for rows, own in zip(theta, edges, strict=True)]

    def mix(self, theta: Sequence[Tensor]) -> Mixture:
        """Return the mixture of weights `theta` under what is decided."""
        return self.decisions.mix(theta, self.edge_weights())

    def draw(self, step: Step) -> Mixture:
        """Return the mixture of one forward pass of training, with gradient to α."""
        return self.mix(self.theta())

    # -- a step --------------------------------------------------------------------------------

    def trains_alpha(self, epoch: int, tuning: bool) -> bool:
        """Return whether α learns in an epoch, counted from 0."""
        return tuning or epoch >= self.frozen_epochs(self.config)

    def penalty(self) -> Tensor | None:
        """Return what is added to the loss of α; None for nothing."""
        return None

    def alpha_gradient(self, step: Step) -> tuple[Outcome, Gradients]:
        """Return the forward pass on the batch of α, and the gradients of `parameters`.

        First order (Liu et al., "DARTS", eq. 5 with ξ = 0): the gradient of the validation loss
        with w held fixed.
        """
        with step.bilevel.frozen_weights():
            outcome = step.bilevel.run(step.valid, self.draw(step))
        loss = self.penalised(outcome.loss, step)
        return outcome, step.bilevel.gradient(loss, self.parameters)

    def penalised(self, loss: Tensor, step: Step) -> Tensor:
        """Return this worker's share of the loss of α with the penalty."""
        penalty = self.penalty()
        return loss if penalty is None else loss + step.valid.share * penalty

    def weights_mixture(self, step: Step) -> Mixture:
        """Return the mixture that w is trained under; its gradients are not used."""
        return self.draw(step)

    # -- an epoch ------------------------------------------------------------------------------

    def batch_size(self) -> int:
        """Return the size of the batches now, of all workers together."""
        return self.config.batch_size

    def weight_decay(self) -> float:
        """Return the weight decay on w now."""
        return self.config.weight_decay

    def begin_epoch(self, epoch: int) -> None:
        """Get ready for an epoch of the search, counted from 0; may prune ops."""

    def end_epoch(self, epoch: Epoch) -> dict[str, Any]:
        """Look at an epoch that was just trained; return metrics of one's own, JSON values."""
        return {}

    def questions(self, epoch: int) -> list[Question]:
        """Return what the method wants decided now.

        Args:
            epoch: Epochs trained.
        """
        return []

    def answered(self, question: Question, chosen: Sequence[int]) -> None:
        """Take note of an answer, which `decisions` holds already."""

    # -- going back, and stopping --------------------------------------------------------------

    @property
    def stopped(self) -> bool:
        """Whether the method ended the search before its last epoch."""
        return False

    def remembers(self, epoch: int) -> Collection[int]:
        """Return the numbers of epochs trained whose weights the method may go back to.

        Args:
            epoch: Epochs trained.
        """
        return ()

    def rewinds_to(self) -> int | None:
        """Return how many epochs shall be trained, fewer than are; None: go on as it is."""
        return None

    def rewound(self) -> None:
        """Take note that weights and α are those of `rewinds_to` again."""

    # -- saving --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what the method remembers besides its parameters: plain values and tensors."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""


def make_method(name: str, options: Mapping[str, Any] | None = None) -> Method:
    """Return a method by name, or of a user's own class (``module:Class``).

    Raises:
        ConfigError: unknown name or option.
    """
    target = lookup("method", name, METHODS)
    method = construct("method", target, options or {})
    if not isinstance(method, Method):
        raise ConfigError(f"method: {name!r} makes no raynas.supernets.method.Method")
    return method


def masked_softmax(alpha: Tensor, allowed: Active) -> Tensor:
    """Return the softmax of each row over its allowed entries; the others are 0."""
    if allowed.all():
        return alpha.softmax(dim=-1)
    mask = torch.from_numpy(allowed).to(alpha.device)
    return alpha.masked_fill(~mask, float("-inf")).softmax(dim=-1)

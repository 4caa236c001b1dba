"""A network and the loss it is trained with, as one module: one forward pass for DDP to see."""

import torch.nn.functional as F
from torch import Tensor, nn

from raynas.errors import ConfigError
from raynas.training.evaluation import logits_of


def auxiliary_of(network: nn.Module) -> nn.Module | None:
    """Return a network's auxiliary classifier, which only training uses; None if it has none.

    Such a network has an attribute `auxiliary` and a method ``forward_with_auxiliary(images)`` that
    returns two logits (see `raynas.networks.cell_network.CellNetwork`).
    """
    found = getattr(network, "auxiliary", None)
    has_method = hasattr(network, "forward_with_auxiliary")
    return found if has_method and isinstance(found, nn.Module) else None


class Learner(nn.Module):
    """The training loss of a network.

    Args:
        network: Images `B x C x S x S` to logits `B x classes`.
        label_smoothing: Share of a label that is spread over all classes.
        auxiliary_weight: Weight of the auxiliary classifier's loss; 0: it is not run.

    Raises:
        ConfigError: there is a weight but no auxiliary classifier.
    """

    def __init__(
        self, network: nn.Module, *, label_smoothing: float = 0.0, auxiliary_weight: float = 0.0
    ) -> None:
        super().__init__()
        if auxiliary_weight and auxiliary_of(network) is None:
            raise ConfigError(
                f"training.auxiliary_weight: {auxiliary_weight:g}, but {type(network).__name__} "
                "has no auxiliary classifier (space.auxiliary: true makes one in the DARTS family)"
            )
        self.network = network
        self.label_smoothing = label_smoothing
        self.auxiliary_weight = auxiliary_weight

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a batch, a scalar, and its logits `B x classes`."""
        if not self.auxiliary_weight:
            logits = logits_of(self.network(images))
            return self._loss(logits, labels), logits
        forward = self.network.forward_with_auxiliary
        logits, auxiliary = forward(images)  # type: ignore[operator]  # checked at the start
        loss = self._loss(logits, labels) + self.auxiliary_weight * self._loss(auxiliary, labels)
        return loss, logits

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

"""Running statistics of batch norms, taken anew."""

import torch

from raynas.selection.training import Trainable


@torch.no_grad()
def recalibrate(training: Trainable, batch_size: int) -> None:
    """Replace running statistics by their plain mean over the fixed validation batches.

    The supernet runs as it is decided so far, with nothing left out; its mode is left as it was.
    """
    supernet, mixture = training.supernet, training.mixture()
    norms = supernet.norms()
    momenta = [norm.momentum for norm in norms]
    was_training, was_tracking = supernet.training, supernet.tracking
    dropped, supernet.drop_path_probability = supernet.drop_path_probability, 0.0
    supernet.train()
    supernet.tracking = True
    try:
        for number, (images, _) in enumerate(training.selection_batches(batch_size)):
            for norm in norms:
                norm.momentum = 1 / (number + 1)  # the first batch replaces what there was
            supernet(images, mixture)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        supernet.train(was_training)
        supernet.tracking = was_tracking
        supernet.drop_path_probability = dropped

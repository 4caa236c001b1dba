"""The dominant eigenvalue of the Hessian of the validation loss by α.

Zela et al., "Understanding and Robustifying Differentiable Architecture Search", ICLR 2020, §4.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from raynas.supernets.bilevel import Bilevel, Epoch
from raynas.supernets.method import Method
from raynas.supernets.norm import set_synchronised

Product = Callable[[Tensor], Tensor]
"""The product of a symmetric matrix and a vector, `n` to `n`."""


def alpha_eigenvalue(
    epoch: Epoch, method: Method, *, batches: int, exact_up_to: int, iterations: int
) -> float:
    """Return the largest eigenvalue for the clean mixture, the mean over batches of it.

    The network is in train mode, and the loss has α's weight decay in it, as published. Worker 0
    computes it and tells the others.

    Args:
        epoch: Just trained.
        method: Whose α it is.
        batches: How many of the first fixed validation batches are used.
        exact_up_to: Number of α up to which the whole Hessian is made.
        iterations: Of Lanczos, where it is not.
    """
    workers = epoch.bilevel.workers
    if workers.rank != 0:
        return float(workers.broadcast(None))
    values = []
    with alone(epoch.bilevel):
        for images, labels in islice(epoch.batches(method.config.batch_size), batches):
            product, slopes = hessian_product(epoch.bilevel, method, images, labels)
            size = len(slopes)
            whole = size <= exact_up_to
            values.append(exact(product, size) if whole else lanczos(product, size, iterations))
    return float(workers.broadcast(sum(values) / len(values)))


def hessian_product(
    bilevel: Bilevel, method: Method, images: Tensor, labels: Tensor
) -> tuple[Product, Tensor]:
    """Return the product with the Hessian on one batch, and the gradient, `n`: of all α in turn."""
    alphas = method.alphas
    logits = bilevel.supernet(images, method.mix(method.theta()))
    decay = sum(alpha.square().sum() for alpha in alphas)
    loss = F.cross_entropy(logits, labels) + method.config.alpha_weight_decay / 2 * decay
    slopes = _flat(torch.autograd.grad(loss, alphas, create_graph=True))

    def product(vector: Tensor) -> Tensor:
        return _flat(torch.autograd.grad(slopes, alphas, vector.to(slopes), retain_graph=True))

    return product, slopes.detach()


def exact(product: Product, size: int) -> float:
    """Return the largest eigenvalue of a symmetric `n x n` matrix from its n columns."""
    return float(torch.linalg.eigvalsh(dense(product, size))[-1])


def dense(product: Product, size: int) -> Tensor:
    """Return a symmetric matrix from its n columns, `n x n` float64 on the CPU."""
    rows = torch.stack([product(row) for row in torch.eye(size)]).double().cpu()
    return (rows + rows.T) / 2


def lanczos(product: Product, size: int, iterations: int) -> float:
    """Return the largest eigenvalue of a symmetric matrix, as closely as some products tell.

    Every new direction is made orthogonal to all before, so that none comes twice.

    Args:
        product: With the matrix.
        size: n.
        iterations: Products to take, at most n.
    """
    start = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    basis = [start / start.norm()]
    diagonal, beside = [], []
    for _ in range(min(iterations, size)):
        image = product(basis[-1]).double().cpu()
        diagonal.append(float(image @ basis[-1]))
        for _ in range(2):  # once is not enough in floating point
            for direction in basis:
                image = image - (image @ direction) * direction
        length = float(image.norm())
        if length <= 1e-10 * max(map(abs, diagonal)):
            break  # the directions span a space that the matrix does not leave
        beside.append(length)
        basis.append(image / length)
    size = len(diagonal)
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    for i, length in enumerate(beside[: size - 1]):
        matrix[i, i + 1] = matrix[i + 1, i] = length
    return float(torch.linalg.eigvalsh(matrix)[-1])


def _flat(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


@contextmanager
def alone(bilevel: Bilevel) -> Iterator[None]:
    """Run the network in train mode by this worker alone, leaving no trace in its norms."""
    supernet = bilevel.supernet
    was_training, was_joint = supernet.training, any(n.synchronised for n in supernet.norms())
    supernet.train()
    set_synchronised(supernet, False)
    try:
        with bilevel.frozen_weights(), bilevel.untracked():
            yield
    finally:
        supernet.train(was_training)
        set_synchronised(supernet, was_joint)

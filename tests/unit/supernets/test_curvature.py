"""Eigenvalues of α: Lanczos against the whole matrix, and the Hessian against differences."""

import pytest
import torch
import torch.nn.functional as F

from raynas.supernets.bilevel import Epoch
from raynas.supernets.curvature import alpha_eigenvalue, exact, lanczos


@pytest.mark.parametrize("size", [1, 2, 7, 60])
def test_lanczos_finds_the_largest_eigenvalue(size):
    generator = torch.Generator().manual_seed(size)
    half = torch.randn(size, size, generator=generator, dtype=torch.float64)
    matrix = half + half.T - 3 * torch.eye(size)

    def product(vector):
        return matrix @ vector.double()

    largest = float(torch.linalg.eigvalsh(matrix)[-1])
    assert exact(product, size) == pytest.approx(largest)
    assert lanczos(product, size, size) == pytest.approx(largest)
    assert lanczos(product, size, 30) == pytest.approx(largest, rel=1e-3)


def test_lanczos_stops_where_the_matrix_leads_no_further():
    assert lanczos(lambda vector: 2.5 * vector, 10, 10) == pytest.approx(2.5)
    assert lanczos(lambda vector: 0 * vector, 10, 10) == 0


def test_eigenvalue_is_that_of_the_hessian_by_differences(make_training, exact_digits, in_double):
    training = in_double(make_training(data=exact_digits, alpha_weight_decay=0.01))
    method, bilevel = training.method, training._learner.bilevel
    training.supernet.train()
    buffers = [buffer.clone() for buffer in training.supernet.buffers()]
    epoch = Epoch(bilevel, 0, False, training.selection_batches)
    options = {"batches": 1, "iterations": 30}
    found = alpha_eigenvalue(epoch, method, exact_up_to=30, **options)
    assert alpha_eigenvalue(epoch, method, exact_up_to=29, **options) == pytest.approx(found)
    assert all(map(torch.equal, buffers, training.supernet.buffers()))

    images, labels = next(training.selection_batches(8))
    alpha, steps = method.alphas[0], []

    def slope():
        with bilevel.untracked():
            loss = F.cross_entropy(training.supernet(images, method.mix(method.theta())), labels)
        return torch.autograd.grad(loss, alpha)[0].flatten()

    for i in range(30):  # by steps too small to cross a kink of a ReLU
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                alpha.view(-1)[i] += sign * 1e-7
            sides.append(slope())
            with torch.no_grad():
                alpha.view(-1)[i] -= sign * 1e-7
        steps.append((sides[0] - sides[1]) / 2e-7)
    hessian = torch.stack(steps) + 0.01 * torch.eye(30)
    expected = float(torch.linalg.eigvalsh((hessian + hessian.T) / 2)[-1])
    assert found == pytest.approx(expected, rel=1e-4)

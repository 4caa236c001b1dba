"""Traces, spectra and shapes of matrices that are known by their products."""

import math

import numpy as np
import pytest
import torch

from raynas.diagnostics.spectra import contrasts, hutchinson, shape_of
from raynas.supernets.curvature import dense, lanczos


def random_symmetric(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    half = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return half + half.T


def test_hutchinson_is_exact_for_a_diagonal():
    diagonal = torch.tensor([3.0, -1.0, 0.5, 7.0], dtype=torch.float64)
    found = hutchinson(lambda v: diagonal * v, 4, 3, torch.Generator().manual_seed(1))
    assert found.trace == pytest.approx(9.5)
    assert found.error == pytest.approx(0, abs=1e-12)
    assert torch.allclose(found.diagonal, diagonal)


def test_hutchinson_comes_close_with_many_probes():
    matrix = random_symmetric(12)
    found = hutchinson(lambda v: matrix @ v, 12, 4000, torch.Generator().manual_seed(0))
    assert abs(found.trace - float(matrix.trace())) < 4 * found.error
    # The variance of a probe is 2 Σ_{i≠j} H_ij² (Hutchinson 1989, of signs).
    beside = matrix - torch.diag(matrix.diagonal())
    expected = math.sqrt(2 * float(beside.square().sum()) / 4000)
    assert found.error == pytest.approx(expected, rel=0.1)
    assert float(found.diagonal.sum()) == pytest.approx(found.trace)


def test_hutchinson_averages_to_the_trace():
    """Over all signs, so exactly: the mean of the estimates is the trace."""
    matrix = random_symmetric(4)
    total = 0.0
    for code in range(16):
        signs = torch.tensor([1.0 if code >> bit & 1 else -1.0 for bit in range(4)]).double()
        total += float(signs @ matrix @ signs)
    assert total / 16 == pytest.approx(float(matrix.trace()))


def test_shape_is_what_numpy_says():
    matrix = random_symmetric(9, seed=3)
    shape = shape_of(matrix)
    array = matrix.numpy()
    assert shape.spectrum == pytest.approx(np.linalg.eigvalsh(array).tolist())
    assert shape.largest == pytest.approx(np.linalg.eigvalsh(array).max())
    assert shape.condition == pytest.approx(np.linalg.cond(array, 2))
    assert shape.diagonal == pytest.approx(np.diag(array).tolist())
    beside = np.abs(array - np.diag(np.diag(array))).sum()
    assert shape.off_diagonal == pytest.approx(beside / np.abs(array).sum())


def test_shapes_of_special_matrices():
    identity = shape_of(2.5 * torch.eye(6, dtype=torch.float64))
    assert (identity.condition, identity.off_diagonal) == (pytest.approx(1), 0)
    nothing = shape_of(torch.zeros(3, 3, dtype=torch.float64))
    assert nothing.condition == math.inf
    assert nothing.off_diagonal == 0


def test_contrasts_are_what_a_softmax_sees():
    basis = contrasts([2, 3, 5])
    assert basis.shape == (10, 7)
    assert torch.allclose(basis.T @ basis, torch.eye(7, dtype=torch.float64))
    for start, count in ((0, 2), (2, 3), (5, 5)):
        constant = torch.zeros(10, dtype=torch.float64)
        constant[start : start + count] = 1
        assert torch.allclose(basis.T @ constant, torch.zeros(7, dtype=torch.float64))


@pytest.mark.parametrize("size", [5, 30])
def test_lanczos_equals_dense(size):
    matrix = random_symmetric(size, seed=size)

    def product(vector):
        return matrix @ vector.double()

    assert torch.allclose(dense(product, size), matrix)
    assert lanczos(product, size, size) == pytest.approx(shape_of(matrix).largest)

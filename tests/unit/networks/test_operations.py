import pytest
import torch

from raynas.networks.operations import ReductionBlock, average_pool, conv_norm


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_convolutions_keep_the_size(kernel):
    assert conv_norm(2, 3, kernel)(torch.randn(2, 2, 5, 7)).shape == (2, 3, 5, 7)


def test_convolutions_have_no_bias_and_their_norm_is_affine():
    module = conv_norm(2, 3, 3)
    assert [name for name, _ in module.named_parameters()] == [
        "conv.weight",
        "norm.weight",
        "norm.bias",
    ]


def test_average_pool_leaves_the_border_out():
    ones = torch.ones(1, 1, 4, 4)
    assert torch.equal(average_pool(ones), ones)
    corner = torch.zeros(1, 1, 3, 3)
    corner[..., 0, 0] = 36
    assert average_pool(corner)[0, 0].tolist() == [[9, 6, 0], [6, 4, 0], [0, 0, 0]]


@pytest.mark.parametrize(("size", "half"), [(1, 1), (2, 1), (5, 3), (8, 4)])
def test_reduction_halves_and_rounds_up(size, half):
    images = torch.randn(2, 2, size, size)
    assert ReductionBlock(2, 4)(images).shape == (2, 4, half, half)

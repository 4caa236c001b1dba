import copy
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raynas.proxies.activation import linear_regions

Batch = tuple[Tensor, Tensor]


def narrow(width: int, depth: int = 2) -> nn.Module:
    """Few units, so that images share codes."""
    sizes = [192, *[width] * depth]
    blocks = [
        layer
        for before, after in itertools.pairwise(sizes)
        for layer in (nn.Linear(before, after), nn.ReLU())
    ]
    return nn.Sequential(nn.Flatten(), *blocks, nn.Linear(width, 4)).double()


def codes_by_hand(network: nn.Module, images: Tensor) -> np.ndarray:
    net, seen, x = copy.deepcopy(network), [], images
    with torch.no_grad():
        for module in net:
            if isinstance(module, nn.ReLU):
                seen.append((x > 0).numpy())
            x = module(x)
    return np.concatenate(seen, axis=1)


@pytest.mark.parametrize("width", [1, 2, 3, 5, 20])
def test_number_of_different_codes(
    width: int, batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    network = make_network(lambda: narrow(width), seed=1)
    codes = codes_by_hand(network, batch[0])
    counts = [int((codes == code).all(axis=1).sum()) for code in codes]
    expected = sum(1 / count for count in counts)
    assert expected == pytest.approx(len(np.unique(codes, axis=0)))
    assert linear_regions(network, *batch) == pytest.approx(expected, rel=1e-14)


def test_widths_give_between_one_and_all_regions(
    batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    scores = [linear_regions(make_network(lambda w=w: narrow(w), 1), *batch) for w in (1, 5, 64)]
    assert 1 < scores[0] <= 4 < scores[1] < scores[2] == 12


def test_an_image_twice_adds_no_region(network: nn.Module, batch: Batch) -> None:
    images, labels = batch
    assert linear_regions(network, images, labels) == 12
    twice = torch.cat([images[:6], images[:6]])
    assert linear_regions(network, twice, labels) == pytest.approx(6)


def test_without_relus_there_is_one_region(batch: Batch) -> None:
    assert linear_regions(nn.Flatten(), *batch) == 1.0
    gelu = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.GELU()).double()
    assert linear_regions(gelu, *batch) == 1.0


def test_only_relus_on_a_path_make_regions(
    batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    class SideShow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.side = narrow(1), nn.Linear(192, 50).double()

        def forward(self, images: Tensor) -> Tensor:
            self.side(images.flatten(1)).relu()
            return self.main(images)

    network = make_network(SideShow)
    assert linear_regions(network, *batch) == linear_regions(network.main, *batch) <= 4

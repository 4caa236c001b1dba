"""Small networks and batches for the proxies' tests, in float64 where formulas are compared."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toys import one_thread as one_thread

Batch = tuple[Tensor, Tensor]


class Residual(nn.Module):
    """Modules and functions mixed: an in-place ReLU, a skip, a shared ReLU, dead branches."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.left = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.right = nn.Conv2d(6, 6, 1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.dead = nn.Conv2d(6, 6, 3, padding=1)
        self.hidden = nn.Linear(6, 8)
        self.classifier = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        shared = F.relu(x)
        F.relu(self.dead(shared))  # leads nowhere
        constant = F.relu(self.right(torch.zeros_like(shared)) + 1)  # comes from nowhere
        y = self.act(self.norm(self.left(shared) + self.right(shared))) + x + constant
        y = F.avg_pool2d(y, 2).mean(dim=(2, 3))
        return self.classifier(self.hidden(y).relu())


class Dead(nn.Module):
    """No image has any influence: the classifier sees zeros (`how` says where they come from)."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.hidden = nn.Linear(4, 5)  # its bias feeds what follows
        self.classifier = nn.Linear(5, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(images)))
        zeros = torch.zeros_like(x) if self.how == "cut" else x * 0.0
        return self.classifier(F.relu(self.hidden(F.relu(zeros).mean(dim=(2, 3)))))


def seeded_network(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


@pytest.fixture
def network() -> nn.Module:
    """Two convolutions in parallel, a skip and dead branches; in double precision."""
    return seeded_network(Residual).double()


@pytest.fixture
def make_network() -> Callable[..., nn.Module]:
    return seeded_network


@pytest.fixture(params=["cut", "zeroed"])
def dead_network(request: pytest.FixtureRequest) -> nn.Module:
    return seeded_network(lambda: Dead(request.param)).double()


@pytest.fixture
def batch() -> Batch:
    """Twelve images `3 x 8 x 8` of four classes, in double precision."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(12, 3, 8, 8, generator=generator, dtype=torch.float64)
    return images, torch.arange(12) % 3

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.errors import ConfigError, DataError
from raynas.proxies.proxy import DEFAULT_PROXIES, PROXIES
from raynas.proxies.score import ProxyScorer, ProxySuite, score_architecture
from raynas.registry import lookup
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import TaskShape

Batch = tuple[Tensor, Tensor]
TASK = TaskShape(in_channels=3, image_size=8, num_classes=4)
DATA_PROXIES = ("grad_norm", "snip", "plain", "fisher", "jacob_cov", "naswot")


def grasp(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """A second-order proxy a user might bring (Wang et al., ICLR 2020)."""
    weights = [p for p in network.parameters() if p.dim() > 1]
    loss = F.cross_entropy(network(images), labels)
    grads = torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)
    inner = sum((g * g.detach()).sum() for g in grads)
    products = torch.autograd.grad(inner, weights, materialize_grads=True)
    return -float(sum((w.detach() * h).sum() for w, h in zip(weights, products, strict=True)))


def vandal(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Changes whatever it can reach."""
    for parameter in network.parameters():
        parameter.data.zero_()
    network.eval().register_forward_hook(lambda *_: None)
    network.requires_grad_(False)
    torch.manual_seed(5)
    return torch.rand(()).item()


def not_a_number(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return math.nan


# -- the suite ---------------------------------------------------------------------------------


def test_shared_passes_give_what_each_proxy_gives_alone(network: nn.Module, batch: Batch) -> None:
    together = ProxySuite(PROXIES).score(network, *batch)
    assert list(together) == list(PROXIES)
    for name, score in together.items():
        alone = lookup("proxy", name, PROXIES)(copy.deepcopy(network), *batch)
        assert score == pytest.approx(alone, rel=1e-12), name
        assert math.isfinite(score)


def snapshot(network: nn.Module) -> dict[str, Any]:
    hooks = [
        (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
        for m in network.modules()
    ]
    return {
        "state": {name: value.clone() for name, value in network.state_dict().items()},
        "ids": [id(value) for value in [*network.parameters(), *network.buffers()]],
        "grads": [p.grad.clone() if p.grad is not None else None for p in network.parameters()],
        "requires_grad": [p.requires_grad for p in network.parameters()],
        "modes": [m.training for m in network.modules()],
        "hooks": hooks,
        "rng": torch.get_rng_state(),
    }


def same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def test_network_batch_and_random_state_are_left_as_found(network: nn.Module, batch: Batch) -> None:
    images, labels = batch
    network.left.eval()  # one module in another mode than the rest
    network.stem[0].weight.grad = torch.ones_like(network.stem[0].weight)
    network.right.weight.requires_grad_(False)
    before, kept = snapshot(network), images.clone()
    own = {name: lookup("proxy", name, PROXIES) for name in PROXIES}
    ProxySuite({**own, "vandal": vandal}).score(network, images, labels)
    after = snapshot(network)
    assert [key for key in before if not same(before[key], after[key])] == []
    assert torch.equal(images, kept)
    assert not images.requires_grad
    assert images.grad is None


def test_an_error_leaves_no_trace_either(batch: Batch) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(9, 3))
    network = network.double().eval()
    before = snapshot(network)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        ProxySuite().score(network, *batch)
    after = snapshot(network)
    assert [key for key in before if not same(before[key], after[key])] == []
    assert F.relu(torch.ones(1)).item() == 1  # no mode is left switched on


def test_dead_networks_score_minus_infinity_but_for_counts(
    dead_network: nn.Module, batch: Batch
) -> None:
    scores = ProxySuite(PROXIES).score(dead_network, *batch)
    counts = {name: scores.pop(name) for name in ("params", "flops")}
    assert set(scores.values()) == {-math.inf}
    assert all(math.isfinite(count) and count > 0 for count in counts.values())


def test_an_exploding_network_scores_minus_infinity(network: nn.Module, batch: Batch) -> None:
    with torch.no_grad():
        network.classifier.weight.fill_(1e308)
    scores = ProxySuite([*DATA_PROXIES, "synflow"]).score(network, *batch)
    assert not any(math.isnan(score) for score in scores.values())
    assert scores["snip"] == scores["synflow"] == -math.inf


def test_the_order_of_the_batch_does_not_matter(network: nn.Module, batch: Batch) -> None:
    images, labels = batch
    suite = ProxySuite(PROXIES)
    turned = torch.arange(11, -1, -1)
    expected = suite.score(network, images, labels)
    assert suite.score(network, images[turned], labels[turned]) == pytest.approx(expected, rel=1e-7)


def test_scores_are_a_function_of_network_and_batch_alone(
    batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    """Even where the network draws random numbers, and whoever else is asked."""
    network = make_network(
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(192, 20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 3)
        )
    ).double()
    torch.manual_seed(1)
    first = ProxySuite(["snip", "jacob_cov"]).score(network, *batch)
    torch.manual_seed(2)
    second = ProxySuite(["jacob_cov", "naswot", "snip", "synflow"]).score(network.eval(), *batch)
    assert first == {name: second[name] for name in first}


def test_a_function_of_the_users_gets_a_copy_in_train_mode(
    network: nn.Module, batch: Batch
) -> None:
    seen = []

    def mine(net: nn.Module, images: Tensor, labels: Tensor) -> float:
        seen.append((net is network, net.training))
        return 7

    scores = ProxySuite({"mine": mine, "grasp": grasp}).score(network.eval(), *batch)
    assert seen == [(False, True)]
    assert scores["mine"] == 7.0
    assert math.isfinite(scores["grasp"])
    assert scores["grasp"] == pytest.approx(grasp(copy.deepcopy(network).train(), *batch))


def test_nan_of_a_users_proxy_becomes_minus_infinity(network: nn.Module, batch: Batch) -> None:
    assert ProxySuite({"nan": not_a_number}).score(network, *batch) == {"nan": -math.inf}


def test_a_path_names_a_proxy_of_the_users(network: nn.Module, batch: Batch) -> None:
    path = "raynas.proxies.synaptic:synflow"
    scores = ProxySuite(["synflow", path]).score(network, *batch)
    assert scores[path] == scores["synflow"]


@pytest.mark.parametrize(
    ("proxies", "message"),
    [
        (["synflw"], "unknown proxy 'synflw', did you mean 'synflow'"),
        ([], "name at least one proxy"),
        ({"one": 1}, "proxy 'one' is 1: it must be callable"),
        (["raynas.proxies.synaptic:synflo"], "did you mean 'synflow'"),
    ],
)
def test_wrong_proxies_are_refused_at_once(proxies: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProxySuite(proxies)


# -- architectures -----------------------------------------------------------------------------


class WidthSpace:
    """A space whose architectures are widths."""

    name = "width"
    num_labels = 1

    def __init__(self) -> None:
        self.built: list[str] = []

    def build(self, architecture: Architecture, task: TaskShape) -> nn.Module:
        self.built.append(architecture.text)
        width = int(architecture.text)
        return nn.Sequential(
            nn.Conv2d(task.in_channels, width, 3),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, task.num_classes),
        )


def widths(*values: int) -> list[Architecture]:
    return [Architecture("width", str(value)) for value in values]


@pytest.fixture
def single(batch: Batch) -> Batch:
    return batch[0].float(), batch[1]


def test_score_architecture_depends_on_the_seed_alone(single: Batch) -> None:
    architecture = widths(4)[0]
    before = torch.get_rng_state()
    first = score_architecture(WidthSpace(), architecture, TASK, *single, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert score_architecture(WidthSpace(), architecture, TASK, *single, seed=3) == first
    assert score_architecture(WidthSpace(), architecture, TASK, *single, seed=4) != first
    assert tuple(first) == DEFAULT_PROXIES


class Loader:
    """Loads a batch and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Batch:
        self.calls += 1
        generator = torch.Generator().manual_seed(0)
        return torch.randn(8, 3, 8, 8, generator=generator), torch.arange(8) % 4


def test_the_scorer_loads_its_batch_once_and_late() -> None:
    loader = Loader()
    scorer = ProxyScorer(WidthSpace(), TASK, loader, names=["snip", "params"], seed=1)
    assert loader.calls == 0
    scores = scorer(widths(4, 5))
    scorer(widths(6))
    assert loader.calls == 1
    suite = ProxySuite(["snip", "params"])
    expected = [
        score_architecture(WidthSpace(), a, TASK, *loader(), seed=1, suite=suite)
        for a in widths(4, 5)
    ]
    assert scores == expected
    assert scores[0] != scores[1]


def test_scorers_of_other_processes_give_the_same_scores() -> None:
    scorer = ProxyScorer(WidthSpace(), TASK, Loader(), names=list(PROXIES), seed=1)
    before = pickle.dumps(scorer)
    scores = scorer(widths(4, 5))
    sent = pickle.dumps(scorer)
    assert len(sent) < 4000
    assert pickle.loads(sent)(widths(4, 5)) == pickle.loads(before)(widths(4, 5)) == scores
    assert scorer(widths(5, 4)) == scores[::-1]


def test_a_batch_of_tensors_travels_with_the_scorer(single: Batch) -> None:
    scorer = ProxyScorer(WidthSpace(), TASK, single)
    assert pickle.loads(pickle.dumps(scorer))(widths(4)) == scorer(widths(4))
    assert scorer([]) == []


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(4, 1, 8, 8), torch.zeros(4).long(), r"they need \(B, 3, 8, 8\)"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(4).long(), "torch.uint8"),
        (torch.zeros(4, 192), torch.zeros(4).long(), "floating-point"),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1).long(), "at least 2 images"),
        (torch.zeros(4, 3, 8, 8), torch.zeros(3).long(), "one label each"),
        (torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, 4]), "classes 0 to 3"),
        (torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, -1]), "from -1 to 2"),
    ],
)
def test_batches_that_do_not_fit_the_task_are_refused(
    images: Tensor, labels: Tensor, message: str
) -> None:
    with pytest.raises(DataError, match=message) as error:
        ProxyScorer(WidthSpace(), TASK, (images, labels))
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match=message):
        ProxyScorer(WidthSpace(), TASK, lambda: (images, labels))(widths(4))


def test_defaults_are_the_three_that_vote() -> None:
    assert set(DEFAULT_PROXIES) == {"synflow", "jacob_cov", "snip"}
    assert set(DEFAULT_PROXIES) <= set(PROXIES)
    assert np.all([":" in path for path in PROXIES.values()])

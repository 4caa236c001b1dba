import copy

import pytest
import torch

from raynas.training.averaging import WeightAverage


def values(network):
    return {k: v.clone() for k, v in network.state_dict().items()}


def test_averages_as_the_formula_says(make_network):
    network = make_network()
    average = WeightAverage(network, decay=0.3)
    expected = values(network)
    for step in range(4):
        with torch.no_grad():
            for value in network.state_dict().values():
                value.add_(1)
        average.update()
        decay = min(0.3, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            new = decay * expected[name] + (1 - decay) * value
            expected[name] = new if value.is_floating_point() else value.clone()
    for name, value in average.network.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert average.steps == 4
    assert not any(p.requires_grad for p in average.network.parameters())


def test_state_comes_back(make_network, same):
    network = make_network()
    first, second = WeightAverage(network, 0.9), WeightAverage(make_network(), 0.9)
    first.update()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    with torch.no_grad():
        next(network.parameters()).add_(1)
    first.update()
    assert not same(first.state_dict(), second.state_dict())
    assert second.steps == 1


def test_a_constant_network_stays(make_network, same):
    network = make_network()
    before = values(network)
    average = WeightAverage(network, 0.9)
    for _ in range(3):
        average.update()
    for name, value in average.network.state_dict().items():
        assert value == pytest.approx(before[name]) if not value.ndim else True
        torch.testing.assert_close(value, before[name])

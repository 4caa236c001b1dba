import math

import pytest

from raynas.training.recipe import TrainingConfig
from raynas.training.schedules import cosine, linear_ramp


def test_cosine_falls_from_peak_to_floor():
    rates = [cosine(epoch, 10, peak=0.5, floor=0.1) for epoch in range(11)]
    assert rates[0] == pytest.approx(0.5)
    assert rates[5] == pytest.approx(0.3)
    assert rates[10] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)


def test_warm_up_rises_from_zero_and_meets_the_cosine():
    def rate(epochs):
        return cosine(epochs, 10, peak=1.0, warmup_epochs=2.0)

    assert [rate(0), rate(1), rate(2)] == pytest.approx([0.0, 0.5, 1.0])
    assert rate(6) == pytest.approx(0.5)
    assert rate(10) == pytest.approx(0.0)


def test_drop_path_ramps_up_linearly():
    assert [linear_ramp(e, 4, maximum=0.2) for e in (0, 2, 4, 5)] == pytest.approx(
        [0, 0.1, 0.2, 0.2]
    )


def test_schedule_moves_per_step_or_per_epoch():
    per_step = TrainingConfig(full_epochs=4, lr=1.0)
    per_epoch = TrainingConfig(full_epochs=4, lr=1.0, lr_per="epoch")
    assert per_step.lr_at(1.5) == pytest.approx((1 + math.cos(math.pi * 1.5 / 4)) / 2)
    assert per_epoch.lr_at(1.5) == per_epoch.lr_at(1.0) == per_step.lr_at(1.0)

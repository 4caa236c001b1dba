import math

import pytest

from raynas.training.recipe import TrainingConfig
from raynas.training.schedules import cosine, exponential, linear, linear_ramp


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


def test_warm_up_by_the_epoch_does_not_start_at_zero():
    config = TrainingConfig(full_epochs=10, lr=1.0, lr_per="epoch", warmup_epochs=4)
    assert [config.lr_at(e) for e in (0, 1.9, 2)] == pytest.approx([0.25, 0.5, 0.75])
    assert config.lr_at(3) == config.lr_at(4) == 1.0


def test_linear_falls_evenly_and_more_gently_over_the_tail():
    plain = [linear(e, 4, peak=2.0, floor=1.0) for e in range(5)]
    assert plain == pytest.approx([2.0, 1.75, 1.5, 1.25, 1.0])
    tail = [linear(e, 10, peak=1.0, tail_epochs=5) for e in range(11)]
    assert tail == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0.2, 0.16, 0.12, 0.08, 0.04, 0])


def test_step_decay_counts_whole_epochs():
    config = TrainingConfig(full_epochs=4, lr=1.0, schedule="step", decay=0.5, min_lr=0.2)
    assert [config.lr_at(e) for e in (0, 0.9, 1, 2.5, 3)] == pytest.approx([1, 1, 0.5, 0.25, 0.2])
    assert exponential(2, peak=1.0, decay=0.5) == 0.25


def test_warm_up_scales_the_other_schedules():
    config = TrainingConfig(
        full_epochs=10, lr=1.0, schedule="linear", lr_per="epoch", warmup_epochs=2
    )
    assert [config.lr_at(e) for e in range(3)] == pytest.approx([0.5, 0.9, 0.8])
    by_step = config.model_copy(update={"lr_per": "step"})
    assert by_step.lr_at(1) == pytest.approx(0.9 / 2)


def test_drop_path_ramp_starts_at_zero_and_never_quite_ends():
    config = TrainingConfig(full_epochs=4, drop_path=0.2)
    assert [config.drop_path_at(e) for e in (1, 2, 4)] == pytest.approx([0, 0.05, 0.15])

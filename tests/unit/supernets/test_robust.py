"""R-DARTS: when a rise of the eigenvalue counts, and what it leads to."""

import pytest
import torch

from raynas.spaces.nasbench201 import NasBench201
from raynas.supernets.decisions import Decisions
from raynas.supernets.method import make_method


def begun(**options):
    method = make_method("robust", options)
    generator, config = torch.Generator(), method.training_config()
    method.begin(Decisions(NasBench201().kinds), config, generator, torch.device("cpu"))
    return method


def looked(method, values, first=0):
    """Let it look every second epoch; return (epoch of the look, epochs to go back to)."""
    for number, value in enumerate(values):
        epoch = first + 2 * number
        method._looks.append((epoch, value))
        target = method.rewinds_to()
        if target is not None:
            return epoch, target
    return None


def published(values):
    """Return the epoch of the stop and that of the genotype, by the rule in words.

    A look every 2 epochs; averages over 5 looks; that of epoch t - 4 may not be more than 1.3 times
    that of t - 12; nothing before epoch 10 is returned.
    """
    for t in range(0, 2 * len(values), 2):
        centre, earlier = t - 4, t - 12
        if earlier - 4 < 0 or earlier < 10:
            continue
        mean = {
            middle: sum(values[e // 2] for e in range(middle - 4, middle + 5, 2)) / 5
            for middle in (centre, earlier)
        }
        if mean[centre] / mean[earlier] > 1.3:
            return t, earlier
    return None


@pytest.mark.parametrize("rise", [0, 5, 8, 11, 14, 20, 30])
@pytest.mark.parametrize("height", [1.2, 1.5, 4.0])
def test_a_rise_counts_as_published(rise, height):
    values = [0.1 if number < rise else 0.1 * height for number in range(25)]
    expected = published(values)
    found = looked(begun(), values)
    assert found == (None if expected is None else (expected[0], expected[1] + 1))
    if rise == 14:
        assert (found is None) == (height < 1.3)


def test_what_may_be_gone_back_to_is_remembered():
    method = begun()
    for epoch in range(1, 50):
        remembered = method.remembers(epoch)
        assert all(10 <= number - 1 <= epoch - 1 for number in remembered)
        target = epoch - 12  # what a rise seen after this epoch leads back to
        if epoch % 2 and target >= 11:
            assert target in remembered
        assert len(remembered) <= 7
    assert list(begun(on_rise="nothing").remembers(30)) == []


def test_a_rise_stops_or_regularises():
    values = [0.1] * 10 + [0.4] * 10
    method = begun()
    _, target = looked(method, values)
    method.rewound()
    assert method.stopped
    assert method._looks[-1][0] == target - 1

    method = begun(on_rise="regularise")
    looked(method, values)
    for expected in (9e-4, 27e-4, 81e-4, 0.0243):
        method.rewound()
        assert not method.stopped
        assert method.weight_decay() == pytest.approx(expected)
        last = method._looks[-1][0]
        again = looked(method, [0.1] * 10 + [1.0] * 10, first=last + 2)
        if expected < 0.0243:
            assert again[1] > last + 1  # never before where it went back to last
    assert again is None  # no more weight decay is to be had


def test_nothing_happens_if_told_so():
    assert looked(begun(on_rise="nothing"), [0.1] * 10 + [0.9] * 10) is None


@pytest.fixture
def rising(make_training, monkeypatch):
    """Makes a training whose eigenvalue rises tenfold after 3 epochs, looked at after each."""

    def make(**options):
        def eigenvalue(epoch, method, **how):
            return 1.0 if epoch.number < 3 else 10.0

        monkeypatch.setattr("raynas.supernets.robust.alpha_eigenvalue", eigenvalue)
        rules = {"order": 1, "every": 1, "window": 1, "lag": 2, "earliest": 1}
        return make_training("nasbench201", "robust", {**rules, **options}, epochs=8)

    return make


def test_early_stop_ends_with_the_supernet_of_then(rising, train, same):
    reference = train(rising(on_rise="nothing"), 2)
    training = train(rising(), 4)
    assert training.history[-1]["rewound_to"] == 2
    assert training.epoch == 2
    assert training.searched
    assert same(training.save()["learner"], reference.save()["learner"])


def test_adaptive_regularisation_goes_on_from_there(rising, train, same):
    training = train(rising(on_rise="regularise"), 5)
    assert [m["epoch"] for m in training.history] == [1, 2, 3, 4, 3]
    assert [m["weight_decay"] for m in training.history] == [3e-4] * 4 + [9e-4]
    assert not training.searched
    resumed = rising(on_rise="regularise")
    resumed.load(train(rising(on_rise="regularise"), 3).save())
    assert same(train(resumed, 2).save(), training.save())


def test_eigenvalue_is_recorded_every_other_epoch(make_training, train):
    options = {"order": 1, "on_rise": "nothing"}
    training = train(make_training("nasbench201", "robust", options), 3)
    values = [metrics["eigenvalue"] for metrics in training.history]
    assert values[1] is None
    assert values[0] != values[2]
    assert all(isinstance(values[i], float) for i in (0, 2))

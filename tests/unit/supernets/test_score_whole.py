"""The supernet with nothing left out, scored under the rules of its candidates."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raynas.spaces.darts import S4Space
from raynas.supernets.candidates import score_candidates, score_whole
from raynas.supernets.decisions import Question


@pytest.mark.parametrize("norm", ["batch", "running"])
def test_it_is_what_leaving_out_none_gives(norm, make_training, train):
    training = train(make_training("darts"), 1)
    none = training.decisions.kinds[0].ops[3].index("none")
    question, mixture = Question(0, (none,), edge=3), training.mixture()
    batches = list(training.selection_batches(5))
    without = score_candidates(training.supernet, mixture, question, (none,), batches, norm=norm)
    whole = score_whole(training.supernet, mixture, batches, norm=norm)
    assert np.array_equal(whole.correct, without.correct)
    assert np.array_equal(whole.count, without.count)
    assert whole.loss == pytest.approx(without.loss, rel=1e-5)


def test_it_is_what_a_loop_gives(make_training, train):
    training = train(make_training(), 1)
    batches, mixture = list(training.selection_batches(8)), training.mixture()
    whole = score_whole(training.supernet, mixture, batches)
    training.supernet.train()
    training.supernet.tracking = False
    for number, (images, labels) in enumerate(batches):
        with torch.no_grad():
            logits = training.supernet(images, mixture)
        assert whole.correct[0, number] == int((logits.argmax(1) == labels).sum())
        expected = float(F.cross_entropy(logits, labels, reduction="sum"))
        assert whole.loss[0, number] == pytest.approx(expected)
        assert whole.count[number] == len(labels)


def test_noise_is_the_same_each_time_and_nothing_is_left_behind(make_training):
    training = make_training(S4Space(channels=4, layers=3))
    before = {key: value.clone() for key, value in training.supernet.state_dict().items()}
    training.supernet.eval()
    mixture = training.mixture()
    one, other = (
        score_whole(training.supernet, mixture, training.selection_batches(8)) for _ in range(2)
    )
    assert np.array_equal(one.loss, other.loss)
    assert not training.supernet.training
    after = training.supernet.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_without_images_there_is_nothing(make_training):
    training = make_training()
    found = score_whole(training.supernet, training.mixture(), [])
    assert found.correct.shape == found.loss.shape == (1, 0)
    assert found.count.shape == (0,)

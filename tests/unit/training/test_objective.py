import json
import pickle
import subprocess
import sys

import pytest
import torch

from raynas.errors import ConfigError, DataError
from raynas.spaces.nasbench201 import NasBench201
from raynas.training.checkpoint import load_checkpoint, save_checkpoint
from raynas.training.objective import TrainingObjective

CONV = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|avg_pool_3x3~0|none~1|skip_connect~2|"
OTHER = "|skip_connect~0|+|nor_conv_3x3~0|none~1|+|nor_conv_1x1~0|skip_connect~1|none~2|"


def make(**training):
    return TrainingObjective.from_options(
        NasBench201(channels=4, cells_per_stage=1),
        data="digits",
        data_options={"train_size": 100, "valid_size": 40},
        training_options={"batch_size": 32, "device": "cpu", **training},
        full_epochs=3,
    )


@pytest.fixture(scope="module")
def objective():
    return make()


def weights(trial):
    return torch.cat([p.detach().flatten() for p in trial.network.parameters()])


def train(objective, text, epochs=1, seed=3):
    trial = objective.start(objective.space.parse(text), seed)
    trial.train(epochs)
    return trial


def test_travels_light(objective):
    objective.prepare()
    sent = pickle.dumps(objective)
    assert len(sent) < 4000
    assert pickle.loads(sent).task == objective.task


def test_nothing_leaks_from_one_architecture_to_the_next(objective, same):
    alone = train(objective, CONV)
    other = train(objective, OTHER)
    after = train(objective, CONV)
    assert same(alone.save(), after.save())
    assert not torch.equal(weights(alone)[:100], weights(other)[:100])


def test_the_seed_decides_the_initial_weights(objective):
    def initial(seed):
        return weights(objective.start(objective.space.parse(CONV), seed))

    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert torch.equal(initial(1), initial(1))
    assert not torch.equal(initial(1), initial(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_facts_are_json(objective):
    facts = json.loads(json.dumps(objective.facts()))
    assert facts["task"] == {"in_channels": 1, "image_size": 8, "num_classes": 10}
    assert (facts["train_images"], facts["valid_images"]) == (100, 40)
    assert len(facts["fingerprint"]) == 32


def test_proxy_batches_are_normalised_balanced_and_fixed(objective):
    images, labels = objective.proxy_batch(30)
    assert images.shape == (30, 1, 8, 8)
    assert images.dtype == torch.float32
    assert labels.bincount().tolist() == [3] * 10
    assert torch.equal(images, objective.proxy_batch(30)[0])
    assert len(objective.proxy_batch(1000)[1]) == 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"training_options": {"full_epochs": 9}}, "is the last of `levels`"),
        ({"training_options": {"lrr": 9}}, r"training\.lrr: unknown key, did you mean 'lr'"),
        ({"data_options": {"sed": 1}}, r"data\.sed: unknown key, did you mean 'seed'"),
    ],
)
def test_mistakes_are_found_without_reading_data(options, message):
    given = {"data": "npz:/nowhere", "data_options": {}, "training_options": {}, **options}
    with pytest.raises(ConfigError, match=message):
        TrainingObjective.from_options(NasBench201(), **given, full_epochs=3)


def test_missing_data_is_found_when_preparing():
    given = {"data": "npz:/nowhere", "data_options": {}, "training_options": {}}
    objective = TrainingObjective.from_options(NasBench201(), **given, full_epochs=3)
    with pytest.raises(DataError, match="/nowhere: no such file"):
        objective.prepare()


RESUME = """
import pathlib, pickle, sys, torch
torch.set_num_threads(1)
from raynas.training.checkpoint import load_checkpoint, save_checkpoint
folder = pathlib.Path(sys.argv[1])
objective, text = pickle.loads((folder / "objective.pkl").read_bytes())
trial = objective.start(objective.space.parse(text), 3)
trial.load(load_checkpoint(folder / "trial.pt"))
trial.train(trial.epoch + 1)
save_checkpoint(folder / "trial.pt", trial.save())
"""


def test_resuming_in_other_processes_is_bit_equal(objective, tmp_path, same):
    (tmp_path / "objective.pkl").write_bytes(pickle.dumps((objective, CONV)))
    first = train(objective, CONV)
    save_checkpoint(tmp_path / "trial.pt", first.save())
    for _ in range(2):
        subprocess.run([sys.executable, "-c", RESUME, str(tmp_path)], check=True, timeout=120)
    resumed = objective.start(objective.space.parse(CONV), 3)
    resumed.load(load_checkpoint(tmp_path / "trial.pt"))
    whole = train(objective, CONV, epochs=3)
    assert resumed.epoch == 3
    assert same(resumed.save(), whole.save())


def test_the_test_part_is_reported_only_when_asked_for_and_changes_nothing_else(objective):
    plain = train(objective, CONV)
    testing = make(test=True)
    tested = train(testing, CONV)
    assert "test_accuracy" not in plain.history[1]
    test = tested.history[1].pop("test_accuracy")
    correct = test * len(testing._test(torch.device("cpu")))
    assert correct == pytest.approx(round(correct))
    for trial in (plain, tested):
        trial.history[1].pop("time_s")
    assert plain.history == tested.history
    assert torch.equal(weights(plain), weights(tested))
    plain.load(tested.save())  # how it is watched is no part of the recipe

"""A full training: resumable at every epoch, the test part untouched until the last is done."""

import numpy as np
import pytest
import torch

from raynas.errors import ConfigError
from raynas.networks.cost import flops, num_params
from raynas.spaces.darts import DartsSpace
from raynas.spaces.nasbench201 import NasBench201
from raynas.training import objective as objective_module
from raynas.training.checkpoint import load_checkpoint, save_checkpoint
from raynas.training.data import make_spec
from raynas.training.job import (
    Finished,
    Job,
    JobFailed,
    JobFiles,
    Notice,
    RunningJob,
    Trained,
    run_here,
)
from raynas.training.objective import TrainingObjective
from raynas.training.recipe import TrainingConfig

SPACE = NasBench201(channels=2, cells_per_stage=1)
TEXT = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
JOB = Job(id=3, architecture=0, text=TEXT, repetition=0, seed=11)


def make(space=SPACE, train_size=100, test_fraction=0.1, **training):
    spec = make_spec("digits", train_size=train_size, valid_size=50, test_fraction=test_fraction)
    config = TrainingConfig(full_epochs=3, batch_size=25, device="cpu", **training)
    return TrainingObjective(space, spec, config)


def told(objective, folder, job=JOB):
    return list(run_here([job], objective, folder))


def without_times(replies):
    return [
        (r.epoch, {k: v for k, v in r.metrics.items() if k != "time_s"})
        for r in replies
        if isinstance(r, Trained)
    ]


def test_tells_every_epoch_and_reports_on_the_test_part(tmp_path):
    objective = make()
    *epochs, final = told(objective, tmp_path)
    assert [r.epoch for r in epochs] == [1, 2, 3]
    assert isinstance(final, Finished)
    part_name, part = objective.final_part(torch.device("cpu"))
    assert final.part == part_name == "test"
    confusion = torch.tensor(final.confusion)
    assert confusion.sum() == len(part)
    assert confusion.sum(1).tolist() == part.labels.bincount(minlength=10).tolist()
    assert confusion.trace().item() / len(part) == final.accuracy
    network = SPACE.build(SPACE.parse(TEXT), objective.task)
    assert (final.num_params, final.flops) == (num_params(network), flops(network, objective.task))


@pytest.mark.parametrize("kill_after", [0, 1, 2, 3])
def test_goes_on_where_it_was_killed(tmp_path, kill_after):
    whole = told(make(), tmp_path)
    folder = tmp_path / "killed"
    folder.mkdir()
    first = RunningJob(make(), JOB, folder)
    for _ in range(kill_after):
        first.train()
    second = RunningJob(make(), JOB, folder)
    assert second.epoch == kill_after
    assert len(second.history) == kill_after
    again = told(make(), folder)
    assert without_times(again) == without_times(whole)
    assert again[-1] == whole[-1]
    states = [load_checkpoint(JobFiles(f, 3).network)["state"] for f in (tmp_path, folder)]
    for name, value in states[0]["network"].items():
        assert torch.equal(value, states[1]["network"][name])


def test_the_test_part_is_read_once_and_last(tmp_path, monkeypatch):
    read = []
    load = objective_module.load_test_once
    monkeypatch.setattr(
        objective_module, "load_test_once", lambda *a: read.append(True) or load(*a)
    )
    objective = make()
    for reply in run_here([JOB], objective, tmp_path):
        assert bool(read) == isinstance(reply, Finished)
    assert len(read) == 1


def test_where_there_is_no_test_part_the_validation_part_reports(tmp_path):
    *_, last, final = told(make(test_fraction=0.0), tmp_path)
    assert final.part == "valid"
    assert final.accuracy == last.metrics["accuracy"]


def test_trains_on_all_and_reports_on_test(tmp_path):
    *epochs, final = told(make(train_on="train+valid"), tmp_path)
    assert final.part == "test"
    assert all("accuracy" not in r.metrics for r in epochs)


def test_a_checkpoint_that_cannot_be_read_is_told_and_trained_again(tmp_path):
    whole = told(make(), tmp_path)
    files = JobFiles(tmp_path, 3)
    files.checkpoint.write_bytes(files.checkpoint.read_bytes()[:999])
    notice, *again = told(make(), tmp_path)
    assert isinstance(notice, Notice)
    assert "trained again from the start" in notice.text
    assert without_times(again) == without_times(whole)
    save_checkpoint(files.checkpoint, {"nothing": 1})
    assert isinstance(told(make(), tmp_path)[0], Notice)


def test_one_failure_does_not_stop_the_others(tmp_path):
    objective = make()
    build = objective.space.build

    class Broken(NasBench201):
        def build(self, architecture, task):
            network = build(architecture, task)
            if architecture.text == TEXT:
                network.forward = lambda images: images.new_full((len(images), 10), float("nan"))
            return network

    objective.space = Broken(channels=2, cells_per_stage=1)
    other = TEXT.replace("nor_conv_1x1", "avg_pool_3x3")
    jobs = [JOB, Job(id=4, architecture=1, text=other, repetition=0, seed=1)]
    replies = list(run_here(jobs, objective, tmp_path))
    assert isinstance(replies[0], JobFailed)
    assert isinstance(replies[-1], Finished)
    assert replies[-1].job == 4


def test_the_delivered_network_has_no_auxiliary_classifier_and_is_the_average(tmp_path):
    rng = np.random.default_rng(0)
    parts = {"train": 24, "valid": 8, "test": 8}
    arrays = {f"x_{k}": rng.integers(0, 256, (n, 32, 32, 1), np.uint8) for k, n in parts.items()}
    arrays |= {f"y_{k}": np.arange(n) % 4 for k, n in parts.items()}
    np.savez(tmp_path / "data.npz", **arrays)
    space = DartsSpace(channels=2, layers=3, auxiliary=True)
    objective = TrainingObjective(
        space,
        make_spec(f"npz:{tmp_path}/data.npz"),
        TrainingConfig(full_epochs=1, batch_size=12, device="cpu", ema=0.5, auxiliary_weight=0.4),
    )
    job = Job(id=0, architecture=0, text=space.parse("DARTS_V2").text, repetition=0, seed=1)
    *_, final = told(objective, tmp_path, job)
    assert isinstance(final, Finished), final
    plain = DartsSpace(channels=2, layers=3).build(space.parse("DARTS_V2"), objective.task)
    weights = load_checkpoint(JobFiles(tmp_path, 0).network)["state"]["network"]
    plain.load_state_dict(weights)
    assert final.num_params == num_params(plain)
    state = load_checkpoint(JobFiles(tmp_path, 0).checkpoint)["state"]
    assert any(name.startswith("auxiliary.") for name in state["network"])
    assert all(torch.equal(state["ema"]["network"][k], v) for k, v in weights.items())


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"auxiliary_weight": 0.4}, r"training\.auxiliary_weight: 0\.4, but networks of nasb"),
        ({"drop_path": 0.2}, r"training\.drop_path: 0\.2, but networks of nasbench201 drop no"),
        ({"train_on": "train+valid"}, r"training\.train_on: 'train\+valid' leaves a search"),
    ],
)
def test_a_search_is_told_what_its_networks_cannot_do(options, word):
    with pytest.raises(ConfigError, match=word):
        TrainingObjective.from_options(
            SPACE, data="digits", data_options={}, training_options=options, full_epochs=2
        )

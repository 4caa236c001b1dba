import math

import pytest
import torch
from torch import nn

from raynas.errors import CheckpointError, TrialError
from raynas.training.checkpoint import load_checkpoint, save_checkpoint
from raynas.training.evaluation import evaluate
from raynas.training.loop import NetworkTrial
from raynas.training.recipe import TrainingConfig

CONFIG = TrainingConfig(full_epochs=3, batch_size=32, device="cpu", cutout=2)


@pytest.fixture
def trial(digits, make_network):
    def start(seed=5, config=CONFIG, network=None):
        return NetworkTrial(network or make_network(), digits, config, seed)

    return start


def test_learns(trial):
    config = TrainingConfig(full_epochs=8, batch_size=32)
    one = trial(config=config)
    metrics = one.train(8)
    assert metrics["accuracy"] > 0.75  # a tenth is chance; 200 images are few
    assert metrics["loss"] < math.log(10)
    assert metrics["time_s"] >= sum(m["time_s"] for m in one.history.values()) > 0
    assert metrics["accuracy"] * 80 == round(metrics["accuracy"] * 80)
    assert list(one.history) == list(range(1, 9))


def test_pausing_anywhere_changes_nothing(tmp_path, trial, same):
    whole = trial()
    final = whole.train(3)
    for pauses in ((1, 2, 3), (1, 3), (2, 3)):
        state = None
        for epoch in pauses:
            part = trial()
            if state is not None:
                part.load(load_checkpoint(tmp_path / "a.pt"))
            metrics = part.train(epoch)
            state = part.save()
            save_checkpoint(tmp_path / "a.pt", state)
        assert same(metrics, final)
        assert same(state, whole.save())


def test_a_saved_state_does_not_change_as_training_goes_on(trial, same):
    one = trial()
    one.train(1)
    state = one.save()
    one.train(3)
    again = trial()
    again.load(state)
    assert again.epoch == 1
    again.train(3)
    assert same(again.save(), one.save())


def test_another_seed_trains_otherwise(trial, same):
    first, second = trial(seed=5), trial(seed=6)
    first.train(1)
    second.train(1)
    assert not same(first.save()["network"], second.save()["network"])


def test_global_random_state_is_left_alone(trial):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    trial().train(1)
    assert torch.equal(torch.get_rng_state(), before)


def test_global_random_state_does_not_matter(trial, same):
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        one = trial()
        one.train(1)
        states.append(one.save())
    assert same(*states)


def test_every_image_is_seen_once_an_epoch_in_even_batches(digits, trial, make_network):
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = make_network()

        def forward(self, images):
            if self.training:
                seen.append(len(images))
            return self.inner(images)

    config = TrainingConfig(full_epochs=2, batch_size=33)
    trial(config=config, network=Spy()).train(2)
    assert sum(seen) == 2 * len(digits.train)
    assert max(seen) <= 33
    assert max(seen) - min(seen) <= 1


def test_the_learning_rate_spans_the_full_length(trial):
    one = trial()
    rates = []
    step = one._optimizer.step

    def spy(*args, **options):
        rates.append(one._optimizer.param_groups[0]["lr"])
        return step(*args, **options)

    one._optimizer.step = spy
    one.train(1)
    one.train(3)
    num_steps = math.ceil(200 / 32)
    expected = [CONFIG.lr_at(i / num_steps) for i in range(3 * num_steps)]
    assert rates == pytest.approx(expected)


def test_every_epoch_has_its_own_order_and_crops(digits, trial, make_network):
    first_batches = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = make_network()

        def forward(self, images):
            first_batches.append(images.detach().clone())
            return self.inner(images)

    one = trial(network=Spy())
    for epoch in (1, 2):
        del first_batches[epoch - 1 :]
        one.train(epoch)
    assert not torch.equal(*first_batches[:2])


class Exploding(nn.Module):
    def __init__(self, error=None, value=math.nan):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.error, self.value = error, value

    def forward(self, images):
        if self.error is not None:
            raise self.error
        return self.scale * self.value * images.new_ones(len(images), 10)


def test_a_loss_that_is_not_finite_is_the_architectures_failure(trial):
    one = trial(network=Exploding())
    with pytest.raises(TrialError, match="diverged at epoch 1: training loss is nan"):
        one.train(2)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\n20 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"),
    ],
)
def test_running_out_of_memory_is_the_architectures_failure(error, trial):
    one = trial(network=Exploding(error))
    with pytest.raises(TrialError, match="out of memory at epoch 1 on cpu") as caught:
        one.train(1)
    assert "\n" not in str(caught.value)


def test_other_errors_are_not_disguised(trial):
    one = trial(network=Exploding(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        one.train(1)


@pytest.mark.parametrize("to_epoch", [0, 4])
def test_epochs_out_of_reach(to_epoch, trial):
    with pytest.raises(ValueError, match="cannot train from epoch 0"):
        trial().train(to_epoch)


def spoilt(state, how):
    match how:
        case "seed":
            return {**state, "seed": 9}
        case "recipe":
            return {**state, "recipe": {**state["recipe"], "lr": 0.3}}
        case "format":
            return {**state, "format": 0}
        case "epoch":
            return {**state, "epoch": 3}
        case "keys":
            return {k: v for k, v in state.items() if k != "optimizer"}
        case "network":
            return {**state, "network": {"strange": torch.zeros(1)}}
        case "types":
            return {**state, "history": 7}
    raise AssertionError(how)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("seed", "trained with seed 9, not 5"),
        ("recipe", "trained with lr 0.3, not 0.1"),
        ("format", "a checkpoint of format 0"),
        ("epoch", "epoch 3 of 3 does not go with its metrics"),
        ("keys", "not a checkpoint of this network"),
        ("network", "not a checkpoint of this network"),
        ("types", "not a checkpoint of this network"),
    ],
)
def test_a_foreign_checkpoint_is_refused_in_one_line(how, message, trial):
    one = trial()
    one.train(1)
    with pytest.raises(CheckpointError, match=message) as caught:
        trial().load(spoilt(one.save(), how))
    assert "\n" not in str(caught.value)


def test_evaluation_counts_and_leaves_the_network_as_it_was(digits, make_network, same):
    network = make_network().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    placement = CONFIG.placement()
    results = [
        evaluate(network, digits, digits.valid, placement, batch_size=size) for size in (7, 80)
    ]
    assert network.training
    assert same(before, network.state_dict())
    assert results[0].correct == results[1].correct
    assert results[0].loss == pytest.approx(results[1].loss)
    network.eval()
    logits = network(digits.normalise(digits.valid.images))
    assert results[0].correct == int((logits.argmax(1) == digits.valid.labels).sum())
    expected = nn.functional.cross_entropy(logits, digits.valid.labels).item()
    assert results[0].loss == pytest.approx(expected, rel=1e-5)


def test_auxiliary_logits_are_left_aside(trial, same, make_network):
    class WithHead(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = make_network()

        def forward(self, images):
            logits = self.inner(images)
            return logits, logits * 0

    plain, headed = trial(), trial(network=WithHead())
    assert same(plain.train(1), headed.train(1))


def test_mixed_precision_trains_and_resumes(trial, same):
    config = CONFIG.model_copy(update={"amp": "bf16"})
    whole = trial(config=config)
    whole.train(2)
    first, second = trial(config=config), trial(config=config)
    first.train(1)
    second.load(first.save())
    second.train(2)
    assert same(whole.save(), second.save())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_trains_and_resumes_on_a_gpu(amp, trial):
    config = CONFIG.model_copy(update={"device": "cuda", "amp": amp})
    first, second = trial(config=config), trial(config=config)
    first.train(1)
    state = first.save()
    assert all(value.device.type == "cpu" for value in state["network"].values())
    assert bool(state["scaler"]) == (amp == "fp16")
    second.load(state)
    assert math.isfinite(second.train(3)["loss"])

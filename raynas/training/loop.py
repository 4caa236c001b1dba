"""Train one network for whole epochs; stop, save and go on as if never stopped.

Everything random in epoch k (order, augmentation, dropout) is drawn from a seed derived from the
trial's seed and k, and the learning rate is a function of the epoch alone. So weights, momentum and
the number of epochs done are the whole state of a trial, and a resumed one is bit-equal to one that
never paused (same device type and number of threads).
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from raynas.errors import CheckpointError, ConfigError, TrialError
from raynas.networks.seeding import seeded
from raynas.scheduling.events import Metrics
from raynas.scheduling.objective import Trial
from raynas.seeds import derive_seed
from raynas.training.arrays import one_line
from raynas.training.averaging import WeightAverage
from raynas.training.data import DataSplits, Part
from raynas.training.evaluation import Evaluation, evaluate
from raynas.training.learner import Learner
from raynas.training.photographs import PhotoAugmentation
from raynas.training.placement import Placement
from raynas.training.recipe import TrainingConfig
from raynas.training.replicas import Replicas

_FORMAT = 1


class NetworkTrial(Trial):
    """One network under training.

    Args:
        network: Images `B x C x S x S` to logits `B x classes`; is moved and trained in place.
        data: What to train and validate on; a validation part without images is left out.
        config: How.
        seed: Decides order, augmentation and dropout of every epoch.
        counts: What the network is, reported with every epoch (``num_params``, ``flops``).
        test: A part to report ``test_accuracy`` of; nothing is decided by it.
        replicas: This process among those that train the network together.

    Attributes:
        network: The network, on its device.
        epoch: Epochs done.
        history: Metrics of every epoch done, by epoch.

    Raises:
        ConfigError: the recipe needs something that the network or the images do not have.
    """

    def __init__(
        self,
        network: nn.Module,
        data: DataSplits,
        config: TrainingConfig,
        seed: int,
        counts: Mapping[str, float] | None = None,
        test: Part | None = None,
        replicas: Replicas | None = None,
    ) -> None:
        self.epoch = 0
        self.history: dict[int, Metrics] = {}
        self._config = config
        self._seed = seed
        self._counts = dict(counts or {})
        self._placement = config.placement()
        with blaming(self._placement, "before training"):
            self.network = self._placement.place(network)
            self._data = data.to(self._placement.device)
            self._test = None if test is None else test.to(self._placement.device)
        self._replicas = replicas or Replicas()
        padding = data.augmentation.crop_padding if config.resized_crop is None else 0
        self._augmentation = replace(data.augmentation, cutout=config.cutout, crop_padding=padding)
        self._photographs = PhotoAugmentation(config.resized_crop, config.color_jitter)
        self._photographs.check(data.train.images)
        if config.drop_path and not hasattr(network, "drop_path_probability"):
            raise ConfigError(
                f"training.drop_path: {config.drop_path:g}, but {type(network).__name__} drops no "
                "paths (networks of the DARTS family do)"
            )
        learner = Learner(
            self.network,
            label_smoothing=config.label_smoothing,
            auxiliary_weight=config.auxiliary_weight,
        )
        self._learner = self._replicas.wrap(learner)
        self._average = None if config.ema is None else WeightAverage(self.network, config.ema)
        self._optimizer = config.make_optimizer(self.network)
        self._scaler = torch.amp.GradScaler(
            self._placement.device.type, enabled=self._placement.needs_scaler
        )

    @property
    def delivered(self) -> nn.Module:
        """The network that validates and is delivered: the average, where there is one."""
        return self.network if self._average is None else self._average.network

    def train(self, to_epoch: int) -> Metrics:
        """Train on to `to_epoch`; validates after every epoch, returns the metrics of the last.

        Returns:
            ``accuracy`` and ``loss`` (validation, if there is a part), ``train_accuracy`` and
            ``train_loss`` (of the augmented images, while learning), ``test_accuracy`` (if there is
            a part to test on), ``time_s`` (all epochs of this call, without testing), and the
            counts.

        Raises:
            TrialError: the loss is not finite any more, or memory ran out.
        """
        if not self.epoch < to_epoch <= self._config.full_epochs:
            raise ValueError(
                f"cannot train from epoch {self.epoch} to {to_epoch} of {self._config.full_epochs}"
            )
        time_s = 0.0
        while self.epoch < to_epoch:
            epoch = self.epoch + 1
            with blaming(self._placement, f"at epoch {epoch}"):
                self.history[epoch] = self._run_epoch(epoch)
            self.epoch = epoch
            time_s += self.history[epoch]["time_s"]
        return {**self.history[to_epoch], "time_s": time_s, **self._counts}

    def save(self) -> dict[str, Any]:
        """Return a snapshot on the CPU; nothing in it changes as training goes on."""
        return {
            "format": _FORMAT,
            "seed": self._seed,
            "recipe": self._config.recipe(),
            "epoch": self.epoch,
            "history": {epoch: dict(metrics) for epoch, metrics in self.history.items()},
            "network": snapshot(self.network.state_dict()),
            "optimizer": snapshot(self._optimizer.state_dict()),
            "scaler": self._scaler.state_dict(),
            **({} if self._average is None else {"ema": snapshot(self._average.state_dict())}),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore what `save` returned, of this network under this recipe.

        Raises:
            CheckpointError: it is of another network, seed or recipe, or malformed; the trial
                is then of no more use.
        """
        try:
            self._check(state)
            self.network.load_state_dict(state["network"])
            self._optimizer.load_state_dict(state["optimizer"])
            if self._placement.needs_scaler and state["scaler"]:
                self._scaler.load_state_dict(state["scaler"])
            if self._average is not None:
                self._average.load_state_dict(state["ema"])
            self.history = {int(k): dict(v) for k, v in state["history"].items()}
            self.epoch = int(state["epoch"])
        except CheckpointError:
            raise
        except Exception as error:  # whatever a malformed state makes torch raise
            raise CheckpointError(f"not a checkpoint of this network: {one_line(error)}") from error

    def _check(self, state: dict[str, Any]) -> None:
        if state.get("format") != _FORMAT:
            raise CheckpointError(
                f"a checkpoint of format {state.get('format')!r}, not {_FORMAT} as written here"
            )
        if state["seed"] != self._seed:
            raise CheckpointError(f"trained with seed {state['seed']}, not {self._seed}")
        difference = self._config.differs_from(state["recipe"])
        if difference is not None:
            raise CheckpointError(f"trained with {difference}")
        epoch, full = int(state["epoch"]), self._config.full_epochs
        if not 0 <= epoch <= full or set(state["history"]) != set(range(1, epoch + 1)):
            raise CheckpointError(f"epoch {epoch} of {full} does not go with its metrics")

    def _run_epoch(self, epoch: int) -> Metrics:
        started = time.perf_counter()
        # Dropout and dropped paths differ between replicas; the order of the images does not.
        key = epoch if self._replicas.is_first else f"{epoch}/{self._replicas.rank}"
        with seeded(derive_seed(self._seed, "network", key), self._placement.device):
            train = self._fit(epoch)
            _check_finite(train.loss, "training loss", epoch)
            self._replicas.align(self.delivered)
            validated = {}
            if len(self._data.valid):
                valid = self._evaluate(self._data.valid)
                _check_finite(valid.loss, "validation loss", epoch)
                validated = {"accuracy": valid.accuracy, "loss": valid.loss}
        time_s = time.perf_counter() - started
        tested = (
            {} if self._test is None else {"test_accuracy": self._evaluate(self._test).accuracy}
        )
        return {
            **validated,
            "train_accuracy": train.accuracy,
            "train_loss": train.loss,
            **tested,
            "time_s": time_s,
        }

    def _evaluate(self, part: Part) -> Evaluation:
        size = self._config.valid_batch_size
        share = Part(self._replicas.share(part.images), self._replicas.share(part.labels))
        mine = evaluate(self.delivered, self._data, share, self._placement, batch_size=size)
        if self._replicas.size == 1:
            return mine
        return self._total(mine.correct, mine.loss * mine.count, len(part))

    def _total(self, correct: float, loss: float, count: int) -> Evaluation:
        """Add up what the replicas found; `loss` is a sum over images."""
        device = self._placement.device
        sums = torch.tensor([correct, loss], dtype=torch.float64, device=device)
        correct, loss = self._replicas.total(sums).tolist()
        return Evaluation(int(correct), count, loss / count)

    def _fit(self, epoch: int) -> Evaluation:
        part, device = self._data.train, self._placement.device
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "epoch", epoch))
        order = torch.randperm(len(part), generator=generator)
        draws = self._augmentation.draw(len(part), part.images.shape[1], generator)
        photo = order.new_empty(len(part), 0)
        if self._photographs.active:
            photo = self._photographs.draw(len(part), generator)
        num_steps = math.ceil(len(part) / self._config.batch_size)
        # Equal batches: no image is dropped, and none is alone in a BatchNorm.
        steps = zip(
            *(every.to(device).tensor_split(num_steps) for every in (order, draws, photo)),
            strict=True,
        )
        loss = torch.zeros((), dtype=torch.float64, device=device)
        correct = torch.zeros((), dtype=torch.int64, device=device)
        self.network.train()
        if self._config.drop_path:
            # A module takes any attribute; that it has this one was checked at the start.
            probability = self._config.drop_path_at(epoch)
            self.network.drop_path_probability = probability  # type: ignore[assignment]
        for step, batch in enumerate(steps):
            for group in self._optimizer.param_groups:
                group["lr"] = self._config.lr_at(epoch - 1 + step / num_steps)
            step_loss, step_correct, count = self._step(*batch)
            loss += step_loss * count
            correct += step_correct
        if self._replicas.size > 1:
            return self._total(float(correct), float(loss), len(part))
        return Evaluation(int(correct), len(part), float(loss) / len(part))

    def _step(self, batch: Tensor, draws: Tensor, photo: Tensor) -> tuple[Tensor, Tensor, int]:
        """Learn from a batch; returns mean loss, number right and number of this replica's part."""
        share = self._replicas.share
        indices = share(batch)
        labels = self._data.train.labels[indices]
        images = self._prepare(self._data.train.images[indices], share(draws), share(photo))
        with self._placement.autocast():
            loss, logits = self._learner(images, labels)
        self._optimizer.zero_grad(set_to_none=True)
        weighted = loss * self._replicas.weight(len(indices), len(batch))
        self._scaler.scale(weighted).backward()
        if self._config.grad_clip is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self._config.grad_clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self._average is not None:
            self._average.update()
        return loss.detach(), (logits.detach().argmax(1) == labels).sum(), len(indices)

    def _prepare(self, images: Tensor, draws: Tensor, photo: Tensor) -> Tensor:
        """Return what the network sees of raw images: augmented, normalised, laid out."""
        images = self._augmentation.move(images, draws)
        if self._photographs.active:
            images = self._photographs.apply(images, photo)
        images = self._augmentation.erase(self._data.normalise(images), draws)
        return self._placement.lay_out(images)


def _check_finite(loss: float, what: str, epoch: int) -> None:
    if not math.isfinite(loss):
        raise TrialError(f"diverged at epoch {epoch}: {what} is {loss}")


def snapshot(value: Any) -> Any:
    """Return plain values and copies of tensors on the CPU, however they are nested."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: snapshot(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(inner) for inner in value)
    return value


@contextmanager
def blaming(placement: Placement, when: str) -> Iterator[None]:
    """Turn running out of memory into a failure of the architecture."""
    try:
        yield
        return
    except (MemoryError, RuntimeError) as error:
        memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not memory and "not enough memory" not in str(error):  # how the CPU allocator says it
            raise
        message = f"out of memory {when} on {placement.device}: {one_line(error)}"
    # Outside the handler, where the traceback no longer keeps the activations alive.
    if placement.device.type == "cuda":
        torch.cuda.empty_cache()
    raise TrialError(message)

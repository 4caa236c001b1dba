"""Train a supernet's weights w and mixing weights α in turn, for whole epochs, resumable.

Every step, α moves on a batch of its half of the training images, then w on a batch of the other
half (Liu et al., "DARTS", ICLR 2019, algorithm 1). Everything random in an epoch is drawn from
seeds derived from the run's seed and the epoch's number, so weights, α, both optimisers and what
the method remembers are the whole state, and a resumed training is bit-equal to one that never
stopped (same device type and number of threads).
"""

import math
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from raynas.errors import CheckpointError, TrialError
from raynas.networks.seeding import seeded
from raynas.seeds import derive_seed
from raynas.spaces.mixture import MixableSpace
from raynas.supernets import halves
from raynas.supernets.bilevel import Epoch, Step, Tally
from raynas.supernets.build import build_supernet
from raynas.supernets.config import Schedule, SupernetTrainingConfig
from raynas.supernets.decisions import Decisions, Question
from raynas.supernets.identity import check_identity, identity
from raynas.supernets.learner import Learner
from raynas.supernets.method import Method
from raynas.supernets.metrics import describe
from raynas.supernets.mixture import Mixture
from raynas.supernets.supernet import Supernet
from raynas.supernets.widening import widen
from raynas.supernets.workers import Alone, Workers
from raynas.training.arrays import one_line
from raynas.training.data import DataSplits
from raynas.training.evaluation import Evaluation
from raynas.training.loop import blaming
from raynas.training.schedules import cosine


class SupernetTraining:
    """A supernet under training.

    Args:
        space: What is searched.
        data: What to train and validate on.
        method: How α is trained; an object serves one training.
        config: The settings, `Method.training_config` of a user's options.
        seed: Decides weights, α, order, augmentation and whatever else is drawn.
        workers: Who shares the work; None: nobody.

    Attributes:
        decisions: What is decided of the supernet's edges.
        method: How α is trained.
        config: The settings.
        epoch: Epochs trained, search and tuning alike.
        history: Metrics of every epoch trained, in order.

    Raises:
        SpaceError: there is no supernet of the space.
        ConfigError: the settings do not fit the data, the space or the method; in one line.
        TrialError: memory ran out.
    """

    def __init__(
        self,
        space: MixableSpace,
        data: DataSplits,
        method: Method,
        config: SupernetTrainingConfig,
        seed: int,
        workers: Workers | None = None,
    ) -> None:
        self.method = method
        self.config = config
        self.epoch = 0
        self.history: list[dict[str, Any]] = []
        self._space = space
        self._seed = seed
        self._workers: Workers = workers or Alone()
        self._tuning: dict[str, Any] | None = None
        self._past: dict[int, dict[str, Any]] = {}
        self._placement = config.placement()
        check_training(space, data, method, config, self._workers.size)
        self.decisions = Decisions(space.kinds)
        generator = torch.Generator().manual_seed(derive_seed(seed, "alpha at the start"))
        method.begin(self.decisions, config, generator, self._placement.device)
        with blaming(self._placement, "before training"):
            self._data = data.to(self._placement.device)
            self._halves = halves.split_halves(self._data, config.split)
            self._partial = method.partial
            supernet = self._build()
            _try_widening(supernet, method.partials)
            self._learner = Learner(
                supernet, method, self.decisions, config, self._placement, self._workers
            )

    def _build(self) -> Supernet:
        cpu = torch.device("cpu")  # so that weights are the same on every device
        with seeded(derive_seed(self._seed, "weights"), cpu):
            return build_supernet(self._space, self._data.task, partial=self._partial)

    # -- what others see -----------------------------------------------------------------------

    @property
    def supernet(self) -> Supernet:
        """The network, on its device."""
        return self._learner.bilevel.supernet

    @property
    def search_epochs(self) -> int:
        """How many epochs the search takes, unless the method stops it earlier."""
        return self.config.epochs

    @property
    def searched(self) -> bool:
        """Whether the search is over: all its epochs done, or stopped by the method."""
        over = self.epoch >= self.config.epochs or self.method.stopped
        return over or self._tuning is not None

    def theta(self) -> list[Tensor]:
        """Return `E x O` a kind: mixing weights free of noise and of what is decided."""
        return [rows.detach() for rows in self.method.theta()]

    def strengths(self) -> list[Tensor]:
        """Return `E x O` a kind: what selection by magnitude compares, ops and edges."""
        return [rows.detach() for rows in self.method.strengths()]

    def mixture(self) -> Mixture:
        """Return the mixture of `theta` under what is decided, without gradients."""
        return self.method.mix(self.method.theta()).detach()

    def questions(self) -> list[Question]:
        """Return what the method itself wants decided before it trains on."""
        return [] if self._tuning else self.method.questions(self.epoch)

    def answered(self, question: Question, chosen: Sequence[int]) -> None:
        """Take note that a question is answered; `decisions` holds the answer already."""
        self.method.answered(question, chosen)

    def begin_tuning(self, lr: float, schedule: Schedule, epochs: int) -> None:
        """Go on with a new optimiser of w; α and its optimiser go on as they were.

        Args:
            lr: Its learning rate at the start.
            schedule: ``constant``, or ``cosine`` to 0 over the epochs.
            epochs: How many will be trained.
        """
        self._tuning = {"lr": lr, "schedule": schedule, "epochs": epochs, "start": self.epoch}
        self._past = {}
        self._learner.renew_optimizer()

    def num_selection_batches(self, batch_size: int) -> int:
        """Return how many batches `selection_batches` yields."""
        return halves.num_selection_batches(self._halves.alpha, batch_size)

    def selection_batches(
        self, batch_size: int, *, augmented: bool = False, shuffle_seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the half of α in batches; see `raynas.supernets.halves.selection_batches`."""
        return halves.selection_batches(
            self._data,
            self._halves.alpha,
            self._placement,
            batch_size,
            augmented=augmented,
            shuffle_seed=shuffle_seed,
        )

    # -- training ------------------------------------------------------------------------------

    def train_epoch(self) -> dict[str, Any]:
        """Train one epoch and validate.

        Returns:
            JSON values: ``epoch`` (how many are done), ``lr``, ``weight_decay``, ``batch_size``;
            ``train_loss`` and ``train_accuracy`` of the half of w, ``alpha_loss`` and
            ``alpha_accuracy`` of that of α (None in epochs in which α was left alone), both on
            augmented images while learning; ``loss``, ``accuracy``, ``correct`` and ``count`` on
            the validation part, with the clean mixture and running statistics; what
            `raynas.supernets.metrics.describe` says; ``time_s``; and whatever the method adds.
            ``rewound_to``, if the method went back to an earlier epoch afterwards.

        Raises:
            TrialError: a loss is not finite any more, or memory ran out.
        """
        started, epoch = time.perf_counter(), self.epoch + 1
        with (
            blaming(self._placement, f"at epoch {epoch}"),
            seeded(self._seed_of("network", rank=True), self._placement.device),
        ):
            metrics = {"epoch": epoch, **self._run_epoch()}
        self.epoch = epoch
        if self._tuning is None:
            metrics |= self._look_back()
        metrics["time_s"] = time.perf_counter() - started
        self.history.append(metrics)
        return dict(metrics)

    def _run_epoch(self) -> dict[str, Any]:
        self._begin_epoch()
        tuning, bilevel = self._tuning is not None, self._learner.bilevel
        lr, weight_decay = self._lr(), self.method.weight_decay()
        self._learner.set_rates(lr, weight_decay)
        self.supernet.drop_path_probability = self.config.drop_path_at(self.epoch)
        train, alpha = self._fit(lr)
        self.supernet.drop_path_probability = 0.0  # whoever evaluates wants the whole network
        if not self.config.sync_norm:
            buffers = [b for b in self.supernet.buffers() if b.is_floating_point()]
            self._workers.all_reduce_(buffers, mean=True)
        mixture = self.mixture()
        valid = bilevel.evaluate(
            self._data, self._data.valid, mixture, batch_size=self.config.valid_batch_size
        )
        self._check_finite(valid, "validation loss")
        epoch = Epoch(bilevel, self.epoch, tuning, self.selection_batches)
        return {
            "lr": lr,
            "weight_decay": weight_decay,
            "batch_size": self.method.batch_size(),
            "train_loss": train.loss,
            "train_accuracy": train.accuracy,
            "alpha_loss": None if alpha is None else alpha.loss,
            "alpha_accuracy": None if alpha is None else alpha.accuracy,
            "loss": valid.loss,
            "accuracy": valid.accuracy,
            "correct": valid.correct,
            "count": valid.count,
            **describe(self.decisions.kinds, mixture),
            **self.method.end_epoch(epoch),
        }

    def _begin_epoch(self) -> None:
        if self._tuning is None:
            self.method.begin_epoch(self.epoch)
        if self.method.partial != self._partial:
            self._partial = self.method.partial
            self._learner.widen(self._partial, self._seed_of("widen"))

    def _fit(self, lr: float) -> tuple[Evaluation, Evaluation | None]:
        """Train on all batches; return how w's half and α's went meanwhile."""
        device, learner = self._placement.device, self._learner
        generator = torch.Generator(device).manual_seed(self._seed_of("theta"))
        tuning = self._tuning is not None
        learns = learner.alpha_matters and self.method.trains_alpha(self.epoch, tuning)
        train_tally, alpha_tally = Tally.on(device), Tally.on(device)
        self.supernet.train()
        for train, valid in self._batches():
            step = Step(
                bilevel=learner.bilevel,
                train=train,
                valid=valid,
                epoch=self.epoch,
                epochs=self.config.epochs,
                tuning=tuning,
                lr=lr,
                optimizer=learner.optimizer,
                generator=generator,
            )
            if learns:
                alpha_tally.add(learner.learn_alpha(step), valid)
            train_tally.add(learner.learn_weights(step), train)
        train_result, alpha_result = (
            train_tally.read(self._workers),
            alpha_tally.read(self._workers),
        )
        assert train_result is not None
        self._check_finite(train_result, "training loss")
        self._check_finite(alpha_result, "loss of alpha")
        return train_result, alpha_result

    def _batches(self) -> Iterator[tuple[halves.Batch, halves.Batch]]:
        """Yield the batch of w and that of α of each step."""
        feed = halves.Feed(self._data, self._placement, self._workers, self.config.cutout)
        size = self.method.batch_size()
        share = self.config.cutout_probability_at(self.epoch)

        def draws(purpose: str) -> torch.Generator:
            return torch.Generator().manual_seed(self._seed_of(purpose))

        first = feed.epoch(
            self._halves.weights, draws("weights"), batch_size=size, cutout_probability=share
        )
        second = feed.endless(
            self._halves.alpha, draws("alpha"), batch_size=size, cutout_probability=share
        )
        return zip(first, second, strict=False)

    def _look_back(self) -> dict[str, int]:
        """Keep what the method may go back to, and go back if it says so."""
        wanted = self.method.remembers(self.epoch)
        self._past = {epoch: state for epoch, state in self._past.items() if epoch in wanted}
        if self.epoch in wanted:
            self._past[self.epoch] = self._learner.state_dict()
        target = self.method.rewinds_to()
        if target is None:
            return {}
        self._learner.load_state_dict(self._past[target])
        self.epoch = target
        self.method.rewound()
        return {"rewound_to": target}

    def _lr(self) -> float:
        if self._tuning is None:
            return self.config.lr_at(self.epoch)
        lr = float(self._tuning["lr"])
        if self._tuning["schedule"] == "constant":
            return lr
        return cosine(self.epoch - self._tuning["start"], self._tuning["epochs"], peak=lr)

    def _seed_of(self, purpose: str, *, rank: bool = False) -> int:
        key = f"{self.epoch}.{self._workers.rank}" if rank else self.epoch
        return derive_seed(self._seed, purpose, key)

    def _check_finite(self, result: Evaluation | None, what: str) -> None:
        if result is not None and not math.isfinite(result.loss):
            raise TrialError(f"diverged at epoch {self.epoch + 1}: {what} is {result.loss}")

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """Return a snapshot on the CPU, plain values and tensors, for a bit-equal resume."""
        return {
            **identity(self._space, self.method, self.config, self._seed),
            "epoch": self.epoch,
            "history": [dict(metrics) for metrics in self.history],
            "learner": self._learner.state_dict(),
            "past": dict(self._past),
            "decisions": self.decisions.state_dict(),
            "method_state": self.method.state_dict(),
            "tuning": self._tuning and dict(self._tuning),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore what `save` returned, with any number of workers.

        Raises:
            CheckpointError: it is of another space, method, config or seed, or malformed; the
                training is then of no more use.
        """
        try:
            check_identity(state, identity(self._space, self.method, self.config, self._seed))
            self._restore(state)
        except CheckpointError:
            raise
        except Exception as error:  # whatever a malformed state makes torch raise
            raise CheckpointError(
                f"not a checkpoint of this supernet: {one_line(error)}"
            ) from error

    def _restore(self, state: dict[str, Any]) -> None:
        self.decisions.load_state_dict(state["decisions"])
        self.method.load_state_dict(state["method_state"])
        if self.method.partial != self._partial:
            self._partial = self.method.partial
            self._learner.use(self._build())
        self._learner.load_state_dict(state["learner"])
        self._past = dict(state["past"])
        self._tuning = state["tuning"] and dict(state["tuning"])
        self.history = [dict(metrics) for metrics in state["history"]]
        self.epoch = int(state["epoch"])


def _try_widening(supernet: Supernet, partials: Sequence[int]) -> None:
    """Find out now, not in the middle of a search, that a supernet cannot be widened."""
    for before, after in pairwise(partials):
        if after != before:
            supernet = widen(supernet, after, torch.Generator()).supernet


def check_training(
    space: MixableSpace,
    data: DataSplits,
    method: Method,
    config: SupernetTrainingConfig,
    num_workers: int,
) -> None:
    """Refuse what cannot be trained, before anything is made.

    Args:
        space: What is searched.
        data: The data set.
        method: How α is trained.
        config: The settings.
        num_workers: How many will share the work.

    Raises:
        SpaceError: an edge has fewer than two ops.
        ConfigError: the settings do not fit the data, the space or the method; in one line.
    """
    halves.check_batches(halves.split_halves(data, config.split), config, num_workers)
    method.check(space.kinds, config)

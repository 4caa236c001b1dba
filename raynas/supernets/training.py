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
from typing import Any

import torch
from torch import Tensor

from raynas.errors import CheckpointError, TrialError
from raynas.networks.seeding import seeded
from raynas.seeds import derive_seed
from raynas.spaces.mixture import MixableSpace
from raynas.supernets import halves
from raynas.supernets.bilevel import Bilevel, Step, Tally
from raynas.supernets.build import build_supernet
from raynas.supernets.config import Schedule, SupernetTrainingConfig
from raynas.supernets.decisions import Decisions, Question
from raynas.supernets.method import Method
from raynas.supernets.metrics import describe
from raynas.supernets.mixture import Mixture
from raynas.supernets.norm import set_synchronised
from raynas.supernets.supernet import Supernet
from raynas.supernets.workers import Alone, Workers
from raynas.training.arrays import one_line
from raynas.training.data import DataSplits
from raynas.training.loop import blaming, snapshot
from raynas.training.schedules import cosine

_FORMAT = 1


class SupernetTraining:
    """A supernet under training.

    Args:
        space: What is searched.
        data: What to train and validate on.
        method: How α is trained; an object serves one training.
        config: The settings, `Method.training_config` of a user's options.
        seed: Decides weights, α, order, augmentation and whatever else is drawn.
        workers: Who shares the work.

    Attributes:
        supernet: The network, on its device.
        decisions: What is decided of its edges.
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
        self._workers = workers or Alone()
        self._tuning: dict[str, Any] | None = None
        self._placement = config.placement()
        cut = halves.split_halves(data, config.split)
        halves.check_batches(cut, config, self._workers)
        supernet = self._build(data)
        method.check(space.kinds, config)
        self.decisions = Decisions(space.kinds)
        with blaming(self._placement, "before training"):
            self._place(supernet)
            self._data = data.to(self._placement.device)
            self._halves = halves.split_halves(self._data, config.split)
        generator = torch.Generator().manual_seed(derive_seed(seed, "alpha at the start"))
        method.begin(self.decisions, config, generator, self._placement.device)
        self._alpha_optimizer = torch.optim.Adam(
            method.parameters,
            lr=config.alpha_lr,
            betas=config.alpha_betas,
            weight_decay=config.alpha_weight_decay,
        )

    def _build(self, data: DataSplits) -> Supernet:
        cpu = torch.device("cpu")  # so that weights are the same on every device
        with seeded(derive_seed(self._seed, "weights"), cpu):
            return build_supernet(self._space, data.task)

    def _place(self, supernet: Supernet) -> None:
        placed = self._placement.place(supernet)
        assert isinstance(placed, Supernet)
        set_synchronised(placed, self.config.sync_norm and self._workers.size > 1)
        self._bilevel = Bilevel(placed, self._placement, self._workers)
        self._optimizer = self._new_optimizer()

    def _new_optimizer(self) -> torch.optim.SGD:
        return torch.optim.SGD(
            self.supernet.parameters(),
            lr=self.config.lr,
            momentum=self.config.momentum,
            nesterov=self.config.nesterov,
            weight_decay=self.config.weight_decay,
            foreach=True,
        )

    # -- what others see -----------------------------------------------------------------------

    @property
    def supernet(self) -> Supernet:
        """The network, on its device."""
        return self._bilevel.supernet

    @property
    def search_epochs(self) -> int:
        """How many epochs the search takes, unless the method stops it earlier."""
        return self.config.epochs

    @property
    def searched(self) -> bool:
        """Whether the search is over: all its epochs done, or stopped by the method."""
        return self._tuning is not None or self.epoch >= self.config.epochs

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
        self._optimizer = self._new_optimizer()

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
            JSON values: ``epoch`` (how many are done), ``lr``, ``batch_size``; ``train_loss`` and
            ``train_accuracy`` of the half of w, ``alpha_loss`` and ``alpha_accuracy`` of that of α
            (None in epochs in which α was left alone), both on augmented images while learning;
            ``loss``, ``accuracy``, ``correct`` and ``count`` on the validation part, with the clean
            mixture and running statistics; what `raynas.supernets.metrics.describe` says;
            ``time_s``; and whatever the method adds.

        Raises:
            TrialError: a loss is not finite any more, or memory ran out.
        """
        started = time.perf_counter()
        with (
            blaming(self._placement, f"at epoch {self.epoch + 1}"),
            seeded(self._seed_of("network", rank=True), self._placement.device),
        ):
            metrics = self._run_epoch()
        self.epoch += 1
        metrics = {"epoch": self.epoch, **metrics, "time_s": time.perf_counter() - started}
        self.history.append(metrics)
        return dict(metrics)

    def _seed_of(self, purpose: str, *, rank: bool = False) -> int:
        key = f"{self.epoch}.{self._workers.rank}" if rank else self.epoch
        return derive_seed(self._seed, purpose, key)

    def _run_epoch(self) -> dict[str, Any]:
        lr = self._lr()
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self.supernet.drop_path_probability = self.config.drop_path_at(self.epoch)
        train, alpha = self._fit(lr)
        if not self.config.sync_norm:
            self._workers.all_reduce_(
                [b for b in self.supernet.buffers() if b.is_floating_point()], mean=True
            )
        learnt, searched = train.read(self._workers), alpha.read(self._workers)
        assert learnt is not None
        self._check_finite(learnt.loss, "training loss")
        if searched is not None:
            self._check_finite(searched.loss, "loss of alpha")
        mixture = self.mixture()
        valid = self._bilevel.evaluate(
            self._data, self._data.valid, mixture, batch_size=self.config.valid_batch_size
        )
        self._check_finite(valid.loss, "validation loss")
        return {
            "lr": lr,
            "batch_size": self.method.batch_size(),
            "train_loss": learnt.loss,
            "train_accuracy": learnt.accuracy,
            "alpha_loss": None if searched is None else searched.loss,
            "alpha_accuracy": None if searched is None else searched.accuracy,
            "loss": valid.loss,
            "accuracy": valid.accuracy,
            "correct": valid.correct,
            "count": valid.count,
            **describe(self.decisions.kinds, mixture),
        }

    def _lr(self) -> float:
        if self._tuning is None:
            return self.config.lr_at(self.epoch)
        lr = float(self._tuning["lr"])
        if self._tuning["schedule"] == "constant":
            return lr
        return cosine(self.epoch - self._tuning["start"], self._tuning["epochs"], peak=lr)

    def _fit(self, lr: float) -> tuple[Tally, Tally]:
        device = self._placement.device
        generator = torch.Generator(device).manual_seed(self._seed_of("theta"))
        learns = self._alpha_learns()
        train_tally, alpha_tally = Tally.on(device), Tally.on(device)
        self.supernet.train()
        for train, valid in self._batches():
            step = Step(
                bilevel=self._bilevel,
                train=train,
                valid=valid,
                epoch=self.epoch,
                epochs=self.config.epochs,
                tuning=self._tuning is not None,
                lr=lr,
                optimizer=self._optimizer,
                generator=generator,
            )
            if learns:
                outcome, gradients = self.method.alpha_gradient(step)
                self._move_alpha(gradients)
                alpha_tally.add(outcome, valid)
            mixture = self.method.weights_mixture(step).detach()
            outcome = self._bilevel.run(train, mixture)
            gradients = self._bilevel.gradient(outcome.loss, self._bilevel.weights)
            self._bilevel.descend(
                self._optimizer, self._bilevel.weights, gradients, self.config.grad_clip
            )
            train_tally.add(outcome, train)
        return train_tally, alpha_tally

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

    def _alpha_learns(self) -> bool:
        """Return whether α moves in this epoch; once nothing is open it has no effect."""
        extra = len(self.method.parameters) > len(self.method.alphas)
        kinds = range(len(self.decisions.kinds))
        is_open = extra or any(self.decisions.undecided_edges(kind) for kind in kinds)
        return is_open and self.method.trains_alpha(self.epoch, self._tuning is not None)

    def _move_alpha(self, gradients: Sequence[Tensor | None]) -> None:
        """Take a step of Adam; what is decided or pruned keeps its α."""
        before = [alpha.detach().clone() for alpha in self.method.alphas]
        self._bilevel.descend(
            self._alpha_optimizer, self.method.parameters, gradients, self.config.alpha_grad_clip
        )
        for kind, (alpha, old) in enumerate(zip(self.method.alphas, before, strict=True)):
            free = self.decisions.allowed(kind)
            undecided = self.decisions.undecided_edges(kind)
            free[[edge for edge in range(len(free)) if edge not in undecided]] = False
            if not free.all():
                mask = torch.from_numpy(free).to(alpha.device)
                alpha.data.copy_(torch.where(mask, alpha.data, old))

    def _check_finite(self, loss: float, what: str) -> None:
        if not math.isfinite(loss):
            raise TrialError(f"diverged at epoch {self.epoch + 1}: {what} is {loss}")

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """Return a snapshot on the CPU, plain values and tensors, for a bit-equal resume."""
        state: dict[str, Any] = snapshot(
            {
                "format": _FORMAT,
                **self._identity(),
                "epoch": self.epoch,
                "history": self.history,
                "supernet": self.supernet.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "scaler": self._bilevel.scaler.state_dict(),
                "alphas": [parameter.data for parameter in self.method.parameters],
                "alpha_optimizer": self._alpha_optimizer.state_dict(),
                "decisions": self.decisions.state_dict(),
                "method_state": self.method.state_dict(),
                "tuning": self._tuning,
            }
        )
        return state

    def load(self, state: dict[str, Any]) -> None:
        """Restore what `save` returned, with any number of workers.

        Raises:
            CheckpointError: it is of another space, method, config or seed, or malformed; the
                training is then of no more use.
        """
        try:
            self._check(state)
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
        self.supernet.load_state_dict(state["supernet"])
        self._tuning = state["tuning"]
        self._optimizer.load_state_dict(state["optimizer"])
        if self._placement.needs_scaler and state["scaler"]:
            self._bilevel.scaler.load_state_dict(state["scaler"])
        for parameter, values in zip(self.method.parameters, state["alphas"], strict=True):
            parameter.data.copy_(values)
        self._alpha_optimizer.load_state_dict(state["alpha_optimizer"])
        self.history = [dict(metrics) for metrics in state["history"]]
        self.epoch = int(state["epoch"])

    def _identity(self) -> dict[str, Any]:
        """Return what a checkpoint must agree with us on."""
        kinds = [[kind.name, kind.edges, kind.ops, kind.keep] for kind in self.decisions.kinds]
        return {
            "space": [self._space.name, *kinds],
            "method": self.method.name,
            "method_options": self.method.options.model_dump(mode="json"),
            "recipe": self.config.recipe(),
            "seed": self._seed,
        }

    def _check(self, state: dict[str, Any]) -> None:
        if state.get("format") != _FORMAT:
            raise CheckpointError(
                f"a checkpoint of format {state.get('format')!r}, not {_FORMAT} as written here"
            )
        mine = self._identity()
        if state["space"] != mine["space"]:
            old = state["space"][0]
            other = f"space {old}" if old != self._space.name else "other ops or cells"
            raise CheckpointError(f"of {other}, not of space {self._space.name} as it is here")
        for key in ("method", "seed"):
            if state[key] != mine[key]:
                raise CheckpointError(f"trained with {key} {state[key]!r}, not {mine[key]!r}")
        for key, prefix in (("method_options", "method."), ("recipe", "training.")):
            for name, value in mine[key].items():
                old = state[key].get(name)
                if old != value:
                    raise CheckpointError(f"trained with {prefix}{name} {old!r}, not {value!r}")

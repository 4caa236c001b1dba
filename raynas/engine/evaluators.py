"""Candidates scored side by side: long-lived actors that hold the validation images.

The supernet goes out once a step, as one flat array in the object store. A request is cut into
pieces, by batches first; where there are more evaluators than batches, by options too. Each piece
returns integer counts and float64 sums of its own batches, which are put in their places: the
answer is the same however many evaluators there are, whoever did what, and if one dies on the way.
"""

import copy
import itertools
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray import ObjectRef, cloudpickle
from ray.exceptions import ActorDiedError, RayTaskError
from torch import Tensor

from raynas.engine.flat import FlatLayout
from raynas.engine.losses import beside_the_driver
from raynas.errors import WorkerError
from raynas.selection.scoring import Request
from raynas.supernets.candidates import BatchScores, score_candidates
from raynas.supernets.mixture import Active, Mixture
from raynas.supernets.supernet import Supernet
from raynas.training.placement import Placement

_DEATHS = 5
"""How often an evaluator may die before it is given up."""

_PIECES_EACH = 4
"""Pieces of a request per evaluator: enough to keep them equally busy."""

_AHEAD = 2
"""Pieces an evaluator has in hand, so that it never waits for the next."""

Array = NDArray[Any]


class Images(Protocol):
    """Validation images where an evaluator is."""

    @property
    def placement(self) -> Placement:
        """Where they lie."""
        ...

    def batches(
        self, batch_size: int, *, augmented: bool, shuffle_seed: int | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield them in batches."""
        ...


class Job(Protocol):
    """Knows the validation images; pickled to every evaluator."""

    def validation(self, device: str) -> Images:
        """Load them."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A part of a request, in a form that travels.

    Attributes:
        request: The part; its mixture is left out.
        weights: `E x O` a kind.
        active: Likewise.
        edge_weights: `E` a kind, or None.
        version: Which supernet it is of.
    """

    request: Request
    weights: tuple[Array, ...]
    active: tuple[Active, ...]
    edge_weights: tuple[Array, ...] | None
    version: str

    @classmethod
    def of(cls, request: Request, version: str) -> "Piece":
        """Return a request so that it travels."""
        mixture = request.mixture
        edges = mixture.edge_weights
        return cls(
            replace(request, mixture=Mixture((), ())),
            tuple(_array(rows) for rows in mixture.weights),
            mixture.active,
            None if edges is None else tuple(_array(row) for row in edges),
            version,
        )

    def mixture(self, device: torch.device) -> Mixture:
        """Return the mixture, on a device."""
        edges = self.edge_weights
        return Mixture(
            tuple(torch.tensor(rows, device=device) for rows in self.weights),
            self.active,
            None if edges is None else tuple(torch.tensor(row, device=device) for row in edges),
        )


class Evaluator:
    """Scores pieces; an actor, which makes itself anew after a death.

    Args:
        job: A pickled `Job`.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, job: bytes, device: str) -> None:
        torch.set_num_threads(1)  # one piece on each core is faster than all cores on a piece
        self._images: Images = cloudpickle.loads(job).validation(device)
        self._frame: str | None = None
        self._version: str | None = None
        self._supernet: Supernet
        self._layout: FlatLayout

    def name(self) -> str:
        """Return the node and the process."""
        return f"{ray.util.get_node_ip_address()}:{os.getpid()}"

    def score(
        self, piece: Piece, version: str, frame: tuple[str, ObjectRef[Any]], flat: list[Any]
    ) -> tuple[str, Array, Array, Array]:
        """Score a piece.

        Args:
            piece: What to score.
            version: Which supernet `flat` is.
            frame: Name and reference of a pickled supernet of the same make.
            flat: Reference of its tensors, in a list so that Ray does not fetch it unasked.

        Returns:
            Who did it; ``correct``, ``loss`` and ``count`` of `BatchScores`.
        """
        self._become(version, frame, flat[0])
        request = piece.request
        batches = self._images.batches(
            request.batch_size, augmented=request.augmented, shuffle_seed=request.shuffle_seed
        )
        assert request.batches is not None
        wanted = frozenset(request.batches)
        found = score_candidates(
            self._supernet,
            piece.mixture(self._images.placement.device),
            request.question,
            request.options,
            (batch for number, batch in enumerate(batches) if number in wanted),
            norm=request.norm,
        )
        return self.name(), found.correct, found.loss, found.count

    def _become(self, version: str, frame: tuple[str, Any], flat: Any) -> None:
        if frame[0] != self._frame:
            supernet = self._images.placement.place(cloudpickle.loads(ray.get(frame[1])))
            assert isinstance(supernet, Supernet)
            self._supernet, self._layout = supernet, FlatLayout(supernet)
            self._frame, self._version = frame[0], None
        if version != self._version:
            self._layout.unpack(ray.get(flat), self._supernet)
            self._version = version


class EvaluatorHost:
    """Owns the evaluators; an actor, so that they outlive training workers.

    They are started when the first training worker asks, so that workers get their GPUs first.

    Args:
        job: A pickled `Job`.
        count: How many evaluators.
        gpus: GPUs of each; a fraction shares one.
    """

    def __init__(self, job: bytes, count: int, gpus: float) -> None:
        self._job = job
        self._count = count
        self._gpus = gpus
        self._evaluators: list[Any] = []

    def evaluators(self) -> list[Any]:
        """Return handles of them all."""
        if not self._evaluators:
            start = ray.remote(
                num_cpus=0,  # training workers rest meanwhile
                num_gpus=self._gpus,
                max_restarts=_DEATHS,
                max_task_retries=_DEATHS,
                scheduling_strategy="SPREAD",
            )(Evaluator)
            device = "cuda" if self._gpus else "cpu"
            self._evaluators = [start.remote(self._job, device) for _ in range(self._count)]
        return self._evaluators


def start_host(job: bytes, count: int, gpus: float) -> Any:
    """Start an `EvaluatorHost` and return its handle."""
    remote: Any = ray.remote  # its overloads know no options given as a mapping
    # Should its node go, all evaluators would, wherever they are: they are its own.
    options = {"max_restarts": _DEATHS, "max_task_retries": _DEATHS, **beside_the_driver()}
    start = remote(num_cpus=0, **options)(EvaluatorHost)
    return start.remote(job, count, gpus)


class EvaluatorPool:
    """Scores requests on evaluators; lives where training worker 0 is.

    Args:
        host: Handle of an `EvaluatorHost`.
        training: The supernet under training.
    """

    def __init__(self, host: Any, training: Any) -> None:
        self._training = training
        self._coming = host.evaluators.remote()  # they load the images while we train
        self._evaluators: list[Any] = []
        self._names: set[str] = set()
        self._frame: tuple[str, Any] | None = None
        self._layout: FlatLayout | None = None
        self._version = ""
        self._flat: Any = None

    def begin(self) -> None:
        """Hear that a new step begins: the supernet may be another."""
        self._flat = None
        self._names = set()

    def took_part(self) -> list[str]:
        """Return who has scored anything in this step."""
        return sorted(self._names)

    def __call__(self, request: Request) -> BatchScores:
        """Score the options of a request.

        Raises:
            WorkerError: an evaluator raised something, or all have died too often.
        """
        if not self._evaluators:
            self._evaluators = ray.get(self._coming)
        if self._flat is None:
            self._publish()
        if request.batches is None:
            count = self._training.num_selection_batches(request.batch_size)
            request = replace(request, batches=tuple(range(count)))
        batches = request.batches
        assert batches is not None
        shape = (len(request.options), len(batches))
        correct, loss = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.float64)
        counts = np.zeros(len(batches), dtype=np.int64)
        for rows, columns, found in self._scored(request):
            name, some_correct, some_loss, some_counts = found
            self._names.add(name)
            correct[rows, columns], loss[rows, columns] = some_correct, some_loss
            counts[columns] = some_counts
        return BatchScores(correct, loss, counts)

    def _publish(self) -> None:
        """Put the supernet into the object store; its make only if that is new."""
        supernet: Supernet = self._training.supernet
        layout = FlatLayout(supernet)
        if layout != self._layout:
            bare = copy.deepcopy(supernet).cpu()
            self._frame = (uuid.uuid4().hex, ray.put(cloudpickle.dumps(bare)))
            self._layout = layout
        self._flat = ray.put(layout.pack(supernet))
        self._version = uuid.uuid4().hex

    def _scored(self, request: Request) -> Iterator[tuple[slice, slice, Any]]:
        """Yield the places and the scores of pieces as they are done."""
        waiting = pieces(len(request.options), len(request.batches or ()), len(self._evaluators))
        idle = [evaluator for evaluator in self._evaluators for _ in range(_AHEAD)]
        running: dict[Any, tuple[tuple[slice, slice], Any]] = {}
        while waiting or running:
            while waiting and idle:
                place, evaluator = waiting.pop(0), idle.pop(0)
                running[self._submit(evaluator, request, place)] = (place, evaluator)
            if not running:
                raise WorkerError("every evaluator has died too often")
            done, _ = ray.wait(list(running))
            place, evaluator = running.pop(done[0])
            try:
                found = ray.get(done[0])
            except ActorDiedError:
                waiting.insert(0, place)
                idle = [other for other in idle if other is not evaluator]
                continue
            except RayTaskError as error:
                raise WorkerError(f"an evaluator failed: {error}") from None
            idle.append(evaluator)
            yield *place, found

    def _submit(self, evaluator: Any, request: Request, place: tuple[slice, slice]) -> Any:
        rows, columns = place
        assert request.batches is not None
        part = replace(request, options=request.options[rows], batches=request.batches[columns])
        return evaluator.score.remote(
            Piece.of(part, self._version), self._version, self._frame, [self._flat]
        )


def pieces(num_options: int, num_batches: int, num_evaluators: int) -> list[tuple[slice, slice]]:
    """Cut `options x batches` into rectangles for so many evaluators.

    All options of a batch stay together, since they share what does not depend on them; unless
    there are fewer batches than evaluators.
    """
    size = max(1, num_batches // (_PIECES_EACH * num_evaluators))
    columns = [slice(i, min(i + size, num_batches)) for i in range(0, num_batches, size)]
    groups = min(num_options, -(-num_evaluators // max(1, len(columns))))
    if len(columns) >= num_evaluators:
        groups = 1
    edges = [round(i * num_options / groups) for i in range(groups + 1)] if groups else [0]
    rows = [slice(a, b) for a, b in itertools.pairwise(edges)]
    return [(row, column) for column in columns for row in rows]


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array

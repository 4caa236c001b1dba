"""SGAS: edges are decided one after another while the supernet trains, the surest first.

Li et al., "SGAS: Sequential Greedy Architecture Search", CVPR 2020.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from raynas.config import Section
from raynas.errors import ConfigError
from raynas.spaces.cell import NONE
from raynas.spaces.mixture import CellKind
from raynas.supernets.bilevel import Epoch
from raynas.supernets.config import SupernetTrainingConfig
from raynas.supernets.decisions import Decisions, Question
from raynas.supernets.method import Method

_PUBLISHED_EPOCHS, _PUBLISHED_FIRST, _PUBLISHED_EVERY = 50, 9, 5


class SgasOptions(Section):
    """Options of `Sgas`.

    Attributes:
        criterion: 1: importance and certainty of an edge; 2: stability of its ops too.
        first: Number (from 0) of the epoch after which the first edges are decided; None: 9 of 50
            epochs, and in that proportion for others.
        every: Epochs between decisions; None: 5 of 50, likewise.
        history: Epochs that criterion 2 looks back.
        grow: Images by which batches grow with every decision, as there is less and less to run.
    """

    criterion: Literal[1, 2] = 1
    first: int | None = Field(None, ge=0)
    every: int | None = Field(None, ge=1)
    history: int = Field(4, ge=1)
    grow: int = Field(8, ge=0)


class Sgas(Method):
    """SGAS with the published schedule: 8 edges of each kind of DARTS cell in 50 epochs.

    Of each kind, the edge with the highest score is asked about; once a node has as many decided
    edges as it keeps, its others are gone. Spaces need `none` among their ops: what is not `none`
    is what an edge is worth.
    """

    Options = SgasOptions
    options: SgasOptions

    def check(self, kinds: Sequence[CellKind], config: SupernetTrainingConfig) -> None:
        """Refuse a space without `none`, and a schedule that does not fit the epochs."""
        super().check(kinds, config)
        for kind in kinds:
            if any(NONE not in ops for ops in kind.ops):
                raise ConfigError(
                    f"method: sgas needs the op {NONE} on every edge, but not all edges of "
                    f"{kind.name} cells have it (s3 and nasbench201 do, darts does with "
                    "space.with_none=true)"
                )
        first, every = self._schedule(config)
        last = first + every * (max(map(_num_decisions, kinds)) - 1)
        if last >= config.epochs:
            raise ConfigError(
                f"method.every: {max(map(_num_decisions, kinds))} decisions, after epochs {first}, "
                f"{first + every}, …, do not fit into {config.epochs} epochs (training.epochs)"
            )

    def begin(
        self,
        decisions: Decisions,
        config: SupernetTrainingConfig,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        """Make the parameters, and an empty memory."""
        super().begin(decisions, config, generator, device)
        self._rounds = [0] * len(self.kinds)
        self._past: list[list[Tensor]] = [[] for _ in self.kinds]
        self._stability = [torch.zeros(kind.num_edges, dtype=torch.float64) for kind in self.kinds]

    def batch_size(self) -> int:
        """Return the size of the batches: larger with every decision."""
        return self.config.batch_size + self.options.grow * max(self._rounds)

    def end_epoch(self, epoch: Epoch) -> dict[str, Any]:
        """Compare the ops' shares with those of the last epochs, and remember them."""
        if epoch.tuning:
            return {}
        for number in range(len(self.kinds)):
            shares, past = self._shares(number), self._past[number]
            self._stability[number] = stability(shares, past)
            past.append(shares)
            del past[: -self.options.history]
        return {"sgas_scores": [self.scores(number).tolist() for number in range(len(self.kinds))]}

    def questions(self, epoch: int) -> list[Question]:
        """Ask of each kind about the undecided edge with the highest score, when it is time."""
        first, every = self._schedule(self.config)
        due = 0 if epoch <= first else (epoch - 1 - first) // every + 1
        asked = []
        for number, kind in enumerate(self.kinds):
            open_edges = self.decisions.undecided_edges(number)
            if self._rounds[number] >= due or not open_edges:
                continue
            edge = max(open_edges, key=self.scores(number).tolist().__getitem__)
            options = tuple(o for o, op in enumerate(kind.ops[edge]) if op != NONE)
            asked.append(Question(number, options, edge=edge))
        return asked

    def answered(self, question: Question, chosen: Sequence[int]) -> None:
        """Let go of the other edges of a node that has what it keeps."""
        number, edge = question.kind, question.edge
        if edge is None:
            return
        self._rounds[number] += 1
        kind, ops = self.kinds[number], self.decisions.ops[number]
        node = kind.edges[edge][1]
        decided = [e for e in kind.incoming(node) if ops[e] is not None]
        if node in kind.crowded() and len(decided) == kind.keep:
            self.decisions.keep_edges(number, node, decided)

    def scores(self, number: int) -> Tensor:
        """Return how ready each edge of a kind is to be decided, `E` float64 (eq. 6 and 7)."""
        theta, columns = self._theta(number), self._columns(number)
        importance = theta.gather(1, columns).sum(dim=1)
        shares = self._shares(number)
        score = normalised(importance) * normalised(certainty(shares))
        if self.options.criterion == 2:
            score *= normalised(self._stability[number])
        return score

    def _theta(self, number: int) -> Tensor:
        return self.theta()[number].detach().double().cpu()

    def _columns(self, number: int) -> Tensor:
        """Return the columns of the ops other than `none`, `E x (O - 1)`."""
        ops = self.kinds[number].ops
        return torch.tensor([[o for o, op in enumerate(row) if op != NONE] for row in ops])

    def _shares(self, number: int) -> Tensor:
        """Return p: weights of the ops other than `none`, as shares; `E x (O - 1)`."""
        weights = self._theta(number).gather(1, self._columns(number))
        return weights / weights.sum(dim=1, keepdim=True)

    def _schedule(self, config: SupernetTrainingConfig) -> tuple[int, int]:
        """Return the epoch of the first decision, from 0, and epochs between two."""
        scale = config.epochs / _PUBLISHED_EPOCHS
        first, every = self.options.first, self.options.every
        return (
            math.floor(_PUBLISHED_FIRST * scale) if first is None else first,
            max(1, math.floor(_PUBLISHED_EVERY * scale)) if every is None else every,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return decisions taken, and the memory of criterion 2."""
        return {
            "rounds": list(self._rounds),
            "past": [list(past) for past in self._past],
            "stability": list(self._stability),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._rounds = list(state["rounds"])
        self._past = [list(past) for past in state["past"]]
        self._stability = list(state["stability"])


def certainty(shares: Tensor) -> Tensor:
    """Return ``1 - H(p) / log n`` of each row of n shares; 1 if there is one op to choose."""
    if shares.shape[1] == 1:
        return torch.ones(len(shares), dtype=shares.dtype)
    entropy: Tensor = torch.special.entr(shares).sum(dim=1)
    return 1 - entropy / math.log(shares.shape[1])


def stability(shares: Tensor, past: Sequence[Tensor]) -> Tensor:
    """Return the mean over past epochs of ``Σ_o min(p_then, p_now)`` of each row; 0 without any."""
    if not past:
        return torch.zeros(len(shares), dtype=shares.dtype)
    return torch.stack([torch.minimum(then, shares).sum(dim=1) for then in past]).mean(dim=0)


def normalised(values: Tensor) -> Tensor:
    """Return the values moved and scaled to [0, 1]; 0 if they are all the same."""
    low, high = values.min(), values.max()
    return torch.zeros_like(values) if low == high else (values - low) / (high - low)


def _num_decisions(kind: CellKind) -> int:
    """Return how many edges of a kind have to be decided."""
    counts = [len(kind.incoming(node)) for node in kind.nodes]
    return sum(count if kind.keep is None else min(count, kind.keep) for count in counts)

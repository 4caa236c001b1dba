"""The op that is missed most (Wang et al., "Rethinking Architecture Selection", ICLR 2021, Alg. 1).

Each op of an edge is left out in turn, the others as they are; the one without which the supernet
does worst is chosen. A node drops, one after another, the edge without which it does best.
"""

from collections.abc import Sequence
from dataclasses import replace

from raynas.seeds import derive_seed
from raynas.selection.answer import Answer, Situation
from raynas.selection.config import SelectionConfig
from raynas.selection.magnitude import Magnitude, fallback
from raynas.selection.racing import race
from raynas.selection.recalibration import recalibrate
from raynas.selection.scoring import CandidateScore, Request, totals
from raynas.spaces.cell import NONE
from raynas.spaces.mixture import CellKind
from raynas.supernets.decisions import Question
from raynas.supernets.mixture import Mixture


class Perturbation:
    """Answers by what the supernet loses.

    Args:
        config: How candidates are scored and compared.
    """

    def __init__(self, config: SelectionConfig) -> None:
        self._config = config

    def answer(self, question: Question, situation: Situation) -> Answer:
        """Choose the op that is missed most, or the edges that are left when enough are dropped."""
        if question.node is not None and self._config.topology == "magnitude":
            return Magnitude(self._config).answer(question, situation)
        if self._config.norm == "recalibrated":
            recalibrate(situation.training, self._config.batch_size)
        if question.node is not None:
            return self._keep_edges(question, situation)
        return self._choose_op(question, situation)

    # -- the op of an edge ---------------------------------------------------------------------

    def _choose_op(self, question: Question, situation: Situation) -> Answer:
        decisions = situation.training.decisions
        kind = decisions.kinds[question.kind]
        assert question.edge is not None
        mixture = situation.training.mixture()
        scores = self._score(question, question.options, mixture, situation)
        ranked = self._most_missed(scores, kind.ops[question.edge])
        return Answer(
            (ranked[0].option,),
            "perturbation",
            self._gap(ranked[0], ranked[1]),
            scores=tuple(scores),
            unmasked=_unmasked(scores, kind, question.edge, mixture, question.kind),
            fallback=fallback(situation.training, question, [s.option for s in ranked]),
        )

    def _most_missed(
        self, scores: Sequence[CandidateScore], ops: Sequence[str]
    ) -> list[CandidateScore]:
        """Sort by what is lost; of equals those that lasted longest, `none` last, then the first.

        Leaving out `none` changes nothing, so it wins only where every other op does harm.
        """
        return sorted(
            scores, key=lambda s: (-s.count, -self._loss_without(s), ops[s.option] == NONE)
        )

    # -- the edges of a node -------------------------------------------------------------------

    def _keep_edges(self, question: Question, situation: Situation) -> Answer:
        keep = situation.training.decisions.kinds[question.kind].keep
        assert keep is not None
        edges, mixture = list(question.options), situation.training.mixture()
        config = self._config
        # Else nothing changes from round to round: so would not the scores.
        anew = config.cumulative or not config.fixed_batches or config.racing is not None
        scored: list[CandidateScore] = []
        margins = []
        for round in range(len(edges) - keep):
            if round == 0 or anew:
                scores = self._score(question, edges, mixture, situation, round)
                scored += scores
            scores = [s for s in scores if s.option in edges]
            ranked = sorted(scores, key=lambda s: (-s.count, self._loss_without(s), -s.option))
            margins.append(self._gap(ranked[0], ranked[1]))
            edges.remove(ranked[0].option)
            if self._config.cumulative:
                mixture = mixture.without_edge(question.kind, ranked[0].option)
        return Answer(tuple(edges), "perturbation", min(margins), scores=tuple(scored))

    # -- scores --------------------------------------------------------------------------------

    def _score(
        self,
        question: Question,
        options: Sequence[int],
        mixture: Mixture,
        situation: Situation,
        round: int = 0,
    ) -> list[CandidateScore]:
        config, num_batches = self._config, self._num_batches(situation)
        request = Request(
            mixture,
            question,
            tuple(options),
            "batch" if config.norm == "batch" else "running",
            config.batch_size,
            config.augment,
            # Augmentation is drawn: the same for all candidates where batches are fixed.
            derive_seed(situation.seed, "validation order") if config.augment else None,
            batches=None if config.num_batches is None else tuple(range(num_batches)),
        )
        if config.racing is not None:
            return self._race(request, situation, round)
        if config.fixed_batches:
            return totals(options, situation.score(request), round)
        found = []
        for option in options:
            seed = derive_seed(situation.seed, "validation order", f"{round}/{option}")
            one = replace(request, options=(option,), shuffle_seed=seed)
            found += totals((option,), situation.score(one), round)
        return found

    def _num_batches(self, situation: Situation) -> int:
        there = situation.training.num_selection_batches(self._config.batch_size)
        return min(there, self._config.num_batches or there)

    def _race(self, request: Request, situation: Situation, round: int) -> list[CandidateScore]:
        assert self._config.racing is not None
        return race(
            request,
            situation.score,
            self._config.racing,
            num_batches=self._num_batches(situation),
            criterion=self._config.criterion,
            most=request.question.edge is not None,
            seed=derive_seed(situation.seed, "order of the race", round),
            round=round,
        )

    def _loss_without(self, score: CandidateScore) -> float:
        """Return how badly the supernet does without a candidate; exact where counts are equal."""
        if self._config.criterion == "loss":
            return score.mean_loss
        return -score.accuracy

    def _gap(self, one: CandidateScore, other: CandidateScore) -> float:
        return abs(self._loss_without(one) - self._loss_without(other))


def _unmasked(
    scores: Sequence[CandidateScore], kind: CellKind, edge: int, mixture: Mixture, number: int
) -> CandidateScore | None:
    """Return the score of an op that adds nothing: that of the whole supernet."""
    for score in scores:
        passes = kind.ops[edge][score.option] != NONE
        if not passes or not mixture.active[number][edge, score.option]:
            return score
    return None

"""Answering a question: the Protocol, and what an answer says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from raynas.selection.config import SelectionConfig
from raynas.selection.scoring import CandidateScore, Scorer
from raynas.selection.training import Trainable
from raynas.spaces.mixture import CellKind
from raynas.supernets.decisions import Question


@dataclass(frozen=True, slots=True)
class Answer:
    """What was chosen, and why.

    Attributes:
        chosen: The op (one) or the edges that a node keeps.
        rule: Name of what decided.
        margin: By how much: difference in what was compared, between the chosen and the best that
            was not; None where there was no choice. For a node the least of its rounds.
        scores: Candidates that were scored, in order.
        strengths: Mixing weight of each option, where that decided.
        unmasked: The whole supernet, where it was scored along the way.
        fallback: An op that an architecture can have, where the chosen one cannot be in it.
    """

    chosen: tuple[int, ...]
    rule: str
    margin: float | None = None
    scores: tuple[CandidateScore, ...] = ()
    strengths: tuple[float, ...] = ()
    unmasked: CandidateScore | None = None
    fallback: int | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What an answer can be drawn from.

    Attributes:
        training: The supernet.
        score: Scores candidates.
        seed: Seed of this step of the program: draws derive from it.
    """

    training: Trainable
    score: Scorer
    seed: int


class Selection(Protocol):
    """Answers questions. A class of a user's is made from the config alone."""

    def answer(self, question: Question, situation: Situation) -> Answer:
        """Choose among the options of a question (two or more, more than a node keeps)."""
        ...


MakeSelection = Callable[[SelectionConfig], Selection]


def option_name(kind: CellKind, question: Question, option: int) -> str:
    """Return an option as a user reads it: the op, or the edge as ``source->target``."""
    if question.edge is not None:
        return kind.ops[question.edge][option]
    source, target = kind.edges[option]
    return f"{source}->{target}"


def decision_record(kind: CellKind, question: Question, answer: Answer) -> dict[str, Any]:
    """Return a decision as JSON values; who asked adds time and workers."""

    def score(one: CandidateScore) -> dict[str, Any]:
        return {
            "option": one.option,
            "name": option_name(kind, question, one.option),
            "round": one.round,
            "correct": one.correct,
            "count": one.count,
            "accuracy": one.accuracy,
            "loss": one.mean_loss,
        }

    source, target = (None, question.node) if question.edge is None else kind.edges[question.edge]
    unmasked = answer.unmasked
    return {
        "kind": kind.name,
        "edge": question.edge,
        "node": question.node,
        "source": source,
        "target": target,
        "options": list(question.options),
        "names": [option_name(kind, question, o) for o in question.options],
        "rule": answer.rule,
        "candidates": [score(one) for one in answer.scores],
        "strengths": list(answer.strengths) or None,
        "unmasked": unmasked and {"accuracy": unmasked.accuracy, "loss": unmasked.mean_loss},
        "chosen": list(answer.chosen),
        "chosen_names": [option_name(kind, question, o) for o in answer.chosen],
        "margin": answer.margin,
        "fallback": None
        if answer.fallback is None
        else option_name(kind, question, answer.fallback),
    }

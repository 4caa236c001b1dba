"""The op with the largest mixing weight (Liu et al., "DARTS", ICLR 2019, §2.4).

A node keeps the edges whose ops have the largest weights. Where edges have weights of their own,
they count as factors (Xu et al., "PC-DARTS", ICLR 2020, eq. 5).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raynas.selection.answer import Answer, Situation
from raynas.selection.config import SelectionConfig
from raynas.selection.training import Trainable
from raynas.supernets.decisions import Question, expressible


class Magnitude:
    """Answers by mixing weights alone.

    Args:
        config: Not used: there is nothing to choose.
    """

    def __init__(self, config: SelectionConfig) -> None:
        del config

    def answer(self, question: Question, situation: Situation) -> Answer:
        """Choose by weight: the first op on ties, the first edges on ties."""
        strengths = option_strengths(situation.training, question)
        keep = 1 if question.edge is not None else _keep(situation.training, question)
        order = np.argsort(-strengths, kind="stable")
        ranked = [question.options[i] for i in order]
        return Answer(
            tuple(sorted(ranked[:keep])),
            "magnitude",
            float(strengths[order[keep - 1]] - strengths[order[keep]]),
            strengths=tuple(strengths.tolist()),
            fallback=fallback(situation.training, question, ranked),
        )


def option_strengths(training: Trainable, question: Question) -> NDArray[np.float64]:
    """Return the weight of each option: of an op, or of the op that stands on an edge."""
    tensor = training.strengths()[question.kind]
    weights: NDArray[np.float64] = tensor.detach().double().cpu().numpy()
    options = list(question.options)
    if question.edge is not None:
        return weights[question.edge, options]
    decisions = training.decisions
    kind, ops = decisions.kinds[question.kind], decisions.ops[question.kind]
    found = []
    for edge in options:
        op = ops[edge]
        columns = list(expressible(kind, edge)) if op is None else [op]
        found.append(weights[edge, columns].max())
    return np.array(found)


def fallback(training: Trainable, question: Question, ranked: Sequence[int]) -> int | None:
    """Return the best op that an architecture can have, where the best of all is not such a one."""
    if question.edge is None:
        return None
    able = expressible(training.decisions.kinds[question.kind], question.edge)
    return None if ranked[0] in able else next(op for op in ranked if op in able)


def _keep(training: Trainable, question: Question) -> int:
    keep = training.decisions.kinds[question.kind].keep
    assert keep is not None
    return keep

"""How strong ops are: what perturbation and the oracle say, as parts of a diagnosis."""

import numpy as np

from raynas.diagnostics.diagnostic import Part, Value
from raynas.diagnostics.subject import SupernetSubject
from raynas.errors import TrialError
from raynas.selection.config import SelectionConfig
from raynas.selection.oracle import OracleConfig, oracle_strength
from raynas.selection.scoring import totals
from raynas.supernets.candidates import score_candidates, score_whole
from raynas.supernets.decisions import Question
from raynas.supernets.training import SupernetTraining

Edge = tuple[int, int]
"""Number of a kind of cell, and of an edge of it."""


def mixed_edges(training: SupernetTraining) -> list[Edge]:
    """Return the edges that still mix two ops or more, in order."""
    decisions = training.decisions
    return [
        (kind, edge)
        for kind in range(len(decisions.kinds))
        for edge in decisions.undecided_edges(kind)
        if len(allowed_ops(training, kind, edge)) > 1
    ]


def allowed_ops(training: SupernetTraining, kind: int, edge: int) -> list[int]:
    """Return the ops (columns) of an edge that have not been pruned."""
    found: list[int] = np.flatnonzero(training.decisions.allowed(kind)[edge]).tolist()
    return found


def perturbation_part(subject: SupernetSubject, edge: Edge) -> Part:
    """Return the part that masks each op of an edge at the end of the search."""
    where = {"step": subject.end.step, "kind": edge[0], "edge": edge[1]}
    return Part(f"ops of edge {edge[1]} ({subject.kinds[edge[0]].name}) masked", _masked, where)


def _masked(subject: SupernetSubject, step: int, kind: int, edge: int) -> Value:
    """Return accuracy of the whole supernet and without each op of an edge.

    As perturbation scores them (Wang et al., ICLR 2021, §4): the fixed validation batches of the
    half of α, statistics of the batch, the other weights as they are.
    """
    training = subject.restored(step)
    options, mixture = allowed_ops(training, kind, edge), training.mixture()
    size = SelectionConfig().batch_size
    question = Question(kind, tuple(options), edge=edge)
    masked = score_candidates(
        training.supernet, mixture, question, options, training.selection_batches(size)
    )
    whole = score_whole(training.supernet, mixture, training.selection_batches(size))
    return {
        "whole": totals((0,), whole)[0].accuracy,
        "ops": [
            {"op": score.option, "accuracy": score.accuracy} for score in totals(options, masked)
        ],
    }


def oracle_part(subject: SupernetSubject, edge: Edge, op: int, epochs: int) -> Part:
    """Return the part that trains on with an op alone on its edge, for so many epochs at most."""
    kind = subject.kinds[edge[0]]
    return Part(
        f"{kind.ops[edge[1]][op]} alone on edge {edge[1]} ({kind.name})",
        _oracle,
        {"step": subject.end.step, "kind": edge[0], "edge": edge[1], "op": op, "epochs": epochs},
    )


def _oracle(
    subject: SupernetSubject, step: int, kind: int, edge: int, op: int, epochs: int
) -> Value:
    """Return what `raynas.selection.oracle` finds; ``error`` if training diverged."""
    config = OracleConfig(min_epochs=min(epochs, OracleConfig().min_epochs), max_epochs=epochs)
    try:
        found = oracle_strength(subject.training(step), kind, edge, op, config)
    except TrialError as error:
        return {"error": str(error), "accuracy": None, "epochs": None, "converged": False}
    return {
        "error": None,
        "accuracy": found.accuracy,
        "epochs": len(found.trace) - 1,
        "converged": found.converged,
    }

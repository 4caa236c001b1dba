"""What all candidates of a question have in common in a cell, run once for all of them."""

from collections.abc import Sequence

from torch import Tensor

from raynas.supernets.decisions import Question
from raynas.supernets.node_sum import NodeSum, State, Sums, Weights
from raynas.supernets.supernet import Carried, CellStage


class SharedCell:
    """A cell run as far as all candidates agree.

    They agree on the states that no asked-for edge leads to, and on every term of the others that
    reads such a state. A candidate is a mixture with fewer ops active: it adds up those of the
    terms that it has, and runs the rest. What it computes does not depend on which other candidates
    there are.

    Args:
        stage: The cell.
        common: What was handed on, None where candidates differ.
        weights: Of the kind of cell, all ops active that any candidate has.
        question: What is asked of the cell; None of a cell of another kind.
    """

    def __init__(
        self,
        stage: CellStage,
        common: Sequence[Tensor | None],
        weights: Weights,
        question: Question | None,
    ) -> None:
        self._stage = stage
        self._cell = stage.mixed
        self._inputs = stage.inputs(common)
        self._asked = _asked(stage, question)
        self._states: list[State | None] = [
            None if images is None else self._cell.input_state(images) for images in self._inputs
        ]
        self._fixed: dict[int, Sums] = {}
        self._ops: dict[tuple[int, int], Sums] = {}
        self._passed: dict[int, Sums] = {}
        for node in self._cell.kind.nodes:
            self._states.append(self._share(node, weights))

    def _share(self, node: int, weights: Weights) -> State | None:
        """Run what all candidates agree on of a node; return it if that is everything."""
        total = NodeSum()
        agreed = True
        for edge in self._cell.kind.incoming(node):
            state = self._states[self._cell.source(edge)]
            if state is None:
                agreed = agreed and not weights.active[edge].any()
            elif edge in self._asked:
                self._take_apart(edge, state, weights)
            else:
                self._cell.add_edge(total, edge, state, weights)
            agreed = agreed and edge not in self._asked
        if not agreed:
            self._fixed[node] = total.sums()
            return None
        return self._cell.node_state(total, self._known_input())

    def _take_apart(self, edge: int, state: State, weights: Weights) -> None:
        for op in weights.active[edge].nonzero()[0]:
            alone = NodeSum()
            self._cell.add_ops(alone, edge, [op], state, weights)
            self._ops[edge, op] = alone.sums()
        passed = NodeSum()
        passed.add_passed(state, weights, edge)
        self._passed[edge] = passed.sums()

    def _known_input(self) -> Tensor:
        return next(images for images in self._inputs if images is not None)

    def __call__(self, carried: Carried, weights: Sequence[Weights], drop: float) -> Carried:
        """Return what a candidate's cell hands on.

        Args:
            carried: What the stage before handed on.
            weights: Of each kind of cell, the candidate's ops active.
            drop: 0.
        """
        known = [one is not None for one in self._inputs]
        differing = [None if k else c for c, k in zip(carried, known, strict=False)]
        fitted = self._stage.inputs(differing)
        states = [
            state if state is not None else self._cell.input_state(_there(images))
            for state, images in zip(self._states, fitted, strict=False)
        ]
        for node, shared in enumerate(self._states[len(fitted) :], len(fitted)):
            states.append(
                self._finish(node, states, weights[self._stage.number])
                if shared is None
                else shared
            )
        nodes = [state.full for state in states[len(fitted) :]]
        return self._stage.outputs(carried, nodes)

    def _finish(self, node: int, states: Sequence[State], weights: Weights) -> State:
        total = NodeSum()
        total.add(self._fixed[node])
        for edge in self._cell.kind.incoming(node):
            source = self._cell.source(edge)
            if self._states[source] is None:
                self._cell.add_edge(total, edge, states[source], weights)
            elif edge in self._asked:
                active = weights.active[edge].nonzero()[0]
                for op in active:
                    total.add(self._ops[edge, op])
                if len(active):
                    total.add(self._passed[edge])
        return self._cell.node_state(total, states[0].full)


def _asked(stage: CellStage, question: Question | None) -> tuple[int, ...]:
    """Return the edges of a cell that a question is about."""
    if question is None:
        return ()
    if question.edge is not None:
        return (question.edge,)
    assert question.node is not None
    return stage.mixed.kind.incoming(question.node)


def _there(images: Tensor | None) -> Tensor:
    assert images is not None
    return images

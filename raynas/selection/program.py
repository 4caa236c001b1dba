"""A whole supernet job as a state machine: search, decisions, tuning, step by step.

It knows no engine. An engine repeats ``record = program.step(score)`` until `finished`, and may
save after any step: a program that is loaded goes on bit by bit as the saved one would have.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from raynas.errors import CheckpointError, ConfigError, SpaceError
from raynas.registry import lookup
from raynas.seeds import derive_seed
from raynas.selection import SELECTIONS
from raynas.selection.answer import Answer, Selection, Situation, decision_record
from raynas.selection.config import SelectionConfig, check_excluded
from raynas.selection.order import next_edge, next_node
from raynas.selection.schedule import Timetable, schedule_for
from raynas.selection.scoring import Scorer
from raynas.selection.training import Trainable
from raynas.spaces.architecture import Architecture
from raynas.spaces.mixture import MixableSpace
from raynas.supernets.decisions import Question, expressible

Record = dict[str, Any]
"""What one step did; see `SupernetProgram.step`."""

_FORMAT = 1


class SupernetProgram:
    """Trains a supernet and selects an architecture.

    Args:
        space: What is searched.
        training: The supernet, untrained or as far as it is.
        config: How the architecture is selected.
        seed: Every draw of the selection derives from it.
        selection: A user's own object in place of the one that `config` names.

    Raises:
        ConfigError: no such selection, or an op to exclude that there is not or that is needed.

    Attributes:
        training: Likewise.
        num_steps: Steps taken.
        num_decisions: Questions answered.
    """

    def __init__(
        self,
        space: MixableSpace,
        training: Trainable,
        config: SelectionConfig,
        seed: int,
        selection: Selection | None = None,
    ) -> None:
        check_excluded(config, space.kinds)
        self.training = training
        self.num_steps = 0
        self.num_decisions = 0
        self._space = space
        self._config = config
        self._seed = seed
        self._selection: Selection = (
            lookup("selection", config.name, SELECTIONS)(config) if selection is None else selection
        )
        self._timetable: Timetable | None = None  # None: still searching
        self._tuning = False
        self._fallbacks: dict[tuple[int, int], int] = {}
        self._settle()

    @property
    def phase(self) -> str:
        """``search``, ``select`` or ``done``."""
        if self._timetable is None:
            return "search"
        return "done" if self._timetable.over else "select"

    @property
    def finished(self) -> bool:
        """Whether all is decided and trained."""
        return self.phase == "done"

    @property
    def num_epochs(self) -> int:
        """Epochs of the whole program as far as can be said; fewer if the method decides itself."""
        if self._timetable is None:
            return self.training.search_epochs + self._planned().epochs_left
        return self.training.epoch + self._timetable.epochs_left

    @property
    def result(self) -> Architecture:
        """The architecture, once finished.

        Raises:
            SpaceError: a selection of a user's own chose what no architecture can have.
        """
        assert self.finished
        return self.training.decisions.architecture(self._space, self._fallbacks)

    def step(self, score: Scorer) -> Record:
        """Train one epoch, or take one decision (all at once, where nothing is tuned between).

        Args:
            score: Scores candidates; the supernet stays as it is while a decision asks it, but for
                the running statistics of its norms, which may be new at its first request.

        Returns:
            ``step`` (its number, from 1), ``phase``, ``event`` (``epoch`` or ``decision``),
            ``epoch`` (trained so far, tuning included), ``num_epochs``, ``metrics`` (of an epoch;
            else None), ``decisions`` (as `decision_record` has them, and ``time_s``), ``time_s``.

        Raises:
            TrialError: training diverged.
        """
        assert not self.finished
        started, phase = time.perf_counter(), self.phase
        decided = self._decide(score)
        metrics = None if decided else self._train()
        self.num_steps += 1
        return {
            "step": self.num_steps,
            "phase": phase,
            "event": "decision" if decided else "epoch",
            "epoch": self.training.epoch,
            "num_epochs": self.num_epochs,
            "metrics": metrics,
            "decisions": decided,
            "time_s": time.perf_counter() - started,
        }

    # -- going on ------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Go on to selecting once the search is over."""
        searching = self._timetable is None and not self.training.questions()
        if searching and self.training.searched:
            self._timetable = self._planned()

    def _planned(self) -> Timetable:
        tune_epochs = self._config.tune_epochs if self._config.progressive else 0
        decisions = self.training.decisions
        return Timetable(schedule_for(decisions, tune_epochs), decisions)

    def _train(self) -> Record:
        if self._timetable is not None and not self._tuning:
            self.training.begin_tuning(
                self._config.tune_lr, self._config.tune_schedule, self._timetable.epochs_left
            )
            self._tuning = True
        metrics = dict(self.training.train_epoch())
        if self._timetable is not None:
            self._timetable.trained()
        self._settle()
        return metrics

    # -- deciding ------------------------------------------------------------------------------

    def _decide(self, score: Scorer) -> list[Record]:
        """Answer what has to be answered before training goes on; nothing if that is now."""
        records: list[Record] = []
        while questions := self._questions():
            situation = [self._situation(score, question) for question in questions]
            answers = [self._answer(q, s) for q, s in zip(questions, situation, strict=True)]
            for question, (answer, record) in zip(questions, answers, strict=True):
                self._apply(question, answer)
                records.append(record)
            if self._timetable is None or self._config.progressive:
                break
        return records

    def _questions(self) -> list[Question]:
        """Return the open question; several where they are to be answered at once."""
        if self._timetable is None:
            return list(self.training.questions())[:1]
        kinds = self._timetable.open_kinds()
        return [self._next_question(k) for k in (kinds if self._config.joint_cells else kinds[:1])]

    def _next_question(self, kind: int) -> Question:
        assert self._timetable is not None
        decisions = self.training.decisions
        seed = derive_seed(self._seed, "next", f"{self.num_decisions}/{kind}")
        if self._timetable.stage == "topology":
            node = next_node(self.training, kind, self._config.order, seed)
            return Question(kind, decisions.kinds[kind].incoming(node), node=node)
        edge = next_edge(self.training, kind, self._config.order, seed)
        return Question(kind, self._options(kind, edge), edge=edge)

    def _options(self, number: int, edge: int) -> tuple[int, ...]:
        """Return the ops that an edge may get."""
        kind, allowed = self.training.decisions.kinds[number], self.training.decisions.allowed
        if self._config.exclude is None:
            able: Sequence[int] = expressible(kind, edge)
        else:
            able = [o for o, op in enumerate(kind.ops[edge]) if op not in self._config.exclude]
        options = tuple(op for op in able if allowed(number)[edge, op])
        if not set(options) & set(expressible(kind, edge)):
            source, target = kind.edges[edge]
            raise SpaceError(
                f"the edge from state {source} to state {target} of the {kind.name} cell has no op "
                "left that may win and that an architecture can have"
            )
        return options

    def _situation(self, score: Scorer, question: Question) -> Situation:
        seed = derive_seed(self._seed, "decision", f"{self.num_decisions}/{question.kind}")
        return Situation(self.training, score, seed)

    def _answer(self, question: Question, situation: Situation) -> tuple[Answer, Record]:
        started = time.perf_counter()
        if len(question.options) == 1:
            answer = Answer(question.options, "only option")
        else:
            answer = self._selection.answer(question, situation)
            self._check(question, answer)
        kind = self.training.decisions.kinds[question.kind]
        record = decision_record(kind, question, answer)
        return answer, {**record, "time_s": time.perf_counter() - started}

    def _apply(self, question: Question, answer: Answer) -> None:
        decisions, kind = self.training.decisions, question.kind
        if question.edge is not None:
            decisions.decide_op(kind, question.edge, answer.chosen[0])
            if answer.fallback is not None:
                self._fallbacks[kind, question.edge] = answer.fallback
        else:
            assert question.node is not None
            decisions.keep_edges(kind, question.node, answer.chosen)
        self.num_decisions += 1
        self.training.answered(question, answer.chosen)
        if self._timetable is not None:
            self._timetable.decided(kind)
        self._settle()

    def _check(self, question: Question, answer: Answer) -> None:
        """Refuse what a user's own selection chose if it was not asked for."""
        keep = 1 if question.edge is not None else self.training.decisions.kinds[question.kind].keep
        chosen = set(answer.chosen)
        if len(answer.chosen) != keep or len(chosen) != keep or chosen - set(question.options):
            raise ConfigError(
                f"selection {answer.rule!r} chose {list(answer.chosen)}, not {keep} of "
                f"{list(question.options)}"
            )

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> Record:
        """Return all that going on bit by bit needs: plain values, tensors on the CPU."""
        table = self._timetable
        return {
            "format": _FORMAT,
            "seed": self._seed,
            "selection": self._config.model_dump(mode="json"),
            "training": self.training.save(),
            "num_steps": self.num_steps,
            "num_decisions": self.num_decisions,
            "timetable": None if table is None else table.state_dict(),
            "tuning": self._tuning,
            "fallbacks": [[*where, op] for where, op in self._fallbacks.items()],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `save` returned.

        Raises:
            CheckpointError: it is of another selection, seed, or supernet.
        """
        if state.get("format") != _FORMAT:
            raise CheckpointError(
                f"a checkpoint of format {state.get('format')!r}, not {_FORMAT} as written here"
            )
        if state["seed"] != self._seed:
            raise CheckpointError(f"selected with seed {state['seed']}, not {self._seed}")
        for key, value in self._config.model_dump(mode="json").items():
            if state["selection"].get(key) != value:
                old = state["selection"].get(key)
                raise CheckpointError(f"selected with {key} {old!r}, not {value!r}")
        self.training.load(state["training"])
        self.num_steps, self.num_decisions = state["num_steps"], state["num_decisions"]
        table = state["timetable"]
        decisions = self.training.decisions
        self._timetable = None if table is None else Timetable.restored(table, decisions)
        self._tuning = state["tuning"]
        self._fallbacks = {(kind, edge): op for kind, edge, op in state["fallbacks"]}

"""The whole job as a state machine: order of things, records, resuming."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raynas.config import Choice
from raynas.errors import CheckpointError, ConfigError, SpaceError
from raynas.selection.answer import Answer
from raynas.selection.config import SelectionConfig, selection_config
from raynas.selection.program import SupernetProgram
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.darts import DartsSpace, S2Space, S3Space
from raynas.spaces.nasbench201 import NasBench201
from raynas.supernets.decisions import Question

from .fakes import FakeTraining, expressed, fake_scorer, without_times

SPACES = [
    DartsSpace(),
    DartsSpace(two_cells=False),
    S2Space(),
    S3Space(),
    NasBench201(),
    NasBench201(ops=["skip_connect", "nor_conv_3x3"]),
    CellSpace(ops=["none", "skip_connect", "nor_conv_3x3"], nodes=3),
]
CONFIGS = [
    {"name": "perturbation"},
    {"name": "perturbation", "mode": "reference"},
    {"name": "perturbation", "criterion": "loss", "joint_cells": True, "order": "sgas"},
    {"name": "perturbation", "order": "entropy", "topology": "magnitude", "tune_epochs": 1},
    {"name": "perturbation", "cumulative": False, "order": "forward", "tune_epochs": 0},
    {"name": "perturbation", "racing": {"z": 1.0, "min_batches": 2}, "num_batches": 5},
    {"name": "magnitude"},
    {"name": "magnitude", "progressive": True},
]


def run(program, score):
    records = []
    while not program.finished:
        records.append(program.step(score))
    return records


def made(space, options, seed=0, **training):
    fake = FakeTraining(space, seed=seed, **training)
    return fake, SupernetProgram(space, fake, SelectionConfig(**options), seed)


@pytest.mark.parametrize("options", CONFIGS, ids=str)
@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_every_selection_ends_with_an_architecture(space, options):
    training, program = made(space, options)
    records = run(program, fake_scorer(training))
    assert program.phase == "done"
    assert training.decisions.complete
    assert space.parse(program.result.text) == program.result
    if options.get("mode") != "reference":
        assert expressed(space.kinds, training.decisions)
    assert [r["step"] for r in records] == list(range(1, len(records) + 1))
    assert json.loads(json.dumps(records)) == records
    decided = [d for r in records for d in r["decisions"]]
    edges = sum(k.num_edges for k in space.kinds)
    assert sum(d["edge"] is not None for d in decided) == edges
    assert sum(d["node"] is not None for d in decided) == sum(len(k.crowded()) for k in space.kinds)
    assert all((r["metrics"] is None) == bool(r["decisions"]) for r in records)


def test_darts_decides_in_17_events_over_81_epochs():
    training, program = made(DartsSpace(), {"mode": "reference"})
    assert program.num_epochs == 3 + 81
    records = run(program, fake_scorer(training))
    assert training.epoch == 3 + 81
    assert training.tuned_from == (3, 0.0025, "constant", 81)
    when = {}
    for record in records:
        for decision in record["decisions"]:
            what = "op" if decision["edge"] is not None else "topology"
            when.setdefault(record["epoch"] - 3, []).append((what, decision["kind"]))
    ops = [("op", "normal"), ("op", "reduce")]
    nodes = [("topology", "normal"), ("topology", "reduce")]
    assert list(when) == list(range(0, 81, 5))
    assert list(when.values()) == [ops] * 14 + [nodes] * 3
    assert sum(r["event"] == "epoch" for r in records) == 84
    assert [r["phase"] for r in records[:4]] == ["search"] * 3 + ["select"]


def test_nasbench201_decides_in_6_events_over_25_epochs():
    training, program = made(NasBench201(), {"mode": "reference"})
    records = run(program, fake_scorer(training))
    assert [r["epoch"] - 3 for r in records if r["decisions"]] == [0, 5, 10, 15, 20, 24]
    assert training.epoch == 3 + 25


def test_passes_over_the_validation_images():
    """240 with 7 ops as published, 100 with 2, 128 in S3 (algorithms.md §3.3), 30."""

    def passes(space, **options):
        asked = []
        training, program = made(space, {"tune_epochs": 0, **options}, search_epochs=0)
        run(program, fake_scorer(training, asked))
        return sum(len(request.options) for request in asked)

    reference = {"mode": "reference"}
    assert passes(DartsSpace(), **reference) == 240
    assert passes(S2Space(), **reference) == 100
    assert passes(S3Space(), **reference) == 128
    assert passes(NasBench201(), **reference) == 30
    # Batches that stay the same need each removal once: 12 of a kind instead of 22.
    assert passes(DartsSpace(), cumulative=False) == 196 + 24
    assert passes(DartsSpace()) == 240
    assert passes(DartsSpace(), topology="magnitude") == 196
    assert passes(DartsSpace(), name="magnitude", progressive=True) == 0


def test_the_second_kind_sees_the_decision_of_the_first_unless_they_are_joint():
    for joint, decided in ((False, 1), (True, 0)):
        asked = []
        options = {"tune_epochs": 0, "joint_cells": joint}
        training, program = made(S2Space(), options, search_epochs=0)
        record = program.step(fake_scorer(training, asked))
        if not joint:
            program.step(fake_scorer(training, asked))
        assert len(record["decisions"]) == 1 + joint
        normal, reduce = asked
        assert normal.mixture.active[0].all()
        assert (~reduce.mixture.active[0]).sum() == decided
        assert reduce.question.kind == 1


def test_magnitude_reads_everything_off_in_one_step():
    training, program = made(S3Space(), {"name": "magnitude"})
    records = run(program, fake_scorer(training))
    assert [r["event"] for r in records] == ["epoch"] * 3 + ["decision"]
    assert len(records[-1]["decisions"]) == 2 * 17
    assert training.tuned_from is None


def test_the_random_order_depends_on_the_seed_alone():
    def edges(seed, search_epochs=3):
        training, program = made(
            DartsSpace(), {"tune_epochs": 0}, seed, search_epochs=search_epochs
        )
        records = run(program, fake_scorer(training))
        return [d["edge"] for r in records for d in r["decisions"]]

    assert edges(0) == edges(0, search_epochs=5)
    assert edges(0) != edges(1)
    assert sorted(edges(0)[:28:2]) == list(range(14)) != edges(0)[:28:2]


def test_no_two_passes_of_the_reference_see_the_same_order():
    asked = []
    training, program = made(S3Space(), {"mode": "reference", "tune_epochs": 0}, search_epochs=0)
    run(program, fake_scorer(training, asked))
    assert len({request.shuffle_seed for request in asked}) == len(asked) == 128
    assert program.num_decisions == 34


@pytest.mark.parametrize("options", [*CONFIGS, {"mode": "reference", "tune_epochs": 2}], ids=str)
@pytest.mark.parametrize("space", [S3Space(), NasBench201()], ids=repr)
def test_a_program_goes_on_where_it_was_saved(space, options):
    training, program = made(space, options)
    expected = without_times(run(program, fake_scorer(training)))
    for stop in (2, 3, len(expected) // 2, len(expected) - 1):
        training, half = made(space, options)
        for _ in range(min(stop, len(expected) - 1)):
            half.step(fake_scorer(training))
        training, later = made(space, options)
        later.load(json.loads(json.dumps(half.save())))
        assert without_times(run(later, fake_scorer(training))) == expected[half.num_steps :]
        assert later.result == program.result


def test_a_finished_program_stays_finished():
    training, program = made(NasBench201(), {"tune_epochs": 1})
    run(program, fake_scorer(training))
    _, later = made(NasBench201(), {"tune_epochs": 1})
    later.load(program.save())
    assert later.finished
    assert later.result == program.result


@pytest.mark.parametrize(
    ("options", "seed", "message"),
    [
        ({"criterion": "loss"}, 0, "selected with criterion 'accuracy', not 'loss'"),
        ({"name": "magnitude"}, 0, "selected with name 'perturbation', not 'magnitude'"),
        ({"racing": {"z": 2.0}}, 0, "selected with racing None, not {'z': 2.0"),
        ({}, 1, "selected with seed 0, not 1"),
    ],
)
def test_a_checkpoint_of_another_selection_is_refused(options, seed, message):
    _, program = made(NasBench201(), {})
    _, other = made(NasBench201(), options, seed)
    with pytest.raises(CheckpointError, match=message):
        other.load(program.save())
    with pytest.raises(CheckpointError, match="format 0"):
        other.load({**program.save(), "format": 0})


# -- methods that decide during the search -------------------------------------------------------


class Greedy(FakeTraining):
    """Decides one edge of each kind after epochs 2, 3, …, as SGAS does."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.asked = {}

    def questions(self):
        due = max(0, self.epoch - 1)
        return [
            Question(k, (1, 2), edge=self.decisions.undecided_edges(k)[0])
            for k in range(len(self.decisions.kinds))
            if self.asked.get(k, 0) < due and self.decisions.undecided_edges(k)
        ]

    def answered(self, question, chosen):
        super().answered(question, chosen)
        self.asked[question.kind] = self.asked.get(question.kind, 0) + 1
        decisions, kind = self.decisions, question.kind
        node = decisions.kinds[kind].edges[question.edge][1]
        edges = decisions.kinds[kind].incoming(node)
        decided = [e for e in edges if decisions.ops[kind][e] is not None]
        if len(decided) == 2 and node in decisions.undecided_nodes(kind):
            decisions.keep_edges(kind, node, decided)

    def save(self):
        return {**super().save(), "asked": [list(item) for item in self.asked.items()]}

    def load(self, state):
        super().load(state)
        self.asked = dict(state["asked"])


@pytest.mark.parametrize("name", ["magnitude", "perturbation"])
def test_a_method_that_decides_itself_leaves_nothing_to_select(name):
    space = S3Space()
    training = Greedy(space, search_epochs=10)
    program = SupernetProgram(space, training, SelectionConfig(name=name), 0)
    records = run(program, fake_scorer(training))
    decided = [(r["epoch"], d["kind"], d["edge"]) for r in records for d in r["decisions"]]
    edges = [0, 1, 2, 3, 5, 6, 9, 10]
    assert decided == [
        (2 + i, kind, edge) for i, edge in enumerate(edges) for kind in ("normal", "reduce")
    ]
    assert {r["phase"] for r in records} == {"search"}
    assert {d["rule"] for r in records for d in r["decisions"]} == {name}
    assert training.epoch == 10
    assert expressed(space.kinds, training.decisions)
    assert training.tuned_from is None


def test_what_a_method_leaves_open_is_selected():
    space = S3Space()
    training = Greedy(space, search_epochs=4)  # three of eight
    program = SupernetProgram(space, training, SelectionConfig(tune_epochs=1), 0)
    records = run(program, fake_scorer(training))
    # Edges 0 to 2 are decided, 3 and 4 go on; then the nodes.
    assert training.epoch == 4 + 11 + 3
    assert expressed(space.kinds, training.decisions)
    assert {r["phase"] for r in records[-5:]} == {"select"}


def test_a_program_goes_on_between_two_decisions_of_a_method():
    space, config = S3Space(), SelectionConfig()
    training = Greedy(space, search_epochs=10)
    program = SupernetProgram(space, training, config, 0)
    expected = without_times(run(program, fake_scorer(training)))
    for stop in (3, 4, 7):
        training = Greedy(space, search_epochs=10)
        program = SupernetProgram(space, training, config, 0)
        for _ in range(stop):
            program.step(fake_scorer(training))
        later_training = Greedy(space, search_epochs=10)
        later = SupernetProgram(space, later_training, config, 0)
        later.load(json.loads(json.dumps(program.save())))
        assert without_times(run(later, fake_scorer(later_training))) == expected[stop:]


@pytest.mark.parametrize("name", ["magnitude", "perturbation"])
def test_pruned_ops_are_out_and_a_single_op_left_needs_no_question(name):
    space, asked = S3Space(), []
    training = FakeTraining(space, search_epochs=0)
    for edge in range(14):
        training.decisions.prune_op(0, edge, 0)
        training.decisions.prune_op(1, edge, 1)
    training.decisions.prune_op(0, 6, 2)
    program = SupernetProgram(space, training, SelectionConfig(name=name), 0)
    records = run(program, fake_scorer(training, asked))
    decided = [d for r in records for d in r["decisions"] if d["edge"] is not None]
    found = {(d["kind"], d["edge"]): d for d in decided}
    assert {d["rule"] for (_, edge), d in found.items() if edge != 6} == {name, "only option"}
    assert all(d["options"] == [2] for (kind, _), d in found.items() if kind == "reduce")
    assert found["normal", 6]["chosen_names"] == ["skip_connect"]
    assert found["normal", 6]["margin"] is None
    edges = [request for request in asked if request.question.edge is not None]
    assert len(edges) == (13 if name == "perturbation" else 0)
    assert expressed(space.kinds, training.decisions)


def test_an_edge_of_none_alone_cannot_be_decided():
    space = S3Space()
    training = FakeTraining(space, search_epochs=0)
    training.decisions.prune_op(0, 3, 1)
    training.decisions.prune_op(0, 3, 2)
    program = SupernetProgram(space, training, SelectionConfig(name="magnitude"), 0)
    with pytest.raises(SpaceError, match="from state 1 to state 3 of the normal cell has no op"):
        program.step(fake_scorer(training))


# -- a user's own, and mistakes --------------------------------------------------------------------


class LastOption:
    """Chooses the last ops, and the last edges."""

    def __init__(self, config):
        self.exclude = config.exclude

    def answer(self, question, situation):
        if question.edge is not None:
            return Answer((question.options[-1],), "last")
        return Answer(question.options[-2:], "last")


def test_a_selection_of_ones_own():
    space = S3Space()
    for config, selection in (
        (selection_config(Choice(name=f"{__name__}:LastOption")), None),
        (SelectionConfig(), LastOption(SelectionConfig())),
    ):
        training = FakeTraining(space)
        program = SupernetProgram(space, training, config, 0, selection)
        run(program, fake_scorer(training))
        cells = space.cells(program.result)
        assert {op for cell in cells for node in cell for op, _ in node} == {"sep_conv_3x3"}
        assert sorted(source for _, source in cells[0][3]) == [3, 4]


class Forbidden(LastOption):
    def answer(self, question, situation):
        return Answer((0,) if question.edge is not None else question.options[:2], "first")


def test_a_selection_of_ones_own_that_chooses_what_cannot_be():
    space = S3Space()
    training = FakeTraining(space)
    config = SelectionConfig(exclude=())
    program = SupernetProgram(space, training, config, 0, Forbidden(config))
    run(program, fake_scorer(training))
    with pytest.raises(SpaceError, match="is no op"):
        _ = program.result


@pytest.mark.parametrize("chosen", [(7,), (1, 2), (), (1, 1)])
def test_a_selection_of_ones_own_that_chooses_what_was_not_asked(chosen):
    class Odd(LastOption):
        def answer(self, question, situation):
            return Answer(chosen, "odd")

    space, config = S3Space(), SelectionConfig()
    training = FakeTraining(space, search_epochs=0)
    program = SupernetProgram(space, training, config, 0, Odd(config))
    with pytest.raises(ConfigError, match=r"selection 'odd' chose .*, not 1 of"):
        program.step(fake_scorer(training))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "perturbatoin"}, "unknown selection 'perturbatoin', did you mean 'perturbation'"),
        ({"exclude": ["skip"]}, "selection.exclude: no op 'skip', did you mean 'skip_connect'"),
        ({"exclude": ["skip_connect", "sep_conv_3x3"]}, "normal cell can have no other op than"),
        ({"criterion": "acc"}, "selection.criterion: 'acc' input should be 'accuracy' or 'loss'"),
        ({"topolgy": "magnitude"}, "selection.topolgy: unknown key, did you mean 'topology'"),
        ({"tune_epochs": -1}, "selection.tune_epochs: -1"),
        ({"racing": {"zz": 1}}, "selection.racing.zz: unknown key, did you mean 'z'"),
        ({"racing": {}, "mode": "reference"}, "selection: racing compares candidates"),
        ({"progressive": False}, "selection: perturbation is progressive"),
        ({"name": "magnitude", "criterion": "loss"}, "selection: magnitude takes no 'criterion'"),
    ],
)
def test_mistakes(options, message):
    def start():
        config = selection_config(Choice(**{"name": "perturbation", **options}))
        SupernetProgram(S3Space(), FakeTraining(S3Space()), config, 0)

    with pytest.raises(ConfigError) as error:
        start()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_program_resumes_anywhere(data):
    space = data.draw(st.sampled_from(SPACES))
    options = data.draw(
        st.fixed_dictionaries(
            {
                "tune_epochs": st.integers(0, 2),
                "order": st.sampled_from(["random", "forward", "entropy", "sgas"]),
                "criterion": st.sampled_from(["accuracy", "loss"]),
                "fixed_batches": st.booleans(),
                "augment": st.booleans(),
                "cumulative": st.booleans(),
                "joint_cells": st.booleans(),
                "exclude": st.sampled_from([None, ()]),
            }
        )
    )
    seed = data.draw(st.integers(0, 1000))
    training, program = made(space, options, seed)
    expected = without_times(run(program, fake_scorer(training)))
    stop = data.draw(st.integers(0, len(expected) - 1))
    training, program = made(space, options, seed)
    for _ in range(stop):
        program.step(fake_scorer(training))
    training, later = made(space, options, seed)
    later.load(json.loads(json.dumps(program.save())))
    assert without_times(run(later, fake_scorer(training))) == expected[stop:]

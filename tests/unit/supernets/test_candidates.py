"""Candidates of a question: the scores of one masked supernet after another, from fewer passes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from raynas.networks.darts_operations import Noise
from raynas.networks.seeding import seeded
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.darts import DartsFamily, DartsSpace, S3Space, S4Space
from raynas.spaces.darts_ops import everywhere
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import TaskShape
from raynas.supernets.build import build_supernet
from raynas.supernets.candidates import leave_out, score_candidates
from raynas.supernets.decisions import Decisions, Question

CPU = torch.device("cpu")
TASK = TaskShape(in_channels=3, image_size=8, num_classes=5)


class Gated(nn.Module):
    """An op of a user's, with a norm and a count of its own."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images):
        self.calls += 1
        return images * torch.sigmoid(self.norm(images))


class OneCell(DartsFamily):
    name = "one_cell"
    edge_ops = everywhere("max_pool_3x3", "dil_conv_3x3")


OWN = {"none": "none", "skip": "skip_connect", "gated": Gated}
SPACES = {
    "darts": DartsSpace(channels=2, layers=3),
    "one cell": OneCell(channels=2, layers=3, two_cells=False),
    "s3": S3Space(channels=2, layers=4),
    "s4": S4Space(channels=2, layers=3),
    "nasbench201": NasBench201(channels=2, cells_per_stage=2),
    "cell": CellSpace(ops=OWN, channels=2, stages=2, cells_per_stage=2, output="concat"),
}


def make(space, *, partial=1, edge_weights=False):
    with seeded(0, CPU):
        supernet = build_supernet(space, TASK, partial=partial).double()
        theta = [torch.rand(k.num_edges, k.num_ops).double() for k in supernet.kinds]
        edges = [torch.rand(k.num_edges).double() for k in supernet.kinds]
        for norm in supernet.norms():
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return supernet, Decisions(supernet.kinds), theta, edges if edge_weights else None


def batches(count=2):
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(3, 3, 8, 8, generator=generator, dtype=torch.float64),
            torch.randint(5, (3,), generator=generator),
        )
        for _ in range(count)
    ]


def one_after_another(supernet, mixture, question, options, data, *, training):
    """The formula: run the masked supernet for each option on each batch."""
    scores = np.zeros((2, len(options), len(data)))
    supernet.train(training)
    supernet.tracking = False
    for row, option in enumerate(options):
        masked = leave_out(supernet, mixture, question, option)
        for column, (images, labels) in enumerate(data):
            logits = supernet(images, masked).detach()
            scores[0, row, column] = (logits.argmax(1) == labels).sum()
            scores[1, row, column] = F.cross_entropy(logits, labels, reduction="sum")
    supernet.tracking = True
    supernet.train()
    return scores


def questions_of(kind, number, rng):
    """An edge from an input, any edge, a node."""
    first = kind.incoming(int(rng.choice(kind.nodes)))[0]
    other = int(rng.choice([edge for edge in range(kind.num_edges) if edge != first]))
    for edge in (first, other):
        yield Question(number, tuple(range(kind.num_ops)), edge=edge)
    node = int(rng.choice(kind.nodes))
    yield Question(number, kind.incoming(node), node=node)


@pytest.mark.parametrize(
    ("name", "norm"),
    [(name, "batch") for name in SPACES if name != "s4"] + [("one cell", "running")],
)
def test_scores_are_those_of_one_after_another(name, norm):
    supernet, decisions, theta, _ = make(SPACES[name])
    rng = np.random.default_rng(0)
    data = batches(1)
    for number, kind in enumerate(supernet.kinds):
        for question in questions_of(kind, number, rng):
            mixture = decisions.mix(theta)
            found = score_candidates(supernet, mixture, question, question.options, data, norm=norm)
            correct, loss = one_after_another(
                supernet, mixture, question, question.options, data, training=norm == "batch"
            )
            np.testing.assert_array_equal(found.correct, correct)
            np.testing.assert_allclose(found.loss, loss, rtol=1e-10)
            np.testing.assert_array_equal(found.count, [3])
            if question.edge is not None:
                decisions.decide_op(number, question.edge, int(rng.integers(kind.num_ops)))


@pytest.mark.parametrize("name", ["s3", "nasbench201"])
def test_scores_with_partial_channels_and_edge_weights(name):
    supernet, decisions, theta, edge_weights = make(SPACES[name], partial=2, edge_weights=True)
    mixture = decisions.mix(theta, edge_weights)
    data = batches(1)
    kind = supernet.kinds[0]
    for question in questions_of(kind, 0, np.random.default_rng(1)):
        found = score_candidates(supernet, mixture, question, question.options, data)
        expected = one_after_another(
            supernet, mixture, question, question.options, data, training=True
        )
        np.testing.assert_allclose(found.loss, expected[1], rtol=1e-10)


@pytest.mark.parametrize("name", ["s4", "nasbench201"])
def test_no_split_of_the_work_changes_a_bit(name):
    supernet, decisions, theta, _ = make(SPACES[name])
    mixture, data = decisions.mix(theta), batches(2)
    number = len(supernet.kinds) - 1
    kind = supernet.kinds[number]
    for question in (
        Question(number, tuple(range(kind.num_ops)), edge=3),
        Question(number, kind.incoming(kind.nodes[-1]), node=kind.nodes[-1]),
    ):
        whole = score_candidates(supernet, mixture, question, question.options, data)
        for row, option in enumerate(question.options):
            for column in range(2):
                part = score_candidates(
                    supernet, mixture, question, [option], data[column : column + 1]
                )
                assert part.loss[0, 0] == whole.loss[row, column]
                assert part.correct[0, 0] == whole.correct[row, column]


def test_noise_is_the_same_for_all_candidates_and_drawn_anew_afterwards():
    supernet, decisions, theta, _ = make(SPACES["s4"])
    question = Question(0, (0, 1), edge=0)
    mixture = decisions.mix(theta)
    mixture.active[0][0] = False  # both options add nothing: one candidate, scored twice
    (batch,) = batches(1)
    first = score_candidates(supernet, mixture, question, (0, 1), [batch, batch])
    assert len(set(first.loss.flatten().tolist())) == 1
    assert all(module.seed is None for module in supernet.modules() if isinstance(module, Noise))


@pytest.mark.parametrize("norm", ["batch", "running"])
def test_supernet_is_left_as_it_was(norm):
    supernet, decisions, theta, _ = make(SPACES["cell"])
    supernet.stages[0].eval()
    supernet.drop_path_probability = 0.5
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    modes = [module.training for module in supernet.modules()]
    question = Question(0, (0, 1, 2), edge=1)
    score_candidates(supernet, decisions.mix(theta), question, (0, 1), batches(), norm=norm)
    for name, value in supernet.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert [module.training for module in supernet.modules()] == modes
    assert supernet.tracking
    assert supernet.drop_path_probability == 0.5


def count_runs(supernet, **call):
    """Return how often each op with weights was run, by number of the stage."""
    runs = np.zeros(len(supernet.stages), dtype=int)
    handles = []
    for number, stage in enumerate(supernet.stages):
        for module in stage.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):

                def count(*_, number=number):
                    runs[number] += 1

                handles.append(module.register_forward_hook(count))
    score_candidates(supernet, **call)
    for handle in handles:
        handle.remove()
    return runs


def test_what_candidates_have_in_common_is_run_once():
    supernet, decisions, theta, _ = make(NasBench201(channels=2, cells_per_stage=1))
    data = batches(1)
    options = tuple(range(5))
    for edge, (source, target) in enumerate(supernet.kinds[0].edges):
        runs = count_runs(
            supernet,
            mixture=decisions.mix(theta),
            question=Question(0, options, edge=edge),
            options=options,
            batches=data,
        )
        # Stages: cell, block (two convolutions), cell, block, cell. A cell has six convolutions;
        # one of the five candidates is without one of them.
        downstream = sum(other >= target for other, _ in supernet.kinds[0].edges)
        assert runs.tolist() == [6 - downstream + 5 * downstream, 10, 29, 10, 29], (source, target)


def test_options_that_add_nothing_are_one_candidate():
    supernet, decisions, theta, _ = make(NasBench201(channels=2, cells_per_stage=1))
    mixture = decisions.mix(theta)
    mixture.active[0][5, 3] = False
    question = Question(0, tuple(range(5)), edge=5)
    call = {"mixture": mixture, "question": question, "batches": batches(1)}
    both = count_runs(supernet, options=(0, 3), **call)
    one = count_runs(supernet, options=(0,), **call)
    assert both.tolist() == one.tolist()
    scores = score_candidates(supernet, mixture, question, (0, 3, 1), batches(1))
    assert scores.loss[0, 0] == scores.loss[1, 0] != scores.loss[2, 0]


def test_none_by_another_name_adds_nothing_either():
    ops = {"empty": "none", "skip": "skip_connect"}
    space = CellSpace(ops=ops, channels=2, stages=1, cells_per_stage=1)
    supernet, decisions, theta, _ = make(space)
    mixture = decisions.mix(theta)
    assert leave_out(supernet, mixture, Question(0, (0, 1), edge=0), 0) is mixture
    assert leave_out(supernet, mixture, Question(0, (0, 1), edge=0), 1) is not mixture


def test_cells_before_the_first_of_the_kind_are_run_once():
    supernet, decisions, theta, _ = make(S3Space(channels=2, layers=6))
    reduce = Question(1, (1, 2), edge=0)
    ran = []
    for number, stage in enumerate(supernet.stages):
        for edge in stage.mixed.edges:
            edge[2].parts[0].depthwise.register_forward_hook(lambda *_, n=number: ran.append(n))
    score_candidates(supernet, decisions.mix(theta), reduce, reduce.options, batches(1))
    # Reduction cells are 2 and 4. The first differs in its first node and so in all the others: in
    # the six edges between nodes. The cell after it differs in all but the four edges out of its
    # first input. One candidate is without one of the two convolutions of edge 0.
    assert [ran.count(number) for number in range(6)] == [14, 14, 8 + 12, 4 + 20, 27, 28]

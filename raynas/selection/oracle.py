"""How good is an op really: discretisation accuracy at convergence (Wang et al., ICLR 2021, §3).

The op is put alone on its edge, everything else of the supernet (mixing weights too) is trained on
until it gets no better, and the accuracy is what the op is worth. Each (edge, op) is a job of its
own. What "converged" means is said nowhere; here it is an option.
"""

from dataclasses import dataclass

from pydantic import Field

from raynas.config import Section
from raynas.selection.config import Norm
from raynas.selection.recalibration import recalibrate
from raynas.selection.scoring import CandidateScore, Request, Scorer, local_scorer, totals
from raynas.selection.training import Trainable
from raynas.supernets.decisions import Question


class OracleConfig(Section):
    """How long to train on, and how to measure.

    Attributes:
        lr: Learning rate of the weights, constant.
        min_epochs: Epochs trained in any case.
        max_epochs: Epochs trained at most.
        patience: Epochs without a better accuracy after which it has converged.
        min_delta: What counts as better, a fraction of the images.
        norm: Statistics of the batch norms while measuring.
        batch_size: Images of a validation batch.
    """

    lr: float = Field(0.0025, gt=0)
    min_epochs: int = Field(20, ge=1)
    max_epochs: int = Field(140, ge=1)
    patience: int = Field(5, ge=1)
    min_delta: float = Field(0.001, ge=0)
    norm: Norm = "batch"
    batch_size: int = Field(64, ge=1)


@dataclass(frozen=True, slots=True)
class OracleStrength:
    """What an op is worth on an edge.

    Attributes:
        kind: Number of the kind of cell.
        edge: The edge.
        op: The op.
        trace: Accuracy before training on, and after each epoch.
        loss_trace: Mean cross-entropy likewise.
        converged: Whether it got no better, rather than ran out of epochs.
    """

    kind: int
    edge: int
    op: int
    trace: tuple[float, ...]
    loss_trace: tuple[float, ...]
    converged: bool

    @property
    def accuracy(self) -> float:
        """The accuracy at convergence: the last one."""
        return self.trace[-1]


def oracle_strength(
    training: Trainable, kind: int, edge: int, op: int, config: OracleConfig | None = None
) -> OracleStrength:
    """Measure what an op is worth on an edge.

    Args:
        training: A copy of the supernet of one's own: it is trained on in place. The edge must be
            undecided.
        kind: Number of the kind of cell.
        edge: The edge.
        op: The op that stands alone on it.
        config: How long, and how to measure.

    Raises:
        TrialError: training diverged.
    """
    config = config or OracleConfig()
    training.decisions.decide_op(kind, edge, op)
    training.begin_tuning(config.lr, "constant", config.max_epochs)
    score = local_scorer(training)
    trace = [_whole(training, score, kind, edge, op, config)]
    best, stale = trace[0].accuracy, 0
    while len(trace) <= config.max_epochs:
        training.train_epoch()
        trace.append(_whole(training, score, kind, edge, op, config))
        better = trace[-1].accuracy > best + config.min_delta
        best, stale = (trace[-1].accuracy, 0) if better else (best, stale + 1)
        if len(trace) > config.min_epochs and stale >= config.patience:
            break
    return OracleStrength(
        kind,
        edge,
        op,
        tuple(one.accuracy for one in trace),
        tuple(one.mean_loss for one in trace),
        stale >= config.patience,
    )


def _whole(
    training: Trainable, score: Scorer, kind: int, edge: int, op: int, config: OracleConfig
) -> CandidateScore:
    """Score the whole supernet: without an op that is not run anyway."""
    if config.norm == "recalibrated":
        recalibrate(training, config.batch_size)
    idle = (op + 1) % training.decisions.kinds[kind].num_ops
    request = Request(
        training.mixture(),
        Question(kind, (idle,), edge=edge),
        (idle,),
        "batch" if config.norm == "batch" else "running",
        config.batch_size,
    )
    return totals((idle,), score(request))[0]

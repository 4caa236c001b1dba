"""Proposition 2: what a Dirichlet distribution over mixing weights does to the curvature.

Chen, Wang et al., "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021, proposition 1; thesis
proposition 2. With the Laplace approximation of the Dirichlet in the softmax basis, whose mean is
``μ_o = log c_o - mean(log c)``, and ``‖c - 1‖ ≤ δ``,

    E[L_val]  ≥  L_val(w, μ) + 1/2 · (1 - 1/|O|) / (1 + δ) · tr(∇²_μ L_val)

to second order and for a positive Hessian. So minimising the left side bounds the trace. Each edge
has a δ of its own here, and the right side adds up the traces of the edges' blocks.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from raynas.diagnostics.diagnostic import Base, Finding, Part, Record, Value
from raynas.diagnostics.drawing import legend, rule, whole_numbers
from raynas.diagnostics.measuring import mixed_edges
from raynas.diagnostics.spectra import hutchinson
from raynas.diagnostics.strength import check_mixes
from raynas.diagnostics.subject import SupernetSubject, some_batches
from raynas.diagnostics.visiting import train_mode
from raynas.diagnostics.wording import figure
from raynas.errors import ConfigError
from raynas.report.palette import ACCENT, INK, SERIES, new_figure
from raynas.supernets.dirichlet import draw_dirichlet
from raynas.supernets.drnas import DrNas
from raynas.supernets.method import masked_softmax
from raynas.supernets.mixture import Active
from raynas.supernets.training import SupernetTraining

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def laplace_mean(concentrations: Tensor, allowed: Active) -> Tensor:
    """Return ``log c - mean(log c)`` of each row: its softmax is the Dirichlet's mean.

    Args:
        concentrations: `E x O`, positive.
        allowed: `E x O`: ops that take part; the others get 0.
    """
    mask = torch.from_numpy(allowed).to(concentrations.device)
    logs = concentrations.log().masked_fill(~mask, 0.0)
    centre = logs.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)
    return (logs - centre).masked_fill(~mask, 0.0)


def coefficient(num_ops: int, delta: float) -> float:
    """Return what the trace of an edge's block is multiplied by: ``(1 - 1/|O|) / (2 (1 + δ))``."""
    return 0.5 * (1 - 1 / num_ops) / (1 + delta)


class Trace(Base[SupernetSubject]):
    """The trace on μ, the bound, and both of its sides, at every checkpoint of the search."""

    title = "What does the Dirichlet distribution do to the curvature?"

    def check(self, subject: SupernetSubject) -> None:
        """Refuse a method that draws from no Dirichlet distributions."""
        if not isinstance(subject.job.method, DrNas):
            raise ConfigError(
                f"trace: is for supernets whose mixing weights are drawn from Dirichlet "
                f"distributions (drnas, drnas_progressive); {subject.job.method.name} draws none"
            )
        check_mixes(subject, "trace", subject.moments[0])

    def parts(self, subject: SupernetSubject) -> list[Part]:
        """Return a part a checkpoint."""
        options = self.options
        given = {"batches": options.batches, "probes": options.probes, "seed": options.seed}
        return [
            Part(f"epoch {moment.epoch}", _measured, {"step": moment.step, **given})
            for moment in subject.moments
        ]

    def conclude(self, subject: SupernetSubject, results: Sequence[Value]) -> Finding:
        """Make a row a checkpoint and edge."""
        rows = []
        for moment, result in zip(subject.moments, results, strict=True):
            if result is None:
                continue
            common = {key: value for key, value in result.items() if key != "edges"}
            rows += [{"epoch": moment.epoch, **common, **edge} for edge in result["edges"]]
        settings = {"batches": self.options.batches, "probes": self.options.probes}
        return Finding(rows, sentences(rows), settings)

    def draw(self, rows: Sequence[Record]) -> "Figure":
        """Draw trace and both sides of the bound over the epochs."""
        drawing = new_figure(8, 3.4)
        left, right = drawing.subplots(1, 2)
        every = by_epoch(rows)
        epochs = [row["epoch"] for row in every]
        traces, errors = ([row[key] for row in every] for key in ("total_trace", "trace_error"))
        left.errorbar(epochs, traces, errors, fmt="o-", color=ACCENT, ms=4)
        left.set(xlabel="epoch of the search")
        left.set_title("trace of the Hessian by μ")
        for key, label, colour, line in (
            ("expected_loss", "E[L] by Monte-Carlo", INK, "o-"),
            ("bound", "right side of the bound", SERIES[0], "s--"),
            ("loss_at_mean", "L at the mean", SERIES[2], "^:"),
        ):
            values = [row[key] for row in every]
            right.plot(epochs, values, line, color=colour, ms=4, lw=1.3, label=label)
        right.set(xlabel="epoch of the search", ylabel="cross-entropy")
        legend(right)
        for axes in (left, right):
            rule(axes)
        whole_numbers(left)
        whole_numbers(right)
        return drawing


def _measured(subject: SupernetSubject, step: int, batches: int, probes: int, seed: int) -> Value:
    """Return traces, δ and both sides of the bound of a checkpoint; None if nothing mixes."""
    training = subject.restored(step)
    edges = mixed_edges(training)
    if not edges:
        return None
    method, decisions = training.method, training.decisions
    assert isinstance(method, DrNas)
    concentrations = [rows.detach() for rows in method.concentrations()]
    means = _means(training, concentrations)
    some = some_batches(training, batches)
    with train_mode(training):
        product = MeanHessian(training, means, some)
        size = sum(mean.numel() for mean in means)
        found = hutchinson(product, size, probes, torch.Generator().manual_seed(seed))
        at_mean = float(loss_of(training, means, some).detach())
        expected = _expected_loss(training, concentrations, some, probes, seed)
    blocks = torch.split(found.diagonal, [mean.numel() for mean in means])
    traces = [b.reshape(m.shape).sum(dim=1) for b, m in zip(blocks, means, strict=True)]
    rows: list[Record] = []
    for kind, edge in edges:
        columns = np.flatnonzero(decisions.allowed(kind)[edge]).tolist()
        delta = float((concentrations[kind][edge, columns] - 1).norm())
        rows.append(
            {
                "kind": decisions.kinds[kind].name,
                "edge": edge,
                "delta": delta,
                "coefficient": coefficient(len(columns), delta),
                "trace": float(traces[kind][edge]),
            }
        )
    return {
        "total_trace": found.trace,
        "trace_error": found.error,
        "loss_at_mean": at_mean,
        "expected_loss": expected[0],
        "expected_loss_error": expected[1],
        "bound": at_mean + sum(row["coefficient"] * row["trace"] for row in rows),
        "edges": rows,
    }


def _means(training: SupernetTraining, concentrations: Sequence[Tensor]) -> list[Tensor]:
    """Return μ of each kind, to be differentiated by."""
    allowed = (training.decisions.allowed(kind) for kind in range(len(concentrations)))
    pairs = zip(concentrations, allowed, strict=True)
    return [laplace_mean(rows, active).requires_grad_() for rows, active in pairs]


def loss_of(
    training: SupernetTraining, means: Sequence[Tensor], batches: Sequence[tuple[Tensor, Tensor]]
) -> Tensor:
    """Return the mean loss with mixing weights ``softmax(μ)``, with gradient by μ."""
    theta = [
        masked_softmax(mean, training.decisions.allowed(kind)) for kind, mean in enumerate(means)
    ]
    mixture = training.method.mix(theta)
    losses = [F.cross_entropy(training.supernet(images, mixture), y) for images, y in batches]
    return torch.stack(losses).mean()


class MeanHessian:
    """The product with the Hessian of `loss_of` by all of μ in turn.

    Args:
        training: The supernet, in train mode and with w frozen.
        means: μ of each kind.
        batches: Images and labels.
    """

    def __init__(
        self,
        training: SupernetTraining,
        means: Sequence[Tensor],
        batches: Sequence[tuple[Tensor, Tensor]],
    ) -> None:
        self._means = list(means)
        loss = loss_of(training, means, batches)
        self._slopes = _flat(torch.autograd.grad(loss, self._means, create_graph=True))

    def __call__(self, vector: Tensor) -> Tensor:
        """Return the product with a vector, `n` to `n`."""
        along = vector.to(self._slopes)
        return _flat(torch.autograd.grad(self._slopes, self._means, along, retain_graph=True))


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


@torch.no_grad()
def _expected_loss(
    training: SupernetTraining,
    concentrations: Sequence[Tensor],
    batches: Sequence[tuple[Tensor, Tensor]],
    draws: int,
    seed: int,
) -> tuple[float, float]:
    """Return the mean loss over mixing weights drawn from the distributions; its standard error."""
    generator = torch.Generator(concentrations[0].device).manual_seed(seed)
    losses = []
    for _ in range(draws):
        theta = [
            draw_dirichlet(rows, training.decisions.allowed(kind), generator)
            for kind, rows in enumerate(concentrations)
        ]
        mixture = training.method.mix(theta)
        of = [F.cross_entropy(training.supernet(images, mixture), y) for images, y in batches]
        losses.append(float(torch.stack(of).mean()))
    return float(np.mean(losses)), float(np.std(losses, ddof=1) / draws**0.5)


def by_epoch(rows: Sequence[Record]) -> list[Record]:
    """Return a row a checkpoint: what all its edges have in common."""
    return list({row["epoch"]: row for row in rows}.values())


def sentences(rows: Sequence[Record]) -> list[str]:
    """Say what the trace is, and whether the bound holds."""
    every = by_epoch(rows)
    last = every[-1]
    deltas = [row["delta"] for row in rows if row["epoch"] == last["epoch"]]
    holds = last["expected_loss"] >= last["bound"]
    told = [
        f"After epoch {last['epoch']} the trace by μ is {figure(last['total_trace'])} ± "
        f"{figure(last['trace_error'])}; ‖c − 1‖ is {figure(float(np.mean(deltas)))} on the mean "
        f"edge and {figure(max(deltas))} at most.",
        f"The bound puts E[L] at {figure(last['bound'], 3)} or more, Monte-Carlo at "
        f"{figure(last['expected_loss'], 3)} ± {figure(last['expected_loss_error'], 3)}: it "
        f"{'holds' if holds else 'does not hold'} there.",
    ]
    if len(every) > 1:
        told[0] = (
            told[0][:-1]
            + f"; at epoch {every[0]['epoch']} the trace was "
            + (f"{figure(every[0]['total_trace'])}.")
        )
    return told

"""Proposition 1: what θ of a skip would be if edges did nothing but estimate the same features.

Wang et al., "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021, proposition 1;
thesis §2.4. A residual network's parts all estimate the same feature map ``m*``. The mixture
``θ_c o(x) + θ_s x`` that estimates it with the least variance has

    θ_c = (A - K) / (A + B - 2 K)    θ_s = (B - K) / (A + B - 2 K)

with ``A = Var(x - m*)``, ``B = Var(o(x) - m*)``, K their covariance: the skip gets the larger
weight because what it passes on is closer to ``m*``, not because the op is worth nothing.

Here ``m*`` of a node is the mean of what its edges mix, each at equal scale: mean 0 and variance 1
over images, channels and pixels. So are x and o(x). Where the skip halves the image, x is what it
makes of its source.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from raynas.diagnostics.diagnostic import Base, Finding, Part, Record, Value
from raynas.diagnostics.drawing import rule
from raynas.diagnostics.skip_gap import check_skips
from raynas.diagnostics.strength import check_mixes
from raynas.diagnostics.subject import SupernetSubject, some_batches
from raynas.diagnostics.visiting import Visit, cells_of, train_mode
from raynas.diagnostics.wording import counted, figure, known
from raynas.predictor.metrics import spearman
from raynas.report.palette import MUTED, SERIES, new_figure
from raynas.supernets.metrics import SKIP, WITHOUT_PARAMETERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Moments = tuple[float, float, float]
"""A, B and K."""


def optimal_theta(a: float, b: float, k: float = 0.0) -> tuple[float, float]:
    """Return the weights of op and skip that estimate ``m*`` with the least variance.

    Args:
        a: ``Var(x - m*)``.
        b: ``Var(o(x) - m*)``.
        k: Covariance of the two.

    Returns:
        ``θ_c, θ_s``, which add up to 1; NaN if op and skip are the same, and any weight does.
    """
    whole = a + b - 2 * k  # Var(o(x) - x)
    if whole <= 1e-12 * max(abs(a), abs(b), 1e-300):
        return math.nan, math.nan
    return (a - k) / whole, (b - k) / whole


class Estimation(Base[SupernetSubject]):
    """Predicted against actual share of the skip, for each edge and op with parameters."""

    title = "Is θ what Proposition 1 says it would be?"

    def check(self, subject: SupernetSubject) -> None:
        """Refuse a space without skips beside ops with parameters, or where nothing mixes."""
        check_skips(subject, "estimation")
        check_mixes(subject, "estimation")

    def parts(self, subject: SupernetSubject) -> list[Part]:
        """Return one part: a few forward passes."""
        given = {"step": subject.end.step, "batches": self.options.batches}
        return [Part("what edges pass on", _measured, given)]

    def conclude(self, subject: SupernetSubject, results: Sequence[Value]) -> Finding:
        """Make a row an edge and op beside the skip."""
        theta = subject.restored(subject.end.step).theta()
        rows = []
        for one in results[0]:
            kind, edge, op = subject.kinds[one["kind"]], one["edge"], one["op"]
            source, target = kind.edges[edge]
            row = theta[one["kind"]][edge].double().cpu()
            skip, other = float(row[kind.ops[edge].index(SKIP)]), float(row[op])
            _, predicted = optimal_theta(one["A"], one["B"], one["K"])
            rows.append(
                {
                    "kind": kind.name,
                    "edge": edge,
                    "source": source,
                    "target": target,
                    "op": kind.ops[edge][op],
                    "A": one["A"],
                    "B": one["B"],
                    "K": one["K"],
                    "predicted_skip": known(predicted),
                    "actual_skip": skip / (skip + other),
                }
            )
        settings = {"batches": self.options.batches, "epoch": subject.end.epoch}
        return Finding(rows, sentences(rows), settings)

    def draw(self, rows: Sequence[Record]) -> "Figure":
        """Draw actual against predicted share of the skip."""
        drawing = new_figure(5.2, 4.4)
        axes = drawing.subplots()
        there = [row for row in rows if row["predicted_skip"] is not None]
        axes.axhline(0.5, color=MUTED, lw=0.8)
        axes.axvline(0.5, color=MUTED, lw=0.8)
        values = [row[key] for row in there for key in ("predicted_skip", "actual_skip")]
        low, high = min([*values, 0.4]), max([*values, 0.6])
        axes.plot([low, high], [low, high], "--", color=MUTED, lw=1, label="as predicted")
        for number, kind in enumerate(dict.fromkeys(row["kind"] for row in there)):
            of = [row for row in there if row["kind"] == kind]
            xs, ys = ([row[key] for row in of] for key in ("predicted_skip", "actual_skip"))
            axes.plot(xs, ys, "o", color=SERIES[number], ms=5, label=f"{kind} cell")
        axes.set(xlabel="share of the skip by Proposition 1", ylabel="its share in θ")
        rule(axes, axis="both")
        axes.legend(loc="best")
        return drawing


def _measured(subject: SupernetSubject, step: int, batches: int) -> Value:
    """Return A, B and K of each edge and op beside the skip, the mean over cells and batches."""
    training = subject.restored(step)
    mixture, found = training.mixture(), defaultdict(list)
    theta = [rows.double() for rows in mixture.weights]
    with train_mode(training), torch.no_grad():
        for images, _ in some_batches(training, batches):
            for visit in cells_of(training.supernet, images, mixture):
                for edge, op, moments in moments_of(visit, theta[visit.kind]):
                    found[visit.kind, edge, op].append(moments)
    return [
        {"kind": kind, "edge": edge, "op": op, **_mean(all_moments)}
        for (kind, edge, op), all_moments in found.items()
    ]


def moments_of(visit: Visit, theta: Tensor) -> Iterator[tuple[int, int, Moments]]:
    """Yield edge, op and moments of each op with parameters that stands beside a skip.

    Args:
        visit: A cell and its states in one forward pass.
        theta: `E x O` float64 weights that it mixes with.
    """
    kind = visit.cell.kind
    for node in kind.nodes:
        outputs = {edge: visit.outputs(edge) for edge in kind.incoming(node)}
        mixed = [_scaled(_mixed(outputs[edge], theta[edge])) for edge in outputs]
        features = torch.stack([one for one in mixed if one is not None]).mean(dim=0)
        for edge, of_edge in outputs.items():
            ops = kind.ops[edge]
            skip = _scaled(of_edge.get(ops.index(SKIP))) if SKIP in ops else None
            if skip is None:
                continue
            for op, output in of_edge.items():
                scaled = None if ops[op] in WITHOUT_PARAMETERS else _scaled(output)
                if scaled is not None:
                    yield edge, op, _moments(skip - features, scaled - features)


def _moments(first: Tensor, second: Tensor) -> Moments:
    first, second = first - first.mean(), second - second.mean()
    pairs = ((first, first), (second, second), (first, second))
    a, b, k = (float((one * other).mean()) for one, other in pairs)
    return a, b, k


def _mixed(outputs: dict[int, Tensor], theta: Tensor) -> Tensor | None:
    if not outputs:
        return None
    return torch.stack([theta[op] * output.double() for op, output in outputs.items()]).sum(dim=0)


def _scaled(output: Tensor | None) -> Tensor | None:
    """Return an output at mean 0 and variance 1, float64; None if it is constant."""
    if output is None:
        return None
    output = output.double()
    deviation = output.std(correction=0)
    return None if float(deviation) < 1e-12 else (output - output.mean()) / deviation


def _mean(all_moments: Sequence[Moments]) -> dict[str, float]:
    columns = zip(*all_moments, strict=True)
    return dict(zip("ABK", (sum(c) / len(c) for c in columns), strict=True))


def sentences(rows: Sequence[Record]) -> list[str]:
    """Say how often skips should get the larger weight, and how often they have it."""
    there = [row for row in rows if row["predicted_skip"] is not None]
    if not there:
        return ["Op and skip pass on the same on every edge, so any weight would do."]
    predicted = [row["predicted_skip"] for row in there]
    actual = [row["actual_skip"] for row in there]
    rho = known(spearman(predicted, actual))
    pairs = counted(len(there), "pair")
    return [
        f"Of {pairs} of a skip and an op with parameters, Proposition 1 gives the skip the larger "
        f"weight in {sum(p > 0.5 for p in predicted)}, and θ in {sum(a > 0.5 for a in actual)}.",
        f"Mean share of the skip: {figure(sum(predicted) / len(there))} predicted, "
        f"{figure(sum(actual) / len(there))} in θ; Spearman of the two over the pairs "
        f"{figure(rho)}.",
    ]

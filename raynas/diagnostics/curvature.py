"""The Hessian of the validation loss by α: does the loss look the same in every direction?

Selection by magnitude is right to second order if the Hessian is a multiple of the identity (thesis
eq. 2.2 to 2.3). Its dominant eigenvalue grows before a search fails (Zela et al., "Understanding
and Robustifying Differentiable Architecture Search", ICLR 2020, §4).

As published, the network is in train mode and the loss has α's weight decay in it. Each number is
of the mean Hessian over some fixed batches, the eigenvalue the mean over batches of each one's own.
"""

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from raynas.diagnostics.diagnostic import Base, Finding, Part, Record, Value
from raynas.diagnostics.drawing import legend, rule, whole_numbers
from raynas.diagnostics.measuring import Edge, allowed_ops, mixed_edges
from raynas.diagnostics.spectra import contrasts, shape_of
from raynas.diagnostics.strength import check_mixes
from raynas.diagnostics.subject import Moment, SupernetSubject, some_batches
from raynas.diagnostics.visiting import train_mode
from raynas.diagnostics.wording import counted, figure, percent
from raynas.report.palette import ACCENT, MUTED, SERIES, new_figure
from raynas.supernets.curvature import Product, dense, hessian_product, lanczos
from raynas.supernets.training import SupernetTraining

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXACT_UP_TO = 512
"""Entries of α up to which the whole Hessian is made; beyond, only Lanczos is run."""

LANCZOS_ITERATIONS = 20

GROWTH = 1.3
"""Growth of the eigenvalue at which Zela et al. stop a search."""


class Curvature(Base[SupernetSubject]):
    """Gradient and Hessian of α at every checkpoint of the search that is left."""

    title = "How sharp is the loss along α?"

    def check(self, subject: SupernetSubject) -> None:
        """Refuse a supernet that mixes nothing at its first checkpoint."""
        check_mixes(subject, "curvature", subject.moments[0])

    def parts(self, subject: SupernetSubject) -> list[Part]:
        """Return a part a checkpoint."""
        return [
            Part(f"epoch {moment.epoch}", _measured, self._given(moment))
            for moment in subject.moments
        ]

    def _given(self, moment: Moment) -> dict[str, int]:
        return {"step": moment.step, "batches": self.options.batches}

    def conclude(self, subject: SupernetSubject, results: Sequence[Value]) -> Finding:
        """Make a row a checkpoint."""
        rows = [
            {"epoch": moment.epoch, "accuracy": moment.accuracy, **result}
            for moment, result in zip(subject.moments, results, strict=True)
            if result is not None
        ]
        settings = {
            "batches": self.options.batches,
            "batch_size": subject.job.training.batch_size,
            "exact_up_to": EXACT_UP_TO,
            "lanczos_iterations": LANCZOS_ITERATIONS,
        }
        return Finding(rows, sentences(rows), settings)

    def draw(self, rows: Sequence[Record]) -> "Figure":
        """Draw eigenvalue and gradient over the epochs, and the last spectrum."""
        drawing = new_figure(8, 3.4)
        left, right = drawing.subplots(1, 2)
        epochs = [row["epoch"] for row in rows]
        for key, label, colour, line in (
            ("eigenvalue", "largest eigenvalue", ACCENT, "o-"),
            ("lanczos", "the same by Lanczos", SERIES[0], "o"),
            ("gradient_norm", "norm of the gradient", MUTED, "s--"),
        ):
            ring = {"mfc": "none", "ms": 9} if key == "lanczos" else {"ms": 5}
            values = [np.nan if row[key] is None else row[key] for row in rows]
            if not np.isnan(values).all():
                left.plot(epochs, values, line, color=colour, lw=1.3, label=label, **ring)
        left.set(xlabel="epoch of the search", ylim=(0, None))
        legend(left)
        spectrum = rows[-1]["spectrum"]
        if spectrum is None:
            right.set_axis_off()
        else:
            places = range(1, len(spectrum) + 1)
            right.axhline(0, color=MUTED, lw=0.8)
            right.plot(places, spectrum[::-1], "o", color=SERIES[0], ms=3)
            right.set(xlabel="number of the eigenvalue, largest first")
            right.set_title(f"spectrum after epoch {epochs[-1]}")
            rule(right)
        rule(left)
        whole_numbers(left)
        return drawing


def _measured(subject: SupernetSubject, step: int, batches: int) -> Value:
    """Return the figures of a checkpoint; None if nothing mixes there."""
    training = subject.restored(step)
    edges = mixed_edges(training)
    if not edges:
        return None
    free, counts = free_entries(training, edges)
    slopes, matrices, largest, by_lanczos = [], [], [], []
    with train_mode(training) as bilevel:
        for images, labels in some_batches(training, batches):
            product, slope = hessian_product(bilevel, training.method, images, labels)
            own = _among(product, free, len(slope))
            slopes.append(slope.double().cpu()[free])
            by_lanczos.append(lanczos(own, len(free), LANCZOS_ITERATIONS))
            if len(free) <= EXACT_UP_TO:
                matrices.append(dense(own, len(free)))
                largest.append(float(torch.linalg.eigvalsh(matrices[-1])[-1]))
    gradient = torch.stack(slopes).mean(dim=0)
    found: Record = {
        "entries": len(free),
        "gradient_norm": float(gradient.norm()),
        "lanczos": sum(by_lanczos) / len(by_lanczos),
    }
    return found | _of_matrix(matrices, largest, counts)


def _of_matrix(matrices: list[Tensor], largest: list[float], counts: list[int]) -> Record:
    if not matrices:
        keys = ("eigenvalue", "eigenvalue_std", "condition", "contrast_condition")
        return dict.fromkeys((*keys, "off_diagonal_mass", "diagonal", "spectrum"))
    whole = torch.stack(matrices).mean(dim=0)
    basis = contrasts(counts)
    shape = shape_of(whole)
    return {
        "eigenvalue": sum(largest) / len(largest),
        "eigenvalue_std": float(np.std(largest)),
        "condition": shape.condition,
        "contrast_condition": shape_of(basis.T @ whole @ basis).condition,
        "off_diagonal_mass": shape.off_diagonal,
        "diagonal": shape.diagonal,
        "spectrum": shape.spectrum,
    }


def free_entries(training: SupernetTraining, edges: Sequence[Edge]) -> tuple[Tensor, list[int]]:
    """Return places of α that still mix, in the vector of all α; and how many are of each edge."""
    starts = [0]
    for kind in training.decisions.kinds:
        starts.append(starts[-1] + kind.num_edges * kind.num_ops)
    places, counts = [], []
    for kind, of_kind in groupby(edges, key=lambda edge: edge[0]):
        width = training.decisions.kinds[kind].num_ops
        for _, edge in of_kind:
            ops = allowed_ops(training, kind, edge)
            places += [starts[kind] + edge * width + op for op in ops]
            counts.append(len(ops))
    return torch.tensor(places), counts


def _among(product: Product, free: Tensor, size: int) -> Product:
    """Return the product with the rows and columns of some places alone."""

    def among(vector: Tensor) -> Tensor:
        padded = torch.zeros(size, dtype=vector.dtype)
        padded[free] = vector.cpu()
        return product(padded).cpu()[free]

    return among


def sentences(rows: Sequence[Record]) -> list[str]:
    """Say how the eigenvalue went, and how far the Hessian is from a multiple of the identity."""
    first, last = rows[0], rows[-1]
    if last["eigenvalue"] is None:
        return [
            f"The largest eigenvalue (Lanczos, {last['entries']} entries of α) is "
            f"{figure(last['lanczos'], 3)} after epoch {last['epoch']}; the whole Hessian is made "
            f"up to {EXACT_UP_TO} entries."
        ]
    told = [
        f"After epoch {last['epoch']} the largest of {last['entries']} eigenvalues is "
        f"{figure(last['eigenvalue'], 3)} and the gradient's norm "
        f"{figure(last['gradient_norm'], 3)}.",
        "Magnitude is right to second order if the Hessian is a multiple of the identity: here "
        f"{percent(last['off_diagonal_mass'], 0)} of its absolute entries lie beside the diagonal, "
        "and its condition number, where a softmax can see it, is "
        f"{last['contrast_condition']:.3g}.",
    ]
    if len(rows) > 1 and first["eigenvalue"] > 0:
        growth = last["eigenvalue"] / first["eigenvalue"]
        spiked = max(b["eigenvalue"] / a["eigenvalue"] for a, b in pairwise(rows))
        told.append(
            f"Over {counted(len(rows), 'checkpoint')} the eigenvalue changed by a factor of "
            f"{growth:.2f}, from one to the next by {spiked:.2f} at most (Zela et al. end a search "
            f"at {GROWTH:g})."
        )
    return told

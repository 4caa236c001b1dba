"""Do mixing weights say which ops matter? On some edges, α beside two measures of strength.

Wang et al., "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021, figure 1; thesis
figure 2.1. Oracle strength is the accuracy that the supernet converges to with the op alone on its
edge (`raynas.selection.oracle`), perturbation strength the accuracy it loses without the op.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from raynas.diagnostics.diagnostic import Base, Finding, Part, Record, Value
from raynas.diagnostics.drawing import edge_label, grouped_bars, rule
from raynas.diagnostics.measuring import (
    Edge,
    allowed_ops,
    mixed_edges,
    oracle_part,
    perturbation_part,
)
from raynas.diagnostics.subject import Moment, SupernetSubject
from raynas.diagnostics.wording import counted, figure, known, mean, percent
from raynas.errors import ConfigError
from raynas.predictor.metrics import kendall_tau, spearman
from raynas.report.palette import INK, new_figure
from raynas.seeds import derive_rng

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DEFAULT_ORACLE_EPOCHS = 10


class Strength(Base[SupernetSubject]):
    """α, oracle and perturbation strength of each op of some edges."""

    title = "Do mixing weights say which ops matter?"

    def check(self, subject: SupernetSubject) -> None:
        """Refuse a supernet in which everything was decided while it trained."""
        check_mixes(subject, "strength")

    @property
    def oracle_epochs(self) -> int:
        """Epochs of training on, at most."""
        return self.options.oracle_epochs or DEFAULT_ORACLE_EPOCHS

    def edges(self, subject: SupernetSubject) -> list[Edge]:
        """Return the edges that are looked at, in order."""
        edges = mixed_edges(subject.restored(subject.end.step))
        if self.options.edges == "all" or self.options.edges >= len(edges):
            return edges
        rng = derive_rng(self.options.seed, "edges of strength")
        drawn = rng.choice(len(edges), size=self.options.edges, replace=False)
        return [edges[i] for i in sorted(drawn.tolist())]

    def parts(self, subject: SupernetSubject) -> list[Part]:
        """Return a part an edge, and one for each op of it."""
        training, parts = subject.restored(subject.end.step), []
        for edge in self.edges(subject):
            parts.append(perturbation_part(subject, edge))
            parts += [
                oracle_part(subject, edge, op, self.oracle_epochs)
                for op in allowed_ops(training, *edge)
            ]
        return parts

    def conclude(self, subject: SupernetSubject, results: Sequence[Value]) -> Finding:
        """Put the three beside each other, a row an op."""
        training, rows = subject.restored(subject.end.step), []
        theta = [part.double().cpu() for part in training.theta()]
        left = iter(results)
        for number, edge in self.edges(subject):
            kind, masked = subject.kinds[number], next(left)
            source, target = kind.edges[edge]
            of_edge = []
            for scored, column in zip(
                masked["ops"], allowed_ops(training, number, edge), strict=True
            ):
                oracle = next(left)
                of_edge.append(
                    {
                        "kind": kind.name,
                        "edge": edge,
                        "source": source,
                        "target": target,
                        "op": kind.ops[edge][column],
                        "theta": float(theta[number][edge, column]),
                        "oracle_accuracy": oracle["accuracy"],
                        "oracle_epochs": oracle["epochs"],
                        "converged": oracle["converged"],
                        "accuracy_without": scored["accuracy"],
                        "perturbation_strength": masked["whole"] - scored["accuracy"],
                        "error": oracle["error"],
                    }
                )
            rows += [{**row, **agreement(of_edge)} for row in of_edge]
        settings = {"oracle_epochs": self.oracle_epochs, "epoch": subject.end.epoch}
        return Finding(rows, sentences(rows, self.oracle_epochs), settings)

    def draw(self, rows: Sequence[Record]) -> "Figure":
        """Draw the three measures above each other, a group of bars an edge."""
        edges = by_edge(rows)
        drawing = new_figure(max(5.5, 1.5 + 1.1 * len(edges)), 6.2)
        panels = drawing.subplots(3, 1, sharex=True)
        names = list(dict.fromkeys(str(row["op"]) for row in rows))
        measures = (
            ("theta", "θ", 1.0),
            ("oracle_accuracy", "accuracy with it alone, % (cut off below)", 100.0),
            ("perturbation_strength", "accuracy lost without it, %", 100.0),
        )
        for axes, (key, label, scale) in zip(panels, measures, strict=True):
            _draw_measure(axes, edges, names, key, scale)
            axes.set_title(label)
        if len(edges) > 6:
            panels[-1].tick_params(axis="x", rotation=60)
        drawing.legend(
            *panels[0].get_legend_handles_labels(),
            loc="outside upper left",
            ncols=min(4, len(names)),
            title="▼ the strongest on its edge",
            alignment="left",
        )
        return drawing


def _draw_measure(
    axes: "Axes", edges: list[list[Record]], names: list[str], key: str, scale: float
) -> None:
    def height(of_edge: list[Record], op: str) -> float:
        found = [row[key] for row in of_edge if row["op"] == op and row[key] is not None]
        return scale * float(found[0]) if found else float("nan")

    labels = [edge_label(r[0]["kind"], r[0]["source"], r[0]["target"]) for r in edges]
    heights = {op: [height(of_edge, op) for of_edge in edges] for op in names}
    grouped_bars(axes, labels, list(heights.items()))
    width = 0.8 / len(names)
    for group, of_edge in enumerate(edges):
        for best in strongest(of_edge, key):
            place = group - 0.4 + width * (names.index(best["op"]) + 0.5)
            top = max(0.0, heights[best["op"]][group])
            axes.plot(place, top, marker=7, color=INK, ms=6, clip_on=False, zorder=3)
    shown = [h for row in heights.values() for h in row if h == h]
    if key == "oracle_accuracy" and shown:  # accuracies are close: from a little below the least
        low, high = min(shown), max(shown)
        span = max(0.5, high - low)
        axes.set_ylim(max(0.0, low - span), high + 0.35 * span)
    else:
        axes.margins(y=0.2)
    rule(axes)


def check_mixes(subject: SupernetSubject, name: str, moment: Moment | None = None) -> None:
    """Raise `ConfigError` if no edge mixes any more at a checkpoint (None: the latest)."""
    moment = moment or subject.end
    if not mixed_edges(subject.restored(moment.step)):
        raise ConfigError(
            f"{name}: every edge was decided while {subject.folder.name} trained, so none mixes "
            f"ops after epoch {moment.epoch}"
        )


def by_edge(rows: Sequence[Record]) -> list[list[Record]]:
    """Return the rows of each edge."""
    return [list(group) for _, group in groupby(rows, key=lambda r: (r["kind"], r["edge"]))]


def strongest(of_edge: Sequence[Record], key: str) -> list[Record]:
    """Return the rows with the largest value: several on ties, none if there is no value."""
    there = [row for row in of_edge if row[key] is not None]
    most = max((row[key] for row in there), default=None)
    return [row for row in there if row[key] == most]


def agreement(of_edge: Sequence[Record]) -> dict[str, float | None]:
    """Return Spearman's and Kendall's coefficients of θ and each strength, and of the two."""
    pairs = {
        "theta_oracle": ("theta", "oracle_accuracy"),
        "theta_perturbation": ("theta", "perturbation_strength"),
        "oracle_perturbation": ("oracle_accuracy", "perturbation_strength"),
    }
    found: dict[str, float | None] = {}
    for name, (one, other) in pairs.items():
        both = [(r[one], r[other]) for r in of_edge if None not in (r[one], r[other])]
        first, second = [a for a, _ in both], [b for _, b in both]
        there = len(both) > 1  # what diverged has no strength
        found[f"spearman_{name}"] = known(spearman(first, second)) if there else None
        found[f"kendall_{name}"] = known(kendall_tau(first, second)) if there else None
    return found


def sentences(rows: Sequence[Record], oracle_epochs: int) -> list[str]:
    """Say how far θ agrees with either strength."""
    edges = by_edge(rows)

    def misled(key: str) -> int:
        pairs = [(strongest(edge, "theta"), strongest(edge, key)) for edge in edges]
        return sum(not any(top in best for top in tops) for tops, best in pairs if best)

    oracle = mean([e[0]["spearman_theta_oracle"] for e in edges])
    masked = mean([e[0]["spearman_theta_perturbation"] for e in edges])
    open_ended = sum(not row["converged"] for row in rows)
    told = [
        f"On {misled('oracle_accuracy')} of {counted(len(edges), 'edge')} the op with the largest "
        f"θ is not the one the supernet does best with alone, and on "
        f"{misled('perturbation_strength')} not the one it misses most: mean Spearman of θ with "
        f"the oracle {figure(oracle)}, with perturbation {figure(masked)}.",
    ]
    if open_ended:
        told.append(
            f"{open_ended} of {len(rows)} oracle trainings had not converged after "
            f"{counted(oracle_epochs, 'epoch')} (--oracle-epochs)."
        )
    tops = [(strongest(e, "theta")[0], strongest(e, "oracle_accuracy")) for e in edges]
    underrated = [(top["theta"] - best[0]["theta"], best[0]) for top, best in tops if best]
    if underrated and max(gap for gap, _ in underrated) > 0:
        _, row = max(underrated, key=lambda pair: pair[0])
        told.append(
            f"The most underrated is {row['op']} on "
            f"{edge_label(row['kind'], row['source'], row['target'])}: θ {row['theta']:.2f}, yet "
            f"{percent(row['oracle_accuracy'])} alone, the most on its edge."
        )
    return told

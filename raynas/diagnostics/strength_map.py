"""Which op α would pick on each edge of the normal cell, and which one serves it best.

Wang et al., "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021, figure 2; thesis
figure 2.2.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from raynas.diagnostics.diagnostic import Base, Finding, Part, Record, Value
from raynas.diagnostics.drawing import legend, rule
from raynas.diagnostics.measuring import (
    Edge,
    allowed_ops,
    mixed_edges,
    oracle_part,
    perturbation_part,
)
from raynas.diagnostics.strength import check_mixes
from raynas.diagnostics.subject import SupernetSubject
from raynas.diagnostics.wording import counted
from raynas.report.palette import ACCENT, GRID, INK, SERIES, new_figure
from raynas.selection.config import SelectionConfig
from raynas.spaces.cell import NONE
from raynas.supernets.decisions import expressible
from raynas.supernets.training import SupernetTraining

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class StrengthMap(Base[SupernetSubject]):
    """For each edge the op with the largest α and the strongest op."""

    title = "Which op would α pick, and which one serves the edge best?"

    def check(self, subject: SupernetSubject) -> None:
        """Refuse a supernet in which everything was decided while it trained."""
        check_mixes(subject, "strength_map")

    def edges(self, subject: SupernetSubject) -> list[Edge]:
        """Return the edges of the normal cell (of the first kind that mixes)."""
        edges = mixed_edges(subject.restored(subject.end.step))
        return [edge for edge in edges if edge[0] == edges[0][0]]

    def parts(self, subject: SupernetSubject) -> list[Part]:
        """Return a part an edge; with an oracle, one for each op too."""
        training, parts, epochs = self._supernet(subject), [], self.options.oracle_epochs
        for edge in self.edges(subject):
            parts.append(perturbation_part(subject, edge))
            if epochs is not None:
                ops = _candidates(training, *edge)
                parts += [oracle_part(subject, edge, op, epochs) for op in ops]
        return parts

    def conclude(self, subject: SupernetSubject, results: Sequence[Value]) -> Finding:
        """Make a row an edge."""
        training, epochs = self._supernet(subject), self.options.oracle_epochs
        size, left, rows = SelectionConfig().batch_size, iter(results), []
        for number, edge in self.edges(subject):
            kind, masked = subject.kinds[number], next(left)
            ops, theta = _candidates(training, number, edge), training.theta()[number][edge]
            source, target = kind.edges[edge]
            without = {scored["op"]: scored["accuracy"] for scored in masked["ops"]}
            most = max(float(theta[op]) for op in ops)
            by_alpha = [op for op in ops if float(theta[op]) == most]
            missed = min(ops, key=lambda op: (without[op], kind.ops[edge][op] == NONE))
            row: dict[str, Any] = {
                "kind": kind.name,
                "edge": edge,
                "source": source,
                "target": target,
                "alpha_op": kind.ops[edge][by_alpha[0]] if len(by_alpha) == 1 else None,
                "alpha_theta": most,
                "perturbation_op": kind.ops[edge][missed],
                "perturbation_margin": sorted(without[op] for op in ops)[1] - without[missed],
                "batch_size": size,
            }
            if epochs is not None:
                row |= _oracle_of(kind.ops[edge], ops, [next(left) for _ in ops])
                row["oracle_max_epochs"] = epochs
            rows.append(row)
        settings = {"oracle_epochs": epochs, "epoch": subject.end.epoch, "batch_size": size}
        return Finding(rows, sentences(rows), settings)

    def _supernet(self, subject: SupernetSubject) -> SupernetTraining:
        return subject.restored(subject.end.step)

    def draw(self, rows: Sequence[Record]) -> "Figure":
        """Draw a column an edge: what each would pick, where they differ in a strong colour."""
        shift = 0.24 if "oracle_op" in rows[0] else 0.13
        marks = [("alpha_op", "largest α", "s", SERIES[0], shift)]
        if "oracle_op" in rows[0]:
            marks += [("oracle_op", "best alone (oracle)", "^", SERIES[2], 0.0)]
        marks += [("perturbation_op", "missed most", "o", ACCENT, -shift)]
        ops = list(dict.fromkeys(row[key] for row in rows for key, *_ in marks if row[key]))
        drawing = new_figure(max(5.5, 1.8 + 0.42 * len(rows)), 1.7 + 0.5 * len(ops))
        axes = drawing.subplots()
        for column, row in enumerate(rows):
            if len({row[key] for key, *_ in marks} - {None}) > 1:
                axes.axvspan(column - 0.5, column + 0.5, color=GRID, lw=0, alpha=0.6)
        for key, label, marker, colour, shift in marks:
            there = [(x, ops.index(row[key]) + shift) for x, row in enumerate(rows) if row[key]]
            xs, ys = [x for x, _ in there], [y for _, y in there]
            axes.plot(xs, ys, marker, color=colour, ms=7, label=label)
        axes.set_yticks(range(len(ops)), ops, color=INK)
        axes.set_ylim(-0.6, len(ops) - 0.4)
        axes.set_xlim(-0.5, len(rows) - 0.5)
        axes.set_xticks(
            range(len(rows)), [f"{r['source']}→{r['target']}" for r in rows], rotation=60
        )
        axes.set_xlabel(f"edges of the {rows[0]['kind']} cell; grey: they disagree")
        rule(axes)
        legend(axes, ncols=len(marks))
        return drawing


def _candidates(training: SupernetTraining, kind: int, edge: int) -> list[int]:
    """Return the ops that an architecture can have on an edge."""
    able = expressible(training.decisions.kinds[kind], edge)
    return [op for op in allowed_ops(training, kind, edge) if op in able]


def _oracle_of(names: Sequence[str], ops: list[int], found: list[Value]) -> dict[str, Any]:
    pairs = [(one["accuracy"], op) for op, one in zip(ops, found, strict=True)]
    there = [(accuracy, op) for accuracy, op in pairs if accuracy is not None]
    if not there:
        return {"oracle_op": None, "oracle_accuracy": None, "converged": False}
    accuracy, best = max(there, key=lambda pair: pair[0])
    return {
        "oracle_op": names[best],
        "oracle_accuracy": accuracy,
        "converged": all(one["converged"] for one in found),
    }


def sentences(rows: Sequence[Record]) -> list[str]:
    """Say what α would pick most, and how many of those edges another op serves better."""
    chosen = Counter(row["alpha_op"] for row in rows if row["alpha_op"] is not None)
    if not chosen:
        missed = Counter(row["perturbation_op"] for row in rows).most_common()
        return [
            f"α is equal for the ops of each of {counted(len(rows), 'edge')}, so it would pick "
            f"none; missed most: {', '.join(f'{op} on {count}' for op, count in missed)}."
        ]
    (favourite, count), *_ = chosen.most_common()
    picked = [row for row in rows if row["alpha_op"] == favourite]
    told = [
        f"{count} of {counted(len(rows), 'edge')} would pick {favourite} by α; "
        + _better(picked, "perturbation_op", favourite, "the supernet misses another op more")
    ]
    if "oracle_op" in rows[0]:
        told.append(
            f"By the oracle ({counted(rows[0]['oracle_max_epochs'], 'epoch')} at most), "
            + _better(picked, "oracle_op", favourite, "another op does better alone")
        )
    return told


def _better(picked: Sequence[Record], key: str, favourite: str, what: str) -> str:
    others = Counter(r[key] for r in picked if r[key] not in (favourite, None))
    total = sum(others.values())
    if not total:
        return f"on none of them {what}."
    (op, most), *_ = others.most_common()
    better = f"{total} of them {'is' if total == 1 else 'are'} better served by"
    return f"{better} {op}." if most == total else f"{better} another op, most often {op} ({most})."

"""What racing saves, how often it decides as a full pass does, and what it costs when not.

    python tests/speed/racing.py --data npz:fashion.npz --train-size 8192 --batch-size 64

Trains small supernets of NAS-Bench-201 (two seeds) and S2, scores every op of every edge on every
validation batch once, and then races over these scores in ten orders of the batches for each edge:
400 races. Orders of one edge are not independent. The control stops all candidates after a quarter
of the batches. Regret is what the op that was chosen falls short of the best, in points of accuracy
(or units of loss) of the full pass. Counts passes; there is no clock in it.
"""

import argparse

import numpy as np
import torch

from raynas.seeds import derive_seed
from raynas.selection.config import RacingConfig
from raynas.selection.racing import race
from raynas.selection.scoring import Request, local_scorer, totals
from raynas.spaces.darts import S2Space
from raynas.spaces.nasbench201 import NasBench201
from raynas.supernets.candidates import BatchScores
from raynas.supernets.darts import Darts
from raynas.supernets.decisions import Question
from raynas.supernets.training import SupernetTraining
from raynas.training.data import load_data

ORDERS = 10


class Table:
    """Scores of one edge, known in full; counts how many of them a race asks for."""

    def __init__(self, request, scores):
        self.request, self.scores, self.asked = request, scores, 0

    def __call__(self, request):
        rows, columns = list(request.options), list(request.batches)
        self.asked += len(rows) * len(columns)
        place = np.ix_(rows, columns)
        scores = self.scores
        return BatchScores(scores.correct[place], scores.loss[place], scores.count[columns])

    @property
    def num_batches(self):
        return len(self.scores.count)

    def values(self, criterion, batches=None):
        """How much each op is missed, from all batches or some."""
        columns = slice(None) if batches is None else batches
        count = self.scores.count[columns].sum()
        if criterion == "loss":
            return self.scores.loss[:, columns].sum(axis=1) / count
        return -100 * self.scores.correct[:, columns].sum(axis=1) / count


def tables(space, data, seed, options):
    """Train a supernet and yield the scores of each of its edges."""
    method = Darts()
    settings = {"epochs": options.epochs, "batch_size": 64, "device": "cpu"}
    training = SupernetTraining(space, data, method, method.training_config(settings), seed)
    while not training.searched:
        metrics = training.train_epoch()
    print(f"{space.name} seed {seed}: accuracy {metrics['accuracy']:.3f}", flush=True)
    score, mixture = local_scorer(training), training.mixture()
    for number, kind in enumerate(space.kinds):
        for edge in range(kind.num_edges):
            question = Question(number, tuple(range(kind.num_ops)), edge=edge)
            request = Request(mixture, question, question.options, "batch", options.batch_size)
            yield Table(request, score(request))


def chosen(found, criterion):
    """Return the op that a race leaves: the worst to miss, of those that saw the most."""
    most = max(one.count for one in found)
    left = [one for one in found if one.count == most]
    key = (lambda s: -s.mean_loss) if criterion == "loss" else (lambda s: s.accuracy)
    return min(left, key=key).option


def figures(all_tables, criterion, z):
    """Return passes saved, agreement and regret over all edges and orders."""
    asked = full = agree = 0
    regret, num = 0.0, 0
    for place, table in enumerate(all_tables):
        values = table.values(criterion)
        best = chosen(totals(table.request.options, table.scores), criterion)
        for order in range(ORDERS):
            table.asked = 0
            found = race(
                table.request,
                table,
                RacingConfig(z=z),
                num_batches=table.num_batches,
                criterion=criterion,
                most=True,
                seed=derive_seed(0, "race", f"{place}/{order}"),
            )
            op = chosen(found, criterion)
            asked, full = asked + table.asked, full + table.scores.correct.size
            agree += op == best
            regret, num = regret + values[best] - values[op], num + 1
    return full / asked, agree / num, regret / num, num


def control(all_tables, criterion):
    """Likewise for a fixed quarter of the batches."""
    agree, regret, num = 0, 0.0, 0
    for place, table in enumerate(all_tables):
        values = table.values(criterion)
        best = int(values.argmax())
        for order in range(ORDERS):
            rng = np.random.default_rng([place, order])
            quarter = rng.permutation(table.num_batches)[: table.num_batches // 4]
            op = int(table.values(criterion, quarter).argmax())
            agree += op == best
            regret, num = regret + values[best] - values[op], num + 1
    return 4.0, agree / num, regret / num, num


def check(all_tables):
    """With no end of patience a race is a full pass."""
    for table in all_tables:
        for criterion in ("accuracy", "loss"):
            found = race(
                table.request,
                table,
                RacingConfig(z=1e9),
                num_batches=table.num_batches,
                criterion=criterion,
                most=True,
                seed=0,
            )
            everything = totals(table.request.options, table.scores)
            assert [s.correct for s in found] == [s.correct for s in everything]
            assert chosen(found, criterion) == chosen(everything, criterion)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--train-size", type=int, default=None)
    parser.add_argument("--batch-size", type=int, default=16, help="images of a validation batch")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(options.data, train_size=options.train_size)
    found = []
    for space, seed in (
        (NasBench201(channels=4, cells_per_stage=1), 0),
        (NasBench201(channels=4, cells_per_stage=1), 1),
        (S2Space(channels=4, layers=3), 0),
    ):
        found += tables(space, data, seed, options)
    check(found)
    images, batches = found[0].scores.count.sum(), found[0].num_batches
    print(f"{len(found)} edges x {ORDERS} orders; {images} images in {batches} batches")
    print(f"{'criterion':<10}{'z':>6}{'passes saved':>14}{'agreement':>11}{'regret':>9}")
    for criterion in ("accuracy", "loss"):
        for z in (2.0, 2.5, 3.0, 4.0, None):
            saved, agree, regret, _ = (
                control(found, criterion) if z is None else figures(found, criterion, z)
            )
            name = "1/4" if z is None else f"{z:g}"
            print(
                f"{criterion:<10}{name:>6}{saved:>13.2f}x{agree:>11.1%}{regret:>9.4f}", flush=True
            )


if __name__ == "__main__":
    main()

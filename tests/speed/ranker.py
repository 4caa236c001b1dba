"""The ranking predictor beside a straight version with loops over graphs and over pairs.

    .venv/bin/python tests/speed/ranker.py [nb201:PATH:cifar10]

One thread, CPU time, the two in turn in one process. The straight version is written here from the
formulas (one graph at a time, one pair at a time) and must give the same loss, gradients and scores
in float64 before anything is timed. Prints ms and ratios; asserts nothing about time.

With a table it also prints how good the ranker is: fitted on 100 cells drawn at random, Kendall's
tau and Spearman's rho over all cells of the table, with the time of the fit and of scoring all.
"""

import argparse
import gc
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F

from raynas.predictor.fit import PredictorConfig, RankingPredictor
from raynas.predictor.loss import PairBatch, logistic
from raynas.predictor.metrics import kendall_tau, spearman
from raynas.predictor.model import GraphRanker, GraphSet
from raynas.predictor.pairs import PairConfig, make_pairs
from raynas.scheduling.snapshot import PoolRecord, PoolSnapshot
from raynas.spaces.nasbench201 import NasBench201
from raynas.tabular.names import load_table

SPACE = NasBench201()
ROUNDS = 3
SAMPLE = 300  # graphs the straight version scores; its time for all is extrapolated from them


def straight_score(network, graph):
    """Score one graph."""
    adjacency = torch.from_numpy(graph.adjacency).to(network.embed.weight.dtype)
    states = network.embed.weight[torch.from_numpy(graph.labels)]
    last = len(network.layers) - 1
    for depth, (gin, end) in enumerate(zip(network.layers, network.ends, strict=True)):
        mixed = gin.own(states) + adjacency.T @ gin.sources(states)
        mixed = mixed + adjacency @ gin.targets(states)
        states = end(F.relu(gin.norm(mixed)))
        if depth < last:
            states = F.relu(states)
    return network.head(states.sum(0) / states.shape[1] ** 0.5)[0]


def straight_loss(network, graphs, pairs):
    """Score graph by graph, add up the loss pair by pair."""
    scores = [straight_score(network, graph) for graph in graphs]
    total = 0.0
    for won, lost, weight in zip(
        pairs.winner.tolist(), pairs.loser.tolist(), pairs.weight.tolist(), strict=True
    ):
        total = total + weight * F.softplus(scores[lost] - scores[won])
    return total / pairs.weight.sum()


def pool(count):
    """Return a pool of `count` architectures with made-up accuracies."""
    rng = np.random.default_rng(count)
    chosen = rng.choice(len(SPACE), count, replace=False)
    records = tuple(
        PoolRecord(i, SPACE.architecture(int(j)).text, str(j), 1, (float(rng.random()),), {}, False)
        for i, j in enumerate(chosen)
    )
    return PoolSnapshot(1, (12,), records, ())


def cpu_ms(run, repeats=1):
    """Return the CPU milliseconds `run` takes, the mean of `repeats`."""
    gc.collect()  # the straight version leaves hundreds of thousands of objects behind
    started = time.process_time()
    for _ in range(repeats):
        run()
    return 1000 * (time.process_time() - started) / repeats


def in_turn(name, fast, slow):
    """Time both `ROUNDS` times in turn and print medians and the median ratio."""
    fast(), slow()
    rows = [(cpu_ms(fast, repeats=20), cpu_ms(slow)) for _ in range(ROUNDS)]
    mine, theirs = (statistics.median(column) for column in zip(*rows, strict=True))
    ratio = statistics.median(b / a for a, b in rows)
    print(f"{name:<44} {mine:9.1f} ms  straight {theirs:9.1f} ms  x{ratio:.0f}", flush=True)


def epoch(count):
    """Compare one full-batch epoch on `count` architectures."""
    pairs = make_pairs(pool(count), PairConfig(), np.random.default_rng(0))
    graphs = [SPACE.graph(SPACE.parse(text)) for text in pairs.texts]
    data = GraphSet.of(graphs, 2)
    torch.manual_seed(0)
    network = GraphRanker(SPACE.num_labels, hidden=32, num_layers=2).double()
    batch = PairBatch.of(pairs, torch.float64)
    parameters = list(network.parameters())
    fast_loss, slow_loss = logistic(network(data), batch), straight_loss(network, graphs, pairs)
    torch.testing.assert_close(fast_loss, slow_loss)
    for fast, slow in zip(
        torch.autograd.grad(fast_loss, parameters),
        torch.autograd.grad(slow_loss, parameters),
        strict=True,
    ):
        torch.testing.assert_close(fast, slow)
    network, batch = network.float(), PairBatch.of(pairs)
    in_turn(
        f"one epoch, {count} architectures, {len(pairs)} pairs",
        lambda: logistic(network(data), batch).backward(),
        lambda: straight_loss(network, graphs, pairs).backward(),
    )


def scoring():
    """Compare scoring the whole space with one network."""
    graphs = [SPACE.graph(architecture) for architecture in SPACE]
    data = GraphSet.of(graphs, 2)
    network = GraphRanker(SPACE.num_labels, hidden=32, num_layers=2).double().eval()
    with torch.no_grad():
        slow = torch.stack([straight_score(network, graph) for graph in graphs[:SAMPLE]])
        torch.testing.assert_close(network(GraphSet.of(graphs[:SAMPLE], 2)), slow)
        network = network.float()
        fast_ms, slow_ms = [], []
        for _ in range(ROUNDS + 1):
            fast_ms.append(cpu_ms(lambda: network(data)))
            once = cpu_ms(lambda: [straight_score(network, graph) for graph in graphs[:SAMPLE]])
            slow_ms.append(once * len(graphs) / SAMPLE)
    mine, theirs = statistics.median(fast_ms[1:]), statistics.median(slow_ms[1:])
    print(
        f"{'score all 15,625 with one member':<44} {mine:9.1f} ms  straight {theirs:9.1f} ms  "
        f"x{theirs / mine:.0f} (extrapolated from {SAMPLE})"
    )
    print(
        f"{'colour all 15,625 graphs (once a search)':<44} "
        f"{cpu_ms(lambda: GraphSet.of(graphs, 2)):9.1f} ms"
    )


def whole_fit(count):
    """Time a whole fit with the defaults: an ensemble with early stopping."""
    pairs = make_pairs(pool(count), PairConfig(), np.random.default_rng(0))
    graphs = [SPACE.graph(SPACE.parse(text)) for text in pairs.texts]
    predictor = RankingPredictor(SPACE.num_labels)
    report = predictor.fit(graphs, pairs, 0)
    config = PredictorConfig()
    print(
        f"fit on {count:>3}: {1000 * report.fit_s:7.0f} ms ({config.ensemble} members, best after "
        f"{report.epochs:.0f} epochs on average)"
    )


def learn(table, keys, column, seed, count=100):
    """Fit on `count` cells drawn from the table, no function twice, by one column's accuracies."""
    rng = np.random.default_rng(seed)
    drawn = [int(row) for row in rng.permutation(len(table))]
    first = dict(reversed([(keys[row], row) for row in drawn]))
    rows = [row for row in drawn if first[keys[row]] == row][:count]
    accuracy = table.accuracy[:, column]
    records = tuple(
        PoolRecord(i, table.texts[row], keys[row], 1, (float(accuracy[row]),), {}, False)
        for i, row in enumerate(rows)
    )
    snapshot = PoolSnapshot(1, (table.epochs[column],), records, ())
    pairs = make_pairs(snapshot, PairConfig(), rng)
    graphs = [table.space.graph(table.space.parse(text)) for text in pairs.texts]
    predictor = RankingPredictor(table.space.num_labels)
    return predictor, predictor.fit(graphs, pairs, seed)


def quality(table, seeds=10):
    """Print tau and rho over all cells, and what the fit and the scoring took."""
    space = table.space
    keys = [space.key(space.parse(text)) for text in table.texts]
    standing = {key: row for row, key in reversed(list(enumerate(keys)))}  # the first of each key
    place = {key: number for number, key in enumerate(standing)}
    graphs = [space.graph(space.parse(table.texts[row])) for row in standing.values()]
    data = GraphSet.of(graphs, PredictorConfig().layers)
    of_text = np.array([place[key] for key in keys])
    print(
        f"\nranker fitted on 100 cells of {table.name}, over all {len(table):,} "
        f"({len(data):,} functions scored): mean of {seeds} draws (least to most)"
    )
    for column, epochs in enumerate(table.epochs):
        rows = []
        for seed in range(seeds + 1):
            predictor, report = learn(table, keys, column, seed)
            started = time.perf_counter()
            scores = predictor.score(data)[of_text]
            scoring_ms = 1000 * (time.perf_counter() - started)
            seen, final = table.accuracy[:, column], table.report
            found = [kendall_tau(scores, seen), spearman(scores, seen)]
            found += [kendall_tau(scores, final), spearman(scores, final)]
            rows.append((*found, 1000 * report.fit_s, scoring_ms))
        columns = np.array(rows[1:]).T  # the first warms up
        told = [f"{c.mean():.3f} ({c.min():.3f} to {c.max():.3f})" for c in columns[:4]]
        print(f"  by accuracy after {epochs} epochs:")
        print(f"    with that accuracy   tau {told[0]}, rho {told[1]}")
        print(f"    with {table.report_metric:<15} tau {told[2]}, rho {told[3]}")
        took = [f"{np.median(c):.0f} ms" for c in columns[4:]]
        print(f"    fit {took[0]}, scoring all {took[1]} (medians, wall clock)", flush=True)


def main():
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", nargs="?", help="as in raynas compare --table")
    table = parser.parse_args().table
    torch.set_num_threads(1)
    for count in (100, 300):
        epoch(count)
    scoring()
    for count in (100, 300):
        whole_fit(count)
    if table is not None:
        quality(load_table(table))


if __name__ == "__main__":
    main()

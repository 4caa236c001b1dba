"""How fast searches on tables are: results (reports) a second, and where the time goes.

    .venv/bin/python tests/speed/simulate.py [nb201:PATH:cifar10] [BUDGET]

Without a table it measures on made-up accuracies of all NAS-Bench-201 cells. One thread, one
process. `random:nosh` is the scheduler alone; `ranking:nosh` adds a refit of the predictor and a
ranking of the whole space a round. Prints figures; asserts nothing about time.
"""

import sys
import time

import numpy as np
import torch

from raynas.comparing.method import parse_methods
from raynas.comparing.run import run_method
from raynas.seeds import derive_rng
from raynas.spaces.nasbench201 import NasBench201
from raynas.tabular.names import load_table
from raynas.tabular.nasbench201 import our_proxies
from raynas.tabular.table import AccuracyTable


def made_up():
    """A table of all cells: more convolutions are better, nearly."""
    space = NasBench201()
    texts = tuple(architecture.text for architecture in space)
    noise = derive_rng(0, "made up").normal(0, 0.02, (len(texts), 2))
    quality = np.array([text.count("3x3") + 0.5 * text.count("1x1") for text in texts]) / 12
    accuracy = 0.3 + quality[:, None] * 0.6 + noise
    return AccuracyTable(
        "made up", space, texts, (12, 200), accuracy, accuracy[:, 1], "test", True,
        proxies=our_proxies(space, texts),
    )  # fmt: skip


def main():
    torch.set_num_threads(1)
    table = load_table(sys.argv[1]) if len(sys.argv) > 1 else made_up()
    budget = int(sys.argv[2]) if len(sys.argv) > 2 else 5550
    names = "random:full,random:nosh,random:asha,evolution:full,ranking:full,ranking:nosh"
    methods = parse_methods(names, table, ["random:nosh.level0.mode=off"])
    print(f"{table.name}, {budget} epochs a run; wall and CPU seconds of the third run")
    print(f"{'method':<16}{'trained':>8}{'results':>9}{'wall s':>9}{'CPU s':>8}{'results/s':>11}")
    for method in methods:
        for seed in range(3):  # what is worked out once a process is not counted
            wall, cpu = time.perf_counter(), time.process_time()
            record = run_method(table, method, budget, seed)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        results = record.num_results
        print(
            f"{method.name:<16}{record.num_trained:>8}{results:>9}{wall:>9.2f}{cpu:>8.2f}"
            f"{results / cpu:>11,.0f}"
        )


if __name__ == "__main__":
    main()

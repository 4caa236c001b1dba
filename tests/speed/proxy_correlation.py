"""How well each proxy ranks NAS-Bench-201 cells: Spearman with measured CIFAR-10 test accuracy.

Run: ``python tests/speed/proxy_correlation.py [CELLS --size 16 --batch 64 --out scores.csv]``;
``--proxies synflow`` scores thousands of cells in minutes.

Networks have the published skeleton (16 channels, 5 cells per stage). Accuracies are those of
../shared/data/nb201.parquet; images are of ../shared/data/fashion_mnist_16x16.npz, grey repeated to
three channels, not CIFAR-10: of the published values printed beside ours, only that of a proxy
without data (synflow) must be met. With ``--out`` every row of scores is kept at once, and a
further run of the same options goes on from there.
"""

import argparse
import csv
import math
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from raynas.proxies.proxy import PROXIES
from raynas.proxies.score import ProxyScorer
from raynas.proxies.vote import aggregate
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import TaskShape

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TARGET = "c10_test_e200"
VOTERS = ("synflow", "jacob_cov", "snip")

PUBLISHED = {
    "grad_norm": 0.594,
    "snip": 0.596,
    "grasp": 0.514,
    "fisher": 0.360,
    "synflow": 0.737,
    "jacob_cov": 0.731,
}
"""Size of Spearman's coefficient on CIFAR-10, all cells (Abdelfattah et al., ICLR 2021)."""

Batch = tuple[Tensor, Tensor]


def load_batch(size: int, count: int) -> Batch:
    """Return `count` training images, normalised, `count x 3 x size x size`, and their labels."""
    with np.load(DATA / "fashion_mnist_16x16.npz") as arrays:
        chosen = np.random.default_rng(0).permutation(len(arrays["x_train"]))[:count]
        pixels = torch.from_numpy(arrays["x_train"][chosen]).float() / 255
        labels = torch.from_numpy(arrays["y_train"][chosen]).long()
    images = ((pixels - pixels.mean()) / pixels.std())[:, None]
    if size != images.shape[-1]:
        images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
    return images.repeat(1, 3, 1, 1), labels


def scorers(options: argparse.Namespace) -> list[ProxyScorer]:
    """Return one scorer per batch size that is asked for, with the proxies that take it."""
    others = {"naswot": options.naswot_batch or options.batch, "ntk": options.ntk_batch}
    sizes = {name: others.get(name, options.batch) for name in options.proxies}
    space, task = NasBench201(channels=16, cells_per_stage=5), TaskShape(3, options.size, 10)
    return [
        ProxyScorer(
            space,
            task,
            load_batch(options.size, count),
            names=[name for name in sizes if sizes[name] == count],
            seed=0,
        )
        for count in sorted(set(sizes.values()))
    ]


def score_cells(cells: pd.DataFrame, options: argparse.Namespace) -> pd.DataFrame:
    """Return a row of scores for each cell, in the order of `cells`; prints progress."""
    space, asked, kept = NasBench201(), scorers(options), Kept(options)
    started, done = time.perf_counter(), 0
    for index, text in zip(cells["index"], cells["arch_str"], strict=True):
        if index in kept.rows:
            continue
        architecture = space.parse(text)
        scores = {k: v for scorer in asked for k, v in scorer([architecture])[0].items()}
        kept.add(index, scores)
        done += 1
        if done % 20 == 0:
            per_cell = (time.perf_counter() - started) / done
            print(f"{len(kept.rows)} cells, {per_cell:.1f} s each", file=sys.stderr, flush=True)
    return pd.DataFrame([kept.rows[index] for index in cells["index"]])


class Kept:
    """Rows of scores by index of the cell, also in a file; rows of other options are left alone."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.rows: dict[int, dict[str, float]] = {}
        self._path: Path | None = options.out
        self._names: list[str] = options.proxies
        self._how = f"{options.size}/{options.batch}/{options.naswot_batch}/{options.ntk_batch}"
        if self._path is None or not self._path.exists():
            return
        with self._path.open(newline="") as file:
            for row in csv.DictReader(file):
                if row["options"] == self._how and all(row.get(name) for name in self._names):
                    self.rows[int(row["index"])] = {name: float(row[name]) for name in self._names}

    def add(self, index: int, scores: dict[str, float]) -> None:
        self.rows[index] = scores
        if self._path is None:
            return
        new = not self._path.exists()
        with self._path.open("a", newline="") as file:
            writer = csv.DictWriter(file, ["index", "options", *PROXIES])
            if new:
                writer.writeheader()
            writer.writerow({"index": index, "options": self._how, **scores})


def spearman(scores: pd.Series, accuracy: pd.Series) -> float:
    """Return the coefficient with -inf as the lowest rank; NaN if all scores are equal."""
    return float(scores.rank().corr(accuracy.rank())) if scores.nunique() > 1 else math.nan


def print_table(cells: pd.DataFrame, scores: pd.DataFrame) -> None:
    rows = scores.to_dict("records")
    columns = {name: scores[name] for name in PROXIES if name in scores}
    if set(VOTERS) <= set(columns):
        for how in ("vote", "borda"):
            columns[f"{how} of 3"] = pd.Series(aggregate(rows, how, VOTERS))
    columns["naswot_v1_score (table)"] = cells["naswot_v1_score"].fillna(-math.inf)
    live = cells["naswot_v1_score"].notna().to_numpy()
    print(f"{'proxy':<24} {'all':>7} {'alive':>7} {'published':>10}   ({live.sum()} alive)")
    for name, column in columns.items():
        everywhere = spearman(column, cells[TARGET])
        among_live = spearman(column[live], cells[TARGET][live])
        published = f"{PUBLISHED[name]:.3f}" if name in PUBLISHED else "-"
        print(f"{name:<24} {everywhere:>7.3f} {among_live:>7.3f} {published:>10}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cells", type=int, nargs="?", default=500)
    parser.add_argument("--size", type=int, default=16, help="pixels of an image's side")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--proxies", nargs="+", default=list(PROXIES), choices=list(PROXIES))
    parser.add_argument("--naswot-batch", type=int, help="as --batch unless said; the paper: 128")
    parser.add_argument("--ntk-batch", type=int, default=16, help="costs this many backward passes")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of cells")
    parser.add_argument("--out", type=Path, help="CSV of scores, kept and gone on with")
    options = parser.parse_args()
    if not DATA.is_dir():
        print(f"nothing to correlate with: {DATA} is not here")
        return
    torch.set_num_threads(1)
    columns = ["index", "arch_str", TARGET, "naswot_v1_score"]
    table = pd.read_parquet(DATA / "nb201.parquet", columns=columns)
    cells = table.sample(options.cells, random_state=options.seed).reset_index(drop=True)
    print_table(cells, score_cells(cells, options))


if __name__ == "__main__":
    main()

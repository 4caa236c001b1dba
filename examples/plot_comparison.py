"""Draw regret against epochs for some methods of a comparison (needs the extra `plot`).

python examples/plot_comparison.py nb201:PATH:cifar10 runs/compare-1 regret.svg ranking:nosh …
"""

import sys
from pathlib import Path

from raynas.comparing.campaign import Log
from raynas.comparing.comparison import Comparison
from raynas.tabular.names import load_table

if __name__ == "__main__":
    table, folder, out, *methods = sys.argv[1:]
    records = tuple(Log(Path(folder) / "runs.jsonl").read().values())
    budgets = sorted({record.budget for record in records})
    seeds = len({record.seed for record in records})
    names = methods or list(dict.fromkeys(record.method for record in records))
    comparison = Comparison(load_table(table), tuple(names), tuple(budgets), seeds, records)
    comparison.draw(Path(out))

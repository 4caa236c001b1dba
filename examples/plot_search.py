"""Draw a search: python examples/plot_search.py runs/a search.svg (needs the extra `plot`)."""

import sys
from pathlib import Path

from raynas.report.plots import search_figure

if __name__ == "__main__":
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    search_figure(run).savefig(out, dpi=150)

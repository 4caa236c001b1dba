"""A search in a process of its own, to be killed: python driver.py search|resume FOLDER [BUDGET].

It ends with 0 if the search is finished, and with 3 if it was interrupted, as the command does.
"""

import sys
from pathlib import Path

import harness

from raynas import api


def config(budget=harness.BUDGET):
    return harness.config(budget=str(budget))


def parts(log):
    return harness.parts(log)


if __name__ == "__main__":
    verb, folder = sys.argv[1], Path(sys.argv[2])
    own = parts(folder.with_suffix(".log"))
    if verb == "search":
        result = api.search(config=config(*sys.argv[3:]), **own, out=folder)
    else:
        result = api.resume(folder, **own)
    sys.exit(0 if result.finished else 3)

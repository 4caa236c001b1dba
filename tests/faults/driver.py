"""A search in a process of its own, to be killed: python driver.py search|resume FOLDER."""

import sys
import time
from pathlib import Path

from raynas import api
from raynas.config import load_search_config
from raynas.proposing.random import RandomProposer
from raynas.testing import FakeObjective, ToySpace


class Logged(FakeObjective):
    """Takes its time, and writes down every epoch it really trains."""

    def __init__(self, log):
        super().__init__()
        self.log = log

    def metrics(self, text, epoch):
        time.sleep(0.05)
        with self.log.open("a") as file:
            file.write(f"{text} {epoch}\n")
        return super().metrics(text, epoch)


def config():
    return load_search_config(
        overrides={
            "budget": "60",
            "levels": [1, 2, 4],
            "workers": 2,
            "policy": {"name": "nosh", "per_round": 5},
            "level0": {"mode": "off"},
        }
    )


def parts(log):
    space = ToySpace()
    return {"space": space, "proposer": RandomProposer(space), "objective": Logged(log)}


if __name__ == "__main__":
    verb, folder = sys.argv[1], Path(sys.argv[2])
    own = parts(folder.with_suffix(".log"))
    if verb == "search":
        result = api.search(config=config(), **own, out=folder)
    else:
        result = api.resume(folder, **own)
    sys.exit(0 if result.finished else 3)

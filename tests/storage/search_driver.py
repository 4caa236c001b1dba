"""A search in a store in a process of its own, to be killed.

search_driver.py search|resume URI LOG [there]; `there`: on a Ray that is there already."""

import sys
import time
from pathlib import Path

from raynas import api
from raynas.proposing.random import RandomProposer
from raynas.search_config import load_search_config
from raynas.testing import FakeObjective, ToySpace


class Logged(FakeObjective):
    """Takes its time, and writes down every epoch it really trains."""

    def __init__(self, log):
        super().__init__()
        self.log = log

    def metrics(self, text, epoch):
        time.sleep(0.1)
        with self.log.open("a") as file:
            file.write(f"{text} {epoch}\n")
        return super().metrics(text, epoch)


def config():
    return load_search_config(
        overrides={
            "budget": "30",
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
    verb, out, log = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if "there" in sys.argv:
        import ray

        ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
    if verb == "resume":
        result = api.resume(out, **parts(log))
    else:
        result = api.search(config=config(), **parts(log), out=out)
    sys.exit(0 if result.finished else 3)

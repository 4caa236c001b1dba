"""A cluster of processes that loses nodes under a search: cluster_driver.py FOLDER LOSSES BUDGET.

The search runs in a process of its own (``cluster_driver.py FOLDER LOSSES BUDGET ADDRESS``), which
prints how it ended. The head trains nothing; a node trains one network at a time.
"""

import json
import subprocess
import sys
from pathlib import Path

from driver import config, parts
from harness import PATIENCE_S, num_reported, wait_for

from raynas import api


def cluster(folder, losses, words):
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    search = subprocess.Popen(
        [sys.executable, __file__, *words, nodes.address], stderr=subprocess.PIPE, text=True
    )

    def wait_for_reports(count):
        wait_for(lambda: num_reported(folder) >= count, search)

    try:
        wait_for((folder / "journal.jsonl").exists, search)  # proposals, and nobody to train them
        working = [nodes.add_node(num_cpus=1), nodes.add_node(num_cpus=1)]
        for _ in range(losses):
            wait_for_reports(num_reported(folder) + 3)
            nodes.remove_node(working.pop(0), allow_graceful=False)
            wait_for_reports(num_reported(folder) + 2)
            working.append(nodes.add_node(num_cpus=1))
        _, errors = search.communicate(timeout=PATIENCE_S)
        print(errors, file=sys.stderr)
    finally:
        search.kill()
        nodes.shutdown()
    return search.returncode


def run(folder, budget, address):
    own = parts(folder.with_suffix(".log"))
    result = api.search(config=config(budget), **own, out=folder, address=address)
    print(json.dumps({"finished": result.finished}))


if __name__ == "__main__":
    where, losses, budget, *address = sys.argv[1:]
    if address:
        run(Path(where), budget, *address)
    else:
        sys.exit(cluster(Path(where), int(losses), sys.argv[1:]))

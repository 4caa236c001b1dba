"""A cluster of processes that grows and loses a node under a search: cluster_driver.py FOLDER.

The search runs in a process of its own (``cluster_driver.py FOLDER ADDRESS``), which prints how it
ended and its pool.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from driver import config, parts

from raynas import api

PATIENCE_S = 200


def cluster(folder):
    from ray.cluster_utils import Cluster

    journal = folder / "journal.jsonl"
    until = time.monotonic() + PATIENCE_S

    def wait_for(count):
        while not journal.exists() or len(journal.read_bytes().splitlines()) < count:
            assert time.monotonic() < until, f"{journal} did not grow to {count} lines"
            assert search.poll() is None, "the search ended early"
            time.sleep(0.02)

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    search = subprocess.Popen([sys.executable, __file__, str(folder), nodes.address])
    try:
        wait_for(1)  # the first proposals; nobody to train them yet
        lost = nodes.add_node(num_cpus=1)
        wait_for(12)
        nodes.add_node(num_cpus=1)
        wait_for(30)
        nodes.remove_node(lost, allow_graceful=False)
        code = search.wait(until - time.monotonic())
    finally:
        search.kill()
        nodes.shutdown()
    return code


def search(folder, address):
    own = parts(folder.with_suffix(".log"))
    result = api.search(config=config(), **own, out=folder, address=address)
    pool = [[c.text, c.level, c.epochs, c.level_accuracy] for c in result.pool]
    print(json.dumps({"finished": result.finished, "pool": pool}))


if __name__ == "__main__":
    where = Path(sys.argv[1])
    if sys.argv[2:]:
        search(where, sys.argv[2])
    else:
        sys.exit(cluster(where))

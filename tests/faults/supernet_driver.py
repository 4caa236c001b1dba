"""A supernet run in a process of its own, to be killed.

supernet_driver.py start|resume FOLDER WORKERS ENGINE
"""

import sys
import time
from pathlib import Path

from raynas import api
from raynas.supernets.darts import Darts

CONFIG = {
    "space": {"name": "nasbench201", "channels": 2, "cells_per_stage": 1},
    "data": {"name": "digits", "train_size": 60, "valid_size": 20},
    "selection": {"name": "perturbation", "tune_epochs": 2, "batch_size": 2},
    "training": {"epochs": 4, "batch_size": 10, "alpha_lr": 0.01},
    "resources": {"cpus": 1, "evaluators": 2},
    "checkpoints": {"keep_last": 2, "keep_every": 0},
}


class Slow(Darts):
    """Takes its time, so that it can be killed in the middle of an epoch."""

    def weights_mixture(self, step):
        time.sleep(0.1)
        return super().weights_mixture(step)


if __name__ == "__main__":
    verb, folder, workers, engine = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    how = {"method": Slow(), "workers": workers, "engine": engine}
    if verb == "start":
        result = api.search_supernet(config=CONFIG, **how, out=folder)
    else:
        result = api.resume(folder, **how)
    sys.exit(0 if result.finished else 3)

"""A supernet run in a process of its own, to be killed: start|resume PLACE WORKERS."""

import sys
import time

from raynas import api
from raynas.supernets.darts import Darts

CONFIG = {
    "space": {"name": "nasbench201", "channels": 2, "cells_per_stage": 1},
    "data": {"name": "digits", "train_size": 60, "valid_size": 20},
    "selection": {"name": "perturbation", "tune_epochs": 1, "batch_size": 5},
    "training": {"epochs": 3, "batch_size": 10, "alpha_lr": 0.01},
    "resources": {"cpus": 1, "evaluators": 1},
    "checkpoints": {"keep_last": 2, "keep_every": 0},
}


class Slow(Darts):
    """Takes its time, so that it can be killed in the middle of an epoch."""

    def weights_mixture(self, step):
        time.sleep(0.1)
        return super().weights_mixture(step)


if __name__ == "__main__":
    verb, place, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if verb == "start":
        result = api.search_supernet(config=CONFIG, method=Slow(), workers=workers, out=place)
    else:
        result = api.resume(place, method=Slow(), workers=workers)
    sys.exit(0 if result.finished else 3)

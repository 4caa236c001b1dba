"""A retraining in a process of its own, to be killed: retrain_driver.py retrain|resume FOLDER."""

import os
import signal
import sys
import time
from pathlib import Path

import raynas
from raynas.spaces.nasbench201 import NasBench201

CELLS = (
    "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|",
    "|skip_connect~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|avg_pool_3x3~2|",
)
EPOCHS, SEEDS, WORKERS = 3, 2, 2


class SlowSpace(NasBench201):
    """Networks that take their time, write down every epoch they really train, and die if told."""

    def build(self, architecture, task):
        network = super().build(architecture, task)
        network.register_forward_pre_hook(note)
        return network


def note(network, inputs):
    if not network.training:
        return
    time.sleep(0.1)
    with Path(os.environ["EPOCH_LOG"]).open("a") as file:  # an epoch is one batch
        file.write("epoch\n")
    order = Path(os.environ["KILL_ONCE"])
    if order.exists():
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def ask(folder, engine="ray"):
    return raynas.retrain(
        CELLS,
        space={"name": "retrain_driver:SlowSpace", "channels": 2, "cells_per_stage": 1},
        data={"name": "digits", "train_size": 60, "valid_size": 30},
        epochs=EPOCHS,
        seeds=SEEDS,
        workers=WORKERS,
        assignments=("training.batch_size=60",),
        out=folder,
        engine=engine,
    )


if __name__ == "__main__":
    verb, folder = sys.argv[1:]
    again = verb == "resume"
    result = raynas.retrain(resume=folder, trust_code=True) if again else ask(folder)
    sys.exit(0 if result.finished else 3)

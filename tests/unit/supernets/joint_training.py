"""One of several processes that train together: python joint_training.py FOLDER RANK SIZE.

Trains tiny supernets in float64 and writes where they got to. Of batches of 5 images, two workers
get 3 and 2.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from raynas.spaces.nasbench201 import NasBench201
from raynas.supernets.method import make_method
from raynas.supernets.training import SupernetTraining
from raynas.supernets.workers import Alone, Distributed
from raynas.training.data import load_data

RUNS = {
    "darts": ("darts", {}),
    "second order": ("darts", {"order": 2}),
    "sdarts_adv": ("sdarts_adv", {"ascents": 2}),
    "drnas": ("drnas", {"regulariser": "kl", "strength": 0.1}),
    "pc_darts": ("pc_darts", {"partial": 2}),
}


def made(data, name, workers):
    method = make_method(*RUNS[name])
    config = method.training_config(
        {"epochs": 2, "batch_size": 7, "alpha_frozen_epochs": 0, "device": "cpu", "lr": 0.01}
    )
    space = NasBench201(channels=4, cells_per_stage=1)
    training = SupernetTraining(space, data, method, config, 0, workers)
    training.supernet.double()
    for parameter in method.parameters:
        parameter.data = parameter.data.double()
    return training


def trained(data, name, workers):
    training = made(data, name, workers)
    training.train_epoch()
    metrics = {
        key: training.history[-1][key]
        for key in ("train_loss", "train_accuracy", "alpha_loss", "loss", "correct", "count")
    }
    return training, {
        "alphas": [alpha.detach() for alpha in training.method.parameters],
        "weights": [weight.detach() for weight in training.supernet.parameters()],
        "buffers": list(training.supernet.buffers()),
        "metrics": metrics,
    }


def messages(workers):
    mine = [
        torch.tensor([1, 1]) * (workers.rank + 1),
        torch.tensor([[10.25], [20.25]])[workers.rank],
    ]
    workers.all_reduce_(mine)
    mean = [torch.tensor([1.0, 1.0]) * (workers.rank + 1)]
    workers.all_reduce_(mean, mean=True)
    said = workers.broadcast({"from": workers.rank, "é": [1.5, None]})
    return {"sum": [t.tolist() for t in mine], "mean": mean[0].tolist(), "said": said}


def main(folder, rank, size):
    torch.set_num_threads(1)
    workers = Alone()
    found = {}
    if size > 1:
        rendezvous = f"file://{folder}/rendezvous"
        dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=size)
        workers = Distributed()
        found["messages"] = messages(workers)
    data = load_data("digits", train_size=32, valid_size=16)
    data = replace(data, mean=data.mean.double(), std=data.std.double())
    for name in RUNS:
        training, found[name] = trained(data, name, workers)
        if name == "darts":
            # Whoever wrote the checkpoint, all go on from it.
            again = made(data, name, workers)
            again.load(training.save())
            again.train_epoch()
            found["resumed"] = [alpha.detach() for alpha in again.method.parameters]
    torch.save(found, folder / f"{rank}of{size}.pt")
    if size > 1:
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

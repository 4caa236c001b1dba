"""Networks that perturbation selects beside those that magnitude selects, from the same supernets.

    python tests/speed/selection_quality.py --data npz:fashion.npz --seeds 4 --out runs/pt

Each seed trains one supernet. Both selections start from it: magnitude reads the mixing weights,
perturbation (Wang et al., "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021)
leaves out one op after another and tunes in between. What they find is trained from scratch by the
same recipe and tested at the end. A seed that is done is kept; run it again to go on.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from raynas.seeds import derive_seed
from raynas.selection.config import SelectionConfig
from raynas.selection.program import SupernetProgram
from raynas.selection.scoring import local_scorer
from raynas.spaces.darts import S2Space
from raynas.supernets.darts import Darts
from raynas.supernets.training import SupernetTraining
from raynas.training.data import load_data, make_spec
from raynas.training.objective import TrainingObjective
from raynas.training.recipe import TrainingConfig


def select(space, new_training, searched, selection, seed):
    """Return the architecture that a selection finds in a trained supernet."""
    training = new_training()
    training.load(searched)
    program = SupernetProgram(space, training, selection, seed)
    score = local_scorer(training)
    while not program.finished:
        program.step(score)
    return program.result


def retrain(space, spec, architecture, options, seed):
    """Train a network from scratch; return its test accuracy after the last epoch."""
    recipe = TrainingConfig(full_epochs=options.retrain_epochs, test=True)
    trial = TrainingObjective(space, spec, recipe).start(architecture, seed)
    return trial.train(options.retrain_epochs)


def run_seed(options, seed):
    """Train one supernet, select twice, retrain what was found; keep and return the figures."""
    torch.set_num_threads(1)
    path = Path(options.out) / f"seed{seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    space = S2Space(channels=options.channels, layers=options.layers)
    spec = make_spec(options.data, train_size=options.train_size, crop_padding=0)
    data = load_data(spec)

    def new_training():
        method = Darts()
        config = method.training_config({"epochs": options.epochs, "alpha_lr": options.alpha_lr})
        return SupernetTraining(space, data, method, config, seed)

    training = new_training()
    while not training.searched:
        metrics = training.train_epoch()
        print(
            f"seed {seed}: epoch {metrics['epoch']}, {100 * metrics['accuracy']:.1f} %, "
            f"skip gaps {[round(gap, 3) for gap in metrics['skip_gap'].values()]}",
            flush=True,
        )
    searched, found = training.save(), {}
    for name in ("magnitude", "perturbation"):
        tuned = {"tune_epochs": options.tune_epochs} if name == "perturbation" else {}
        selection = SelectionConfig(name=name, **tuned)
        architecture = select(space, new_training, searched, selection, seed)
        longer = make_spec(options.data, train_size=options.retrain_size, crop_padding=0)
        runs = [
            retrain(space, longer, architecture, options, derive_seed(seed, "retrain", i))
            for i in range(options.retrains)
        ]
        found[name] = {
            "architecture": architecture.text,
            "skips": architecture.text.count("skip_connect"),
            "num_params": int(runs[0]["num_params"]),
            "test_accuracy": [run["test_accuracy"] for run in runs],
        }
        print(f"seed {seed}: {name} {found[name]}", flush=True)
    path.write_text(json.dumps(found, indent=2))
    return found


def table(results):
    """Return the figures as text: mean over seeds, and their standard deviation."""
    lines = [f"{'':14}{'test accuracy, %':>18}{'parameters':>13}{'skips of 16':>13}"]
    means = {}
    for name in results[0]:
        accuracy = np.array([100 * np.mean(r[name]["test_accuracy"]) for r in results])
        means[name] = accuracy
        spread = accuracy.std(ddof=1) if len(results) > 1 else 0.0
        params = np.mean([r[name]["num_params"] for r in results])
        skips = np.mean([r[name]["skips"] for r in results])
        lines.append(
            f"{name:14}{accuracy.mean():11.2f} ± {spread:4.2f}{params:13,.0f}{skips:13.1f}"
        )
    gain = means["perturbation"] - means["magnitude"]
    lines.append(f"perturbation is ahead by {gain.mean():.2f} points; seed by seed {gain.round(2)}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--out", default="runs/selection_quality")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--train-size", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--tune-epochs", type=int, default=1)
    parser.add_argument("--alpha-lr", type=float, default=3e-3)  # published: 3e-4, 20,000 steps
    parser.add_argument("--retrain-size", type=int, default=1000)
    parser.add_argument("--retrain-epochs", type=int, default=15)
    parser.add_argument("--retrains", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    Path(options.out).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as processes:
        results = list(processes.map(partial(run_seed, options), range(options.seeds)))
    print(table(results))

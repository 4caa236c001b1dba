"""What a supernet run is: one YAML file (or dict, or flags) read into a frozen, checked model.

The options of method, training and selection are checked by those who take them
(`raynas.supernets`, `raynas.selection`); a method brings its published training settings along, and
``training`` holds only what shall differ.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from raynas.config import Choice, Preset, Section, load_config


class WorkersConfig(Section):
    """What trains and what scores.

    Attributes:
        cpus: CPU cores of a training worker; None: the machine's, shared out among the workers (1
            on a cluster).
        gpus: GPUs of a training worker; None: one if there are any, less what its scorer needs.
        evaluators: Processes that score candidates side by side; None: one a core of the training
            workers, or one a GPU of theirs.
        evaluator_gpus: GPUs of each; None: what the training workers leave of theirs.
    """

    cpus: float | None = Field(None, gt=0)
    gpus: float | None = Field(None, ge=0)
    evaluators: int | None = Field(None, ge=1)
    evaluator_gpus: float | None = Field(None, ge=0)


class CheckpointsConfig(Section):
    """Which checkpoints stay.

    Attributes:
        keep_last: The latest so many: a damaged one is passed over.
        keep_every: Every so many epochs of the search, for later analysis; the last of the search
            always stays. 0: only that.
    """

    keep_last: int = Field(2, ge=1)
    keep_every: int = Field(10, ge=0)


class SupernetConfig(Section):
    """All there is to know about a supernet run before it starts.

    Attributes:
        space: What can be built, with its options; some spaces have no supernet.
        data: What is trained on; see `raynas.search_config.SearchConfig`.
        method: How weights and mixing weights are trained together.
        selection: How the architecture is read off the trained supernet.
        training: What shall differ from the method's settings
            (`raynas.supernets.config.SupernetTrainingConfig`).
        workers: Training workers side by side: each takes its share of every batch.
        resources: What workers and evaluators hold.
        checkpoints: Which stay.
        init_from: A supernet run, or a checkpoint of one, to go on from: same space, method and
            training; the selection may be another.
        seed: Every draw of the run derives from it.
    """

    space: Choice = Choice(name="darts")
    data: Choice = Choice(name="digits")
    method: Choice = Choice(name="darts")
    selection: Choice = Choice(name="perturbation")
    training: dict[str, Any] = Field(default_factory=dict)
    workers: int = Field(1, ge=1)
    resources: WorkersConfig = WorkersConfig()
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    init_from: str | None = None
    seed: int = Field(0, ge=0)


def _small(above: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings for minutes on a laptop, of whatever space is asked for."""
    named = above.get("space", "s2")
    name = named if isinstance(named, str) else named.get("name", "s2")
    sizes = {
        "nasbench201": {"channels": 8, "cells_per_stage": 1},
        **{key: {"channels": 4, "layers": 5} for key in ("darts", "s1", "s2", "s3", "s4")},
    }
    return {
        "space": {"name": name, **sizes.get(name, {})},
        # So few steps would hardly move alpha at its published rate.
        "training": {"epochs": 20, "batch_size": 32, "alpha_lr": 0.003},
        "selection": {"name": "perturbation", "tune_epochs": 1},
    }


_CIFAR10 = {"name": "torchvision:CIFAR10"}

SUPERNET_PRESETS: dict[str, Preset] = {
    "small": _small,
    "cifar10": {"data": _CIFAR10},
    "cifar10-drnas": {
        "space": {"name": "darts", "channels": 36, "layers": 20},
        "data": _CIFAR10,
        "method": "drnas_progressive",
        "selection": "magnitude",
    },
    "nasbench201": {
        "space": {"name": "nasbench201"},
        "data": _CIFAR10,
        "training": {"epochs": 100},
    },
    "imagenet-drnas": {
        "space": {"name": "darts", "channels": 48, "layers": 14, "stem": "imagenet"},
        "data": {"name": "imagefolder:imagenet", "image_size": 224},
        "method": {"name": "drnas_progressive", "partials": [6, 3]},
        "selection": "magnitude",
        "training": {
            "batch_size": 512,
            "lr": 0.5,
            "warmup_epochs": 5,
            "alpha_lr": 0.006,
            "alpha_grad_clip": 5.0,
        },
    },
}
"""Named sets of defaults. Settings that are a method's own, it brings along itself."""


def load_supernet_config(
    source: Path | Mapping[str, Any] | None = None,
    *,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    assignments: tuple[str, ...] = (),
) -> SupernetConfig:
    """Return the config of a supernet run: `raynas.config.load_config` with its presets."""
    return load_config(
        SupernetConfig,
        SUPERNET_PRESETS,
        source,
        preset=preset,
        overrides=overrides,
        assignments=assignments,
    )

"""What a search is: one YAML file (or dict, or flags) read into a frozen, checked model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from raynas.config import Choice, Section, load_config
from raynas.errors import nearest


class Level0Config(Section):
    """Zero-cost proxies that choose among proposals before anything is trained (§6.4).

    Attributes:
        mode: ``off``; ``init_only`` (first round only) or ``full`` (every round).
        proxies: Which; each is weighed by how well it agrees with what has been trained.
        fraction: Share of the proposed that is admitted.
        initial: Architectures scored before the first round.
        top_share: Share of the first round that is the best of all scored; the others are the best
            of a random draw.
        aggregate: How the first round makes one order of several proxies.
        batch_size: Images the proxies are computed on.
    """

    mode: Literal["off", "init_only", "full"] = "full"
    proxies: tuple[str, ...] = ("synflow", "jacob_cov", "params")
    fraction: float = Field(0.5, gt=0, le=1)
    initial: int = Field(100, ge=1)
    top_share: float = Field(0.7, ge=0, le=1)
    aggregate: Literal["in_turn", "borda", "vote", "copeland"] = "in_turn"
    batch_size: int = Field(64, ge=2)

    @field_validator("mode", mode="before")
    @classmethod
    def _yaml_off(cls, value: Any) -> Any:
        return "off" if value is False else value  # YAML 1.1 reads a bare off as false


class ResourcesConfig(Section):
    """What one trial holds while it trains.

    Attributes:
        cpus: CPU cores.
        gpus: GPUs, a fraction shares one; None: one if there are any, else none.
    """

    cpus: float = Field(1.0, ge=0)
    gpus: float | None = Field(None, ge=0)


class ConstraintsConfig(Section):
    """What a network may cost to run; kept before anything is trained.

    Limits are numbers, or text with k, M or G: ``1.5M``. What counts parameters and FLOPs (of
    one image), and what times, is a network built for the search's data, unless a source is given:
    a file ``PATH`` or ``PATH:COLUMN`` (Parquet or CSV), or ``module:function`` from an architecture
    to the number.

    Attributes:
        max_params: Most parameters (None: no limit).
        max_flops: Most multiply-accumulates of one image.
        max_latency_ms: Longest forward pass in milliseconds.
        params: Where parameters come from (None: counted).
        flops: Where FLOPs come from (None: counted).
        latency: Where latencies come from (None: timed on this machine's CPU, one thread).
        latency_batch: Images in the pass that is limited or minimised, where it is timed; the
            other of the two is noted as well.
    """

    max_params: float | None = Field(None, gt=0)
    max_flops: float | None = Field(None, gt=0)
    max_latency_ms: float | None = Field(None, gt=0)
    params: str | None = None
    flops: str | None = None
    latency: str | None = None
    latency_batch: Literal[1, 32] = 1

    @field_validator("max_params", "max_flops", "max_latency_ms", mode="before")
    @classmethod
    def _with_suffix(cls, value: Any) -> Any:
        if isinstance(value, str) and value[-1:] in _FACTORS:
            try:
                return float(value[:-1]) * _FACTORS[value[-1]]
            except ValueError:
                return value
        return value


_FACTORS = {"k": 1e3, "M": 1e6, "G": 1e9}

OBJECTIVES = ("accuracy", "params", "flops", "latency")
"""What a search can be for; all but accuracy are minimised."""


class SearchConfig(Section):
    """All there is to know about a search before it starts.

    Attributes:
        space: What can be built: ``nasbench201`` or ``module:Class``, with its options.
        data: What it is trained on: ``digits``, ``npz:PATH``, ``imagefolder:PATH``,
            ``torchvision:NAME``, with options of `raynas.training.data.load_data`.
        budget: Total of the run: ``300`` (epochs), ``90m``, ``6h`` or ``12gpuh``.
        levels: Epochs of each level, increasing; the last is the full length.
        policy: Who is trained how far.
        proposer: Which architectures next.
        level0: Zero-cost proxies.
        training: How a network is trained (`raynas.training.recipe.TrainingConfig`).
        constraints: What a network may cost to run.
        objectives: What counts: accuracy, and what is to be low beside it.
        resources: What each trial holds.
        workers: Trials side by side (None: as many as fit).
        seed: Every draw of the run derives from it.
    """

    space: Choice = Choice(name="nasbench201", channels=8, cells_per_stage=1)
    data: Choice = Choice(name="digits")
    budget: str = "120"
    levels: tuple[int, ...] = (1, 2, 4, 8)
    policy: Choice = Choice(name="nosh", per_round=5, initial=10, mode="sync")
    proposer: Choice = Choice(name="ranking")
    level0: Level0Config = Level0Config()
    training: dict[str, Any] = Field(default_factory=dict)
    constraints: ConstraintsConfig = ConstraintsConfig()
    objectives: tuple[str, ...] = ("accuracy",)
    resources: ResourcesConfig = ResourcesConfig()
    workers: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _budget_as_text(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and isinstance(value.get("budget"), int | float):
            return {**value, "budget": str(value["budget"])}
        return value

    @field_validator("objectives", mode="before")
    @classmethod
    def _objectives_by_name(cls, value: Any) -> Any:
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, list | tuple):
            return value
        names = [str(name).strip() for name in names]
        for name in names:
            if name not in OBJECTIVES:
                hint = nearest(name, OBJECTIVES)
                raise ValueError(f"unknown {name!r}{hint} (allowed: {', '.join(OBJECTIVES)})")
        if "accuracy" not in names or len(names) != len(set(names)):
            raise ValueError("name accuracy and each of the others at most once")
        return ["accuracy", *(name for name in names if name != "accuracy")]


# Schedules of §6.3. The papers do not print theirs; these are calibrated to the published totals.
PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {},
    "nasbench201-calibrated": {
        "space": {"name": "nasbench201", "channels": 16, "cells_per_stage": 5},
        "levels": [12, 50, 100, 200],
        "budget": "5550",
        "policy": {"name": "nosh", "promote_fraction": 0.5, "per_round": 10},
    },
    "nasbench201-short-calibrated": {
        "space": {"name": "nasbench201", "channels": 16, "cells_per_stage": 5},
        "levels": [1, 2, 4, 12],
        "budget": "296",
        "policy": {"name": "nosh", "promote_fraction": 0.5, "per_round": 10},
    },
}


def load_search_config(
    source: Path | Mapping[str, Any] | None = None,
    *,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    assignments: tuple[str, ...] = (),
) -> SearchConfig:
    """Return the config of a search: `load_config` with its presets."""
    return load_config(
        SearchConfig,
        PRESETS,
        source,
        preset=preset,
        overrides=overrides,
        assignments=assignments,
    )

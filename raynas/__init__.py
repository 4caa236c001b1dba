"""Predictor-based and differentiable neural architecture search on Ray."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raynas.api import (
        build_table,
        compare,
        diagnose,
        export,
        follow_job,
        import_table,
        resume,
        retrain,
        search,
        search_supernet,
        status,
        submit,
        write_report,
    )
    from raynas.errors import RaynasError, UsageError
    from raynas.loading import load
    from raynas.scheduling.budget import Budget, largest_pool, nosh_cost
    from raynas.scheduling.full import FullPolicy
    from raynas.scheduling.nosh import NoshPolicy
    from raynas.scheduling.policy import Job, Outcome, SchedulingPolicy
    from raynas.scheduling.pool import Pool
    from raynas.scheduling.snapshot import PoolSnapshot
    from raynas.search_config import SearchConfig
    from raynas.session import SearchResult
    from raynas.spaces.architecture import Architecture
    from raynas.spaces.cell_space import CellSpace
    from raynas.spaces.darts import DartsSpace
    from raynas.spaces.nasbench101 import NasBench101
    from raynas.spaces.nasbench201 import NasBench201
    from raynas.spaces.space import SearchSpace
    from raynas.supernet_config import SupernetConfig
    from raynas.supernet_session import SupernetResult

# Where each public name lives. Nothing is imported before it is used: torch and ray are heavy.
_HOMES = {
    "Architecture": "raynas.spaces.architecture",
    "Budget": "raynas.scheduling.budget",
    "CellSpace": "raynas.spaces.cell_space",
    "DartsSpace": "raynas.spaces.darts",
    "FullPolicy": "raynas.scheduling.full",
    "Job": "raynas.scheduling.policy",
    "NasBench101": "raynas.spaces.nasbench101",
    "NasBench201": "raynas.spaces.nasbench201",
    "NoshPolicy": "raynas.scheduling.nosh",
    "Outcome": "raynas.scheduling.policy",
    "Pool": "raynas.scheduling.pool",
    "PoolSnapshot": "raynas.scheduling.snapshot",
    "RaynasError": "raynas.errors",
    "SchedulingPolicy": "raynas.scheduling.policy",
    "SearchConfig": "raynas.search_config",
    "SearchResult": "raynas.session",
    "SearchSpace": "raynas.spaces.space",
    "SupernetConfig": "raynas.supernet_config",
    "SupernetResult": "raynas.supernet_session",
    "UsageError": "raynas.errors",
    "build_table": "raynas.api",
    "compare": "raynas.api",
    "diagnose": "raynas.api",
    "export": "raynas.api",
    "follow_job": "raynas.api",
    "import_table": "raynas.api",
    "largest_pool": "raynas.scheduling.budget",
    "load": "raynas.loading",
    "nosh_cost": "raynas.scheduling.budget",
    "resume": "raynas.api",
    "retrain": "raynas.api",
    "search": "raynas.api",
    "search_supernet": "raynas.api",
    "status": "raynas.api",
    "submit": "raynas.api",
    "write_report": "raynas.api",
}

__all__ = [
    "Architecture",
    "Budget",
    "CellSpace",
    "DartsSpace",
    "FullPolicy",
    "Job",
    "NasBench101",
    "NasBench201",
    "NoshPolicy",
    "Outcome",
    "Pool",
    "PoolSnapshot",
    "RaynasError",
    "SchedulingPolicy",
    "SearchConfig",
    "SearchResult",
    "SearchSpace",
    "SupernetConfig",
    "SupernetResult",
    "UsageError",
    "build_table",
    "compare",
    "diagnose",
    "export",
    "follow_job",
    "import_table",
    "largest_pool",
    "load",
    "nosh_cost",
    "resume",
    "retrain",
    "search",
    "search_supernet",
    "status",
    "submit",
    "write_report",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'raynas' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return [*__all__, "errors", "testing"]

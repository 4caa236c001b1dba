"""What works on run folders of any kind."""

from typing import TYPE_CHECKING, Any, Literal, cast

from raynas.api.retraining import resume_retrain, retrain_status
from raynas.api.searching import resume_search, search_status
from raynas.api.supernets import resume_supernet, supernet_status
from raynas.errors import ConfigError, RunFolderError, nearest
from raynas.runs.folder import RunFolder
from raynas.storage import Location

if TYPE_CHECKING:
    from raynas.retraining.session import RetrainResult
    from raynas.session import SearchResult
    from raynas.supernet_session import SupernetResult

Kind = Literal["search", "supernet", "retrain"]

_OPTIONS: dict[Kind, tuple[str, ...]] = {
    "search": ("space", "policy", "proposer", "objective", "score", "costs", "scheduler"),
    "supernet": ("space", "method", "selection"),
    "retrain": (),
}


def kind_of(run: Location | str) -> Kind:
    """Return what a run folder holds.

    Raises:
        RunFolderError: it holds no run.
    """
    kind = RunFolder(run, None).read_manifest().get("kind", "search")
    if kind not in _OPTIONS:
        raise RunFolderError(f"{run}: holds a run of unknown kind {kind!r}")
    return cast(Kind, kind)


def resume(
    run: Location | str,
    *,
    engine: str | None = None,
    workers: int | None = None,
    address: str | None = None,
    trust_code: bool = False,
    listener: Any = None,
    **own_parts: Any,
) -> "SearchResult | SupernetResult | RetrainResult":
    """Carry on an interrupted run, of whatever kind the folder holds.

    Args:
        run: The run folder, or its URI.
        engine: What it ran on, if not on Ray.
        workers: Networks, or training workers, side by side from now on (None: as in the config).
        address: A running Ray cluster.
        trust_code: Import the code outside raynas that the folder's config names. Without it a
            run folder can name nothing but raynas' own.
        listener: Called whenever something happened.
        own_parts: The objects of your own that it was started with, if there were any: ``space``,
            ``policy``, ``proposer``, ``objective``, ``score``, ``costs``, ``scheduler`` of a
            search; ``space``, ``method``, ``selection`` of a supernet run.

    Raises:
        UsageError: the folder holds no run, a running one, or names code that is not trusted.
    """
    kind = kind_of(run)
    for name in own_parts:
        if not _OPTIONS[kind]:
            raise ConfigError(f"resume: a {kind} run takes no objects, and {name!r} is given")
        if name not in _OPTIONS[kind]:
            raise ConfigError(
                f"resume: a {kind} run takes no {name!r}{nearest(name, _OPTIONS[kind])} "
                f"(allowed: {', '.join(_OPTIONS[kind])})"
            )
    shared: dict[str, Any] = {
        "workers": workers,
        "address": address,
        "trust_code": trust_code,
        "listener": listener,
        **({} if engine is None else {"engine": engine}),
    }
    if kind == "retrain":
        return resume_retrain(run, **shared)
    if kind == "supernet":
        return resume_supernet(run, **shared, **own_parts)
    return resume_search(run, **shared, **own_parts)


def status(run: Location | str) -> dict[str, Any]:
    """Return where a run is, as JSON values; reads the folder only.

    Raises:
        RunFolderError: the folder holds no run, or its journal cannot be read.
    """
    of = {"search": search_status, "supernet": supernet_status, "retrain": retrain_status}
    return of[kind_of(run)](run)

"""`raynas diagnose`: what a run's own files and checkpoints say of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from raynas.api.folders import refuse_foreign_code
from raynas.api.runs import kind_of
from raynas.config import validate
from raynas.diagnostics import SEARCH, SUPERNET
from raynas.errors import ConfigError, RunFolderError, nearest
from raynas.runs.folder import RunFolder
from raynas.runs.remote import mirrored
from raynas.runs.supernet_journal import read_supernet_journal
from raynas.search_config import SearchConfig
from raynas.selection import SELECTIONS
from raynas.spaces import SPACES
from raynas.storage import Location
from raynas.supernet_config import SupernetConfig
from raynas.supernets import METHODS

if TYPE_CHECKING:
    from raynas.diagnostics.diagnostic import Part
    from raynas.diagnostics.session import Diagnosis, Listener, Runner
    from raynas.spaces.mixture import MixableSpace
    from raynas.supernets.method import Method

_TABLES = {"space": SPACES, "method": METHODS, "selection": SELECTIONS}
DIAGNOSTICS = "diagnostics"
"""The folder of a run that holds them."""

_WHERE = {"workers", "resources", "checkpoints"}
"""What of a config does not decide what is in its checkpoints."""


def diagnose(
    run: Location | str,
    what: str | Sequence[str] = "all",
    *,
    edges: int | Literal["all"] | None = None,
    oracle_epochs: int | None = None,
    draws: int | None = None,
    reference_epochs: int | None = None,
    batches: int | None = None,
    probes: int | None = None,
    tune_epochs: int | None = None,
    seed: int | None = None,
    against: Location | str | None = None,
    space: "MixableSpace | None" = None,
    method: "Method | None" = None,
    engine: Literal["ray", "local"] = "ray",
    workers: int | None = None,
    gpus: float | None = None,
    address: str | None = None,
    trust_code: bool = False,
    listener: "Listener | None" = None,
) -> "Diagnosis":
    """Diagnose a supernet run or a search; writes ``RUN/diagnostics/``.

    Finished measurements are kept there, so a diagnosis that is asked for again goes on where it
    was. What each diagnostic says, and costs, stands in `docs/diagnostics.md`.

    Args:
        run: The run folder, or its URI.
        what: Names of diagnostics (a sequence, or a text with commas), or ``"all"`` that say
            something of this run.
        edges: Edges that `strength` looks at (3), or ``"all"``.
        oracle_epochs: Most epochs of training on for an oracle strength.
        draws: Random swaps of `shuffle` (10).
        reference_epochs: Epochs of its two reference networks (15); 0 leaves them out.
        batches: Batches that `curvature`, `trace` and `estimation` average over (3).
        probes: Random vectors of `trace` (32).
        tune_epochs: Epochs of tuning in `trajectory` (1).
        seed: Every draw derives from it (0).
        against: Another supernet run that `tuning` compares with.
        space: The object that the run was started with, if one was.
        method: Likewise.
        engine: ``"ray"``, or ``"local"`` for one process without Ray; the numbers are the same.
        workers: Measurements side by side (None: as many as fit).
        gpus: GPUs that each holds; None: one if there are any.
        address: A running Ray cluster; None uses `RAY_ADDRESS`, or starts a local Ray.
        trust_code: Import the code outside raynas that the folder's config names.
        listener: Called with a diagnostic's name, how many of its measurements are done, of how
            many, and the latest.

    Raises:
        UsageError: an unknown name, a run of another kind, or one that has nothing to diagnose yet.
        RaynasError: a measurement failed; those that are done are kept.
    """
    _check_where(engine, workers=workers, gpus=gpus, address=address)
    kind = kind_of(run)
    if kind == "retrain":
        raise ConfigError(f"{run}: is a retrain run; diagnose takes supernet runs and searches")
    table = SUPERNET if kind == "supernet" else SEARCH
    names = _names(what, table, kind)
    asked = {
        "edges": edges,
        "oracle_epochs": oracle_epochs,
        "draws": draws,
        "reference_epochs": reference_epochs,
        "batches": batches,
        "probes": probes,
        "tune_epochs": tune_epochs,
        "seed": seed,
    }
    from raynas.diagnostics.options import DiagnoseOptions
    from raynas.diagnostics.session import DiagnosisSession, run_here

    options = validate(DiagnoseOptions, {k: v for k, v in asked.items() if v is not None})
    folder = RunFolder(run, kind)
    other = None if against is None else _other(against, kind)
    files = folder.path
    if kind == "supernet":
        path = None if other is None else other.path
        subject, identity = _supernet(folder, path, space, method, trust_code)
    else:
        subject, identity = _search(folder)
    runner = run_here if engine == "local" else _on_ray(address, workers, gpus)
    session = DiagnosisSession(files, subject, table, identity, options, runner, listener)
    with mirrored(files / DIAGNOSTICS, folder.location / DIAGNOSTICS):
        diagnosis = session.run(names, skipping=what == "all")
    return replace(diagnosis, folder=folder.location / DIAGNOSTICS)


def _check_where(engine: str, **asked: Any) -> None:
    """Raise `ConfigError` for a place that is none, and for options that it has no use for."""
    if engine not in ("ray", "local"):
        raise ConfigError(f"engine: {engine!r} must be 'ray' or 'local'")
    given = [name for name, value in asked.items() if value is not None]
    if engine == "local" and given:
        raise ConfigError(f"{given[0]}: is for Ray, but --local (engine 'local') goes without")
    for name, least in (("workers", 1), ("gpus", 0)):
        if asked[name] is not None and not asked[name] >= least:
            raise ConfigError(f"{name}: {asked[name]:g} must be at least {least}")


def _names(what: str | Sequence[str], table: Mapping[str, str], kind: str) -> list[str]:
    """Return the names asked for, each once, in the order of the table for ``all``."""
    if what == "all":
        return list(table)
    names = [n.strip() for n in what.split(",")] if isinstance(what, str) else list(what)
    elsewhere = SEARCH if table is SUPERNET else SUPERNET
    other = "searches" if table is SUPERNET else "supernet runs"
    for name in names:
        if name in elsewhere:
            raise ConfigError(
                f"what: {name!r} is for {other}, and this is a {kind} run "
                f"(of it there are: all, {', '.join(table)})"
            )
        if name not in table:
            raise ConfigError(
                f"what: unknown diagnostic {name!r}{nearest(name, [*table, *elsewhere])} "
                f"(allowed: all, {', '.join(table)})"
            )
    if not names:
        raise ConfigError(f"what: nothing asked for (allowed: all, {', '.join(table)})")
    return list(dict.fromkeys(names))


def _other(against: Location | str, kind: str) -> RunFolder:
    if kind != "supernet":
        raise ConfigError("against: is for supernet runs, which `tuning` compares")
    folder = RunFolder(against, "supernet")
    folder.check_is_run()
    return folder


def _supernet(
    folder: RunFolder,
    against: Path | None,
    space: "MixableSpace | None",
    method: "Method | None",
    trust_code: bool,
) -> tuple[Any, dict[str, Any]]:
    from raynas.diagnostics.subject import supernet_subject
    from raynas.supernet_setup import SupernetParts, set_up_supernet

    config = validate(SupernetConfig, folder.read_config(), where=f"{folder.config_name}: ")
    if not trust_code:
        refuse_foreign_code(config, folder, _TABLES)
    parts = SupernetParts(space, method)
    manifest = folder.read_manifest()
    needed = [part for part in manifest.get("own_parts", []) if part != "selection"]
    missing = [part for part in needed if part not in parts.given()]
    if missing:
        raise RunFolderError(
            f"{folder} was run with objects of your own ({', '.join(missing)}): diagnose it "
            "from Python with the same ones"
        )
    job, _ = set_up_supernet(config, parts, begun=True)
    if config.init_from is not None and not _searched(folder):
        raise RunFolderError(
            f"{folder}: its supernet was trained elsewhere and holds no checkpoint of a "
            f"search: diagnose {config.init_from}"
        )
    subject = supernet_subject(folder, job, against)
    data = manifest.get("data", {}).get("fingerprint")
    return subject, {"config": config.model_dump(mode="json", exclude=_WHERE), "data": data}


def _searched(folder: RunFolder) -> bool:
    """Return whether a supernet run has trained an epoch of a search itself."""
    log, _ = read_supernet_journal(folder.journal)
    return any(step["phase"] == "search" for step in log.epochs)


def _search(folder: RunFolder) -> tuple[Any, dict[str, Any]]:
    from raynas.diagnostics.subject import search_subject

    config = validate(SearchConfig, folder.read_config(), where=f"{folder.config_name}: ")
    return search_subject(folder.path, config.levels), {}


def _on_ray(address: str | None, workers: int | None, gpus: float | None) -> "Runner":
    """Return a runner that measures on Ray, which it connects to when there is work."""

    def run(subject: Any, seed: int, parts: "Sequence[Part]") -> Iterator[tuple[int, Any]]:
        from raynas.diagnostics.session import measure
        from raynas.engine.session import Resources, connected, has_gpus
        from raynas.engine.work_items import run_items

        with connected(address, workers, Resources()):
            share = (1.0 if has_gpus() else 0.0) if gpus is None else gpus
            sent = subject if share else subject.without_gpus()
            yield from run_items(
                partial(measure, sent, seed), parts, Resources(1.0, share), workers
            )

    return run

"""`raynas supernet`: start a run, carry one on, say where one is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from raynas.api.folders import Named, refuse_foreign_code
from raynas.config import validate
from raynas.errors import RunFolderError
from raynas.runs.folder import RunFolder, new_folder
from raynas.runs.supernet_journal import read_supernet_journal
from raynas.selection import SELECTIONS
from raynas.spaces import SPACES
from raynas.storage import Location
from raynas.supernet_config import SupernetConfig, load_supernet_config
from raynas.supernets import METHODS

if TYPE_CHECKING:
    from raynas.selection.answer import Selection
    from raynas.spaces.mixture import MixableSpace
    from raynas.supernet_session import SupernetListener, SupernetResult
    from raynas.supernets.method import Method

_TABLES = {"space": SPACES, "method": METHODS, "selection": SELECTIONS}
_WHERE = {"workers", "resources", "checkpoints"}
"""What may change from one session to the next."""


def search_supernet(
    *,
    space: "MixableSpace | Named | None" = None,
    data: Named | None = None,
    method: "Method | Named | None" = None,
    selection: "Selection | Named | None" = None,
    epochs: int | None = None,
    training: Mapping[str, Any] | None = None,
    seed: int | None = None,
    workers: int | None = None,
    config: Path | Mapping[str, Any] | SupernetConfig | None = None,
    preset: str | None = None,
    assignments: Sequence[str] = (),
    engine: Literal["ray", "local"] = "ray",
    out: Location | str | None = None,
    resume: bool = False,
    address: str | None = None,
    listener: "SupernetListener | None" = None,
) -> "SupernetResult":
    """Train a weight-sharing supernet and select an architecture from it (thesis ch. 2 and 3).

    What is given here goes before `assignments`, those before `config`, that before `preset`.

    Args:
        space: What can be built: a name (or a mapping with one and options), or an object.
        data: What to train on: ``"digits"``, ``"npz:PATH"``, …
        method: How weights and mixing weights are trained: a name, or an object.
        selection: How the architecture is read off: a name, or an object.
        epochs: Length of the search.
        training: What shall differ from the method's settings of training.
        seed: Every draw derives from it.
        workers: Training workers side by side.
        config: A YAML file, a mapping, or a `SupernetConfig`; what it leaves out has defaults.
        preset: A named set of defaults.
        assignments: Any other key as text, ``"training.lr=0.05"``.
        engine: ``"ray"``, or ``"local"`` for one process without Ray.
        out: Run folder, or the URI of one; None makes a new one below ``runs/``.
        resume: If `out` holds this very run, carry it on.
        address: A running Ray cluster; None uses `RAY_ADDRESS`, or starts a local Ray.
        listener: Called with all that happened, whenever something did; maybe from a thread.

    Raises:
        UsageError: something asked for cannot be done; nothing was written.
        TrialError: training diverged, or ran out of memory.
        WorkerError: workers cannot work.
    """
    from raynas.supernet_session import SupernetSession
    from raynas.supernet_setup import SupernetParts

    overrides: dict[str, Any] = {}
    for key, value in (("data", data), ("seed", seed), ("workers", workers)):
        if value is not None:
            overrides[key] = value
    settings = {**(training or {}), **({} if epochs is None else {"epochs": epochs})}
    if settings:
        overrides["training"] = settings
    for kind, it in (("space", space), ("method", method), ("selection", selection)):
        if isinstance(it, str | Mapping):
            overrides[kind] = it
    if isinstance(config, SupernetConfig):
        config = config.model_dump(mode="json")
    resolved = load_supernet_config(
        config, preset=preset, overrides=overrides, assignments=tuple(assignments)
    )
    parts = SupernetParts(
        space=None if isinstance(space, str | Mapping) else space,
        method=None if isinstance(method, str | Mapping) else method,
        selection=None if isinstance(selection, str | Mapping) else selection,
    )
    folder = RunFolder(out if out is not None else new_folder("supernet"), "supernet")
    there = resume and folder.config.exists()
    if there:
        _check_same(folder, resolved)
    session = SupernetSession(resolved, parts, folder, listener, resumed=there)
    return session.run(engine, address)


def resume_supernet(
    run: Location | str,
    *,
    space: "MixableSpace | None" = None,
    method: "Method | None" = None,
    selection: "Selection | None" = None,
    engine: Literal["ray", "local"] = "ray",
    workers: int | None = None,
    address: str | None = None,
    trust_code: bool = False,
    listener: "SupernetListener | None" = None,
) -> "SupernetResult":
    """Carry on an interrupted supernet run from its newest checkpoint.

    Args:
        run: The run folder, or its URI.
        space: The object that was passed to `search_supernet`, if one was.
        method: Likewise.
        selection: Likewise.
        engine: Likewise.
        workers: Training workers from now on (None: as in the config).
        address: A running Ray cluster.
        trust_code: Import the code outside raynas that the folder's config names. Without it a
            run folder can name nothing but raynas' own.
        listener: Called whenever something happened.

    Raises:
        UsageError: the folder holds no run, a running one, or names code that is not trusted.
        TrialError: training diverged, or ran out of memory.
    """
    from raynas.supernet_session import SupernetSession
    from raynas.supernet_setup import SupernetParts

    folder = RunFolder(run, "supernet")
    config = _stored(folder)
    if not trust_code:
        refuse_foreign_code(config, folder, _TABLES)
    if workers is not None:
        config = config.model_copy(update={"workers": workers})
    parts = SupernetParts(space, method, selection)
    _check_parts(folder, parts.given())
    session = SupernetSession(config, parts, folder, listener, resumed=True)
    return session.run(engine, address)


def supernet_status(run: Location | str) -> dict[str, Any]:
    """Return where a supernet run is, as JSON values; reads the folder only.

    Raises:
        RunFolderError: the folder holds no run, or its journal cannot be read.
    """
    folder = RunFolder(run, "supernet")
    config = _stored(folder)
    manifest = folder.read_manifest()
    log, _ = read_supernet_journal(folder.journal)
    finished = bool(manifest.get("finished"))
    last = log.last
    epochs = log.epochs
    return {
        "kind": "supernet",
        "state": "running" if folder.is_locked() else "done" if finished else "interrupted",
        "space": config.space.name,
        "method": config.method.name,
        "selection": config.selection.name,
        "phase": "done" if finished else last["phase"] if last else "search",
        "epoch": last["epoch"] if last else 0,
        "num_epochs": (last or manifest).get("num_epochs"),
        "decisions": len(log.decisions),
        "metrics": epochs[-1]["metrics"] if epochs else None,
        "elapsed_s": round(log.elapsed_s, 3),
        "failure": None if log.failure is None else log.failure["error"],
        "architecture": log.architecture,
    }


def _stored(folder: RunFolder) -> SupernetConfig:
    return validate(SupernetConfig, folder.read_config(), where=f"{folder.config_name}: ")


def _check_parts(folder: RunFolder, given: list[str]) -> None:
    own = folder.read_manifest().get("own_parts", [])
    missing = [kind for kind in own if kind not in given]
    if missing:
        raise RunFolderError(
            f"{folder} was run with objects of your own ({', '.join(missing)}): "
            "resume it from Python with the same ones"
        )


def _check_same(folder: RunFolder, config: SupernetConfig) -> None:
    """Raise `RunFolderError` unless the folder holds this very run, wherever that was computed."""
    before = _stored(folder).model_dump(mode="json", exclude=_WHERE)
    now = config.model_dump(mode="json", exclude=_WHERE)
    for key, value in now.items():
        if before[key] != value:
            raise RunFolderError(
                f"{folder} holds another run ({key}: {before[key]}, not {value}): choose "
                f"another --out, or carry it on with `{folder.resume_command}`"
            )

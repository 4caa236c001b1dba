"""`raynas retrain`: train found architectures in full, carry that on, say where it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from raynas.api.folders import Named
from raynas.config import Choice, validate
from raynas.errors import ConfigError, RunFolderError
from raynas.retraining.config import RetrainConfig, resolve
from raynas.retraining.journal import heard, read_retraining
from raynas.retraining.records import Records, make_jobs, summarise
from raynas.retraining.sources import refuse_foreign
from raynas.runs.folder import RunFolder, new_folder
from raynas.storage import Location, StorePath

if TYPE_CHECKING:
    from raynas.retraining.session import Listener, RetrainResult


def retrain(
    architectures: "str | Location | Sequence[str | Location]" = (),
    *,
    space: Named | None = None,
    data: Named | None = None,
    epochs: int | None = None,
    seeds: int | None = None,
    preset: str | None = None,
    top: int | None = None,
    workers: int | None = None,
    workers_per_network: int | None = None,
    seed: int | None = None,
    assignments: Sequence[str] = (),
    out: Location | str | None = None,
    resume: Location | str | None = None,
    address: str | None = None,
    trust_code: bool = False,
    engine: Literal["ray", "inline"] = "ray",
    listener: "Listener | None" = None,
) -> "RetrainResult":
    """Train architectures in full, several seeds of each, and report on the test part at the end.

    The same call with the same `out`, or `resume`, goes on after an interruption: at most the
    epochs in flight are trained again.

    Args:
        architectures: Texts, literals, published names, `best.json` files or run folders.
        space: What a text is of (None: known by its form, or by the run).
        data: What to train on (None: what the run searched on, or the preset's).
        epochs: Length (None: the preset's).
        seeds: Trainings of each architecture.
        preset: ``plain``, ``cifar``, ``imagenet-mobile`` or ``imagenet-mobile-linear``.
        top: How many of each run folder, best first (None: the best).
        workers: Networks trained side by side (None: as many as fit).
        workers_per_network: Workers that share the batches of one network.
        seed: Every draw derives from it.
        assignments: Any other key as text, ``"training.lr=0.05"``.
        out: Run folder, or the URI of one; None makes a new one below ``runs/``.
        resume: The run folder of an interrupted retraining, in place of all that says what to do.
        address: A running Ray cluster; None uses `RAY_ADDRESS`, or starts a local Ray.
        trust_code: Import a space outside raynas that a file names.
        engine: ``"ray"``, or ``"inline"`` for this process, one job after the other.
        listener: Called whenever something was trained.

    Raises:
        UsageError: something asked for cannot be done; nothing was written.
        WorkerError: no worker can work.
    """
    from raynas.retraining.session import RetrainSession

    given = (
        [architectures]
        if isinstance(architectures, str | Path | StorePath)
        else list(architectures)
    )
    if resume is not None:
        if given or out is not None:
            raise ConfigError("resume: the folder says what is trained; give nothing else")
        return resume_retrain(
            resume,
            workers=workers,
            trust_code=trust_code,
            listener=listener,
            engine=engine,
            address=address,
        )
    values = {
        "epochs": epochs,
        "seeds": seeds,
        "workers": workers,
        "workers_per_network": workers_per_network,
        "seed": seed,
        "data": data,
    }
    config = resolve(
        [str(one) for one in given],
        preset=preset,
        space=None if space is None else validate(Choice, _mapping(space), where="space."),
        top=top,
        overrides={key: value for key, value in values.items() if value is not None},
        assignments=tuple(assignments),
        trust_code=trust_code,
    )
    folder = RunFolder(out if out is not None else new_folder("retrain"), "retrain")
    there = folder.config.exists()
    if there:
        if not _stored(folder).asks_for_the_same(config):
            raise RunFolderError(f"{folder} holds another retraining: choose another --out")
    else:
        folder.check_free()
    return RetrainSession(config, folder, listener, resumed=there).run(engine, address)


def resume_retrain(
    run: Location | str,
    *,
    engine: Literal["ray", "inline"] = "ray",
    workers: int | None = None,
    address: str | None = None,
    trust_code: bool = False,
    listener: "Listener | None" = None,
) -> "RetrainResult":
    """Carry on an interrupted retraining, every network from its newest epoch.

    Args:
        run: The run folder, or its URI.
        engine: See `retrain`.
        workers: Networks side by side from now on (None: as in the config).
        address: A running Ray cluster.
        trust_code: Import a space outside raynas that the folder names.
        listener: Called whenever something was trained.

    Raises:
        UsageError: the folder holds no run, a running one, or names code that is not trusted.
    """
    from raynas.retraining.session import RetrainSession

    folder = RunFolder(run, "retrain")
    config = _stored(folder)
    if not trust_code:
        refuse_foreign(config.space, folder.config_name)
    if workers is not None:
        config = config.model_copy(update={"workers": workers})
    return RetrainSession(config, folder, listener, resumed=True).run(engine, address)


def retrain_status(run: Location | str) -> dict[str, Any]:
    """Return where a retraining is, as JSON values; reads the folder only.

    Raises:
        RunFolderError: the folder holds no run, or its journal cannot be read.
    """
    folder = RunFolder(run, "retrain")
    config = _stored(folder)
    records = Records(make_jobs([one.text for one in config.architectures], config.seeds, 0))
    heard(records, read_retraining(folder.journal)[0], folder.journal)
    finished = bool(folder.read_manifest().get("finished"))
    state = "running" if folder.is_locked() else "done" if finished else "interrupted"
    return {
        "kind": "retrain",
        "state": state,
        "preset": config.preset,
        "epochs": records.epochs,
        "num_epochs": len(records) * config.epochs,
        "finished_networks": sum(record.final is not None for record in records),
        "num_networks": len(records),
        "num_failed": records.num_failed,
        "elapsed_s": round(records.elapsed_s, 3),
        "architectures": summarise(records, [one.label for one in config.architectures]),
    }


def _stored(folder: RunFolder) -> RetrainConfig:
    return validate(RetrainConfig, folder.read_config(), where=f"{folder.config_name}: ")


def _mapping(named: Named) -> Mapping[str, Any]:
    return {"name": named} if isinstance(named, str) else named

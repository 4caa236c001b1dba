"""`raynas search`: start one, carry one on, say where one is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from raynas.api.folders import Named, refuse_foreign_code
from raynas.config import validate
from raynas.errors import ConfigError, RunFolderError
from raynas.proposing import PROPOSERS
from raynas.runs.folder import RunFolder, new_folder
from raynas.runs.journal import read_journal, recorded
from raynas.scheduling import POLICIES
from raynas.scheduling.objective import Objective
from raynas.scheduling.pool import Pool
from raynas.scheduling.simulate import Score
from raynas.search_config import SearchConfig, load_search_config
from raynas.spaces import SPACES
from raynas.spaces.space import SearchSpace
from raynas.storage import Location

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

    from raynas.session import Listener, SearchResult
    from raynas.setup import CostFunction, MakeProposer, Policy

_TABLES = {"space": SPACES, "policy": POLICIES, "proposer": PROPOSERS}


def search(
    *,
    space: SearchSpace | Named | None = None,
    data: Named | None = None,
    budget: str | int | None = None,
    levels: Sequence[int] | None = None,
    policy: "Policy | Named | None" = None,
    proposer: "MakeProposer | Named | None" = None,
    objective: Objective | None = None,
    score: Score | None = None,
    constraints: Mapping[str, Any] | None = None,
    objectives: str | Sequence[str] | None = None,
    costs: "Mapping[str, CostFunction] | None" = None,
    seed: int | None = None,
    workers: int | None = None,
    config: Path | Mapping[str, Any] | SearchConfig | None = None,
    preset: str | None = None,
    assignments: Sequence[str] = (),
    scheduler: "TrialScheduler | None" = None,
    engine: Literal["ray", "simulate"] = "ray",
    out: Location | str | None = None,
    address: str | None = None,
    listener: "Listener | None" = None,
) -> "SearchResult":
    """Search for an architecture with RANK-NOSH (thesis ch. 4).

    What is given here goes before `assignments`, those before `config`, that before `preset`.

    Args:
        space: What can be built: a name (or a mapping with one and options), or an object.
        data: What to train on: ``"digits"``, ``"npz:PATH"``, … (ignored with an `objective`).
        budget: Total of the run: ``300`` epochs, ``"90m"``, ``"6h"``, ``"12gpuh"``.
        levels: Epochs of each level of the pyramid, increasing; the last is the full length.
        policy: Who is trained how far: a name, a policy, or a function from (levels, budget) to
            one (a class will do).
        proposer: Which next: a name, a proposer, or a function from a space to one.
        objective: What training means, if not training on `data`.
        score: Zero-cost proxies of architectures, if the objective is your own.
        constraints: What a network may cost: keys of `raynas.search_config.ConstraintsConfig`.
        objectives: What counts: ``"accuracy,latency"``; all but accuracy are minimised.
        costs: Your own functions from an architecture to its ``params``, ``flops`` or ``latency``.
        seed: Every draw derives from it.
        workers: Networks trained side by side (None: as many as fit).
        config: A YAML file, a mapping, or a `SearchConfig`; what it leaves out has defaults.
        preset: A named set of defaults.
        assignments: Any other key as text, ``"training.lr=0.05"``.
        scheduler: A Ray Tune scheduler of your own that decides in the policy's place; the policy
            should then be ``"full"``.
        engine: ``"ray"``, or ``"simulate"`` for one process and a simulated clock.
        out: Run folder, or the URI of one; None makes a new one below ``runs/``.
        address: A running Ray cluster; None uses `RAY_ADDRESS`, or starts a local Ray.
        listener: Called whenever the pool changed.

    Raises:
        UsageError: something asked for cannot be done; nothing was written.
        WorkerError: no worker can work.
        TrialError: every newcomer of a round failed.
    """
    from raynas.session import Session
    from raynas.setup import Parts

    values: dict[str, Any] = {
        "data": data,
        "budget": budget,
        "levels": levels,
        "seed": seed,
        "workers": workers,
    }
    values |= {"constraints": constraints, "objectives": objectives}
    overrides = {key: value for key, value in values.items() if value is not None}
    for kind, it in (("space", space), ("policy", policy), ("proposer", proposer)):
        if isinstance(it, str | Mapping):
            overrides[kind] = it
    if isinstance(config, SearchConfig):
        config = config.model_dump(mode="json")
    resolved = load_search_config(
        config, preset=preset, overrides=overrides, assignments=tuple(assignments)
    )
    folder = RunFolder(out if out is not None else new_folder("search"))
    folder.check_free()
    parts = Parts(
        space=None if isinstance(space, str | Mapping) else space,
        policy=None if isinstance(policy, str | Mapping) else policy,
        proposer=None if isinstance(proposer, str | Mapping) else proposer,
        objective=objective,
        score=score,
        costs=costs,
    )
    return Session(resolved, parts, folder, listener).run(engine, address, scheduler)


def resume_search(
    run: Location | str,
    *,
    space: SearchSpace | None = None,
    policy: "Policy | None" = None,
    proposer: "MakeProposer | None" = None,
    objective: Objective | None = None,
    score: Score | None = None,
    costs: "Mapping[str, CostFunction] | None" = None,
    scheduler: "TrialScheduler | None" = None,
    engine: Literal["ray", "simulate"] = "ray",
    workers: int | None = None,
    address: str | None = None,
    trust_code: bool = False,
    listener: "Listener | None" = None,
) -> "SearchResult":
    """Carry on an interrupted search to the same budget.

    Args:
        run: The run folder, or its URI.
        space: The object that was passed to `search`, if one was.
        policy: Likewise.
        proposer: Likewise.
        objective: Likewise.
        score: Likewise.
        costs: Likewise.
        scheduler: Likewise.
        engine: Likewise.
        workers: Trials side by side from now on (None: as in the config).
        address: A running Ray cluster.
        trust_code: Import the code outside raynas that the folder's config names. Without it a
            run folder can name nothing but raynas' own.
        listener: Called whenever the pool changed.

    Raises:
        UsageError: the folder holds no run, a running one, or names code that is not trusted.
    """
    from raynas.session import Session
    from raynas.setup import Parts

    folder = RunFolder(run)
    stored = folder.read_config()
    config = validate(SearchConfig, stored, where=f"{folder.config_name}: ")
    if not trust_code:
        refuse_foreign_code(config, folder, _TABLES)
        _refuse_foreign_costs(config, folder)
    if workers is not None:
        config = config.model_copy(update={"workers": workers})
    parts = Parts(space, policy, proposer, objective, score, costs)
    given = parts.given()
    missing = [kind for kind in folder.read_manifest().get("own_parts", []) if kind not in given]
    if missing:
        raise RunFolderError(
            f"{folder} was searched with objects of your own ({', '.join(missing)}): "
            "resume it from Python with the same ones"
        )
    session = Session(config, parts, folder, listener, resumed=True)
    return session.run(engine, address, scheduler)


def search_status(run: Location | str) -> dict[str, Any]:
    """Return where a search is, as JSON values; reads the folder only.

    Raises:
        RunFolderError: the folder holds no run, or its journal cannot be read.
    """
    folder = RunFolder(run)
    config = validate(SearchConfig, folder.read_config(), where=f"{folder.config_name}: ")
    history = read_journal(folder.journal)[0] if folder.journal.exists() else []
    pool = Pool(config.levels)
    fit: dict[str, Any] | None = None
    for event, elapsed_s in recorded(pool, history, folder.journal):
        pool.elapsed_s = elapsed_s
        fit = getattr(event, "fit", None) or fit
    best = pool.best()
    finished = bool(folder.read_manifest().get("finished"))
    state = "running" if folder.is_locked() else "done" if finished else "interrupted"
    return {
        "state": state,
        "budget": config.budget,
        "spent": f"{pool.spent_epochs} epochs of a budget of {config.budget}",
        "spent_epochs": pool.spent_epochs,
        "elapsed_s": round(pool.elapsed_s, 3),
        "levels": list(config.levels),
        "reached": pool.population(),
        "rounds": pool.rounds,
        "num_failed": pool.num_failed,
        "architecture": best.text if best else None,
        "accuracy": best.accuracy if best else None,
        "fit": fit,
    }


def _refuse_foreign_costs(config: SearchConfig, folder: RunFolder) -> None:
    from raynas.costing import foreign_sources

    for code in foreign_sources(config):
        raise ConfigError(
            f"{folder.config_name}: constraints name {code!r}, code outside raynas; "
            "pass --trust-code to import it"
        )

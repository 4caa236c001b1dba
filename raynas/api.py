"""The things raynas does, each as one function from a config (or objects) to a result.

Objects are passed; names exist only in configs. The command line calls nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from raynas.config import SearchConfig, load_search_config, validate
from raynas.errors import ConfigError, RunFolderError, nearest
from raynas.proposing import PROPOSERS
from raynas.registry import foreign_code
from raynas.runs.folder import RunFolder, new_folder
from raynas.runs.journal import read_journal
from raynas.scheduling import POLICIES
from raynas.scheduling.objective import Objective
from raynas.scheduling.pool import Pool
from raynas.scheduling.simulate import Score
from raynas.spaces import SPACES
from raynas.spaces.space import SearchSpace

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

    from raynas.comparing.comparison import Comparison
    from raynas.session import Listener, SearchResult
    from raynas.setup import CostFunction, MakeProposer, Policy

Named = str | Mapping[str, Any]
"""A name (ours, or ``module:Class``), or a mapping with a ``name`` and its options."""


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
    out: Path | str | None = None,
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
        constraints: What a network may cost: keys of `raynas.config.ConstraintsConfig`.
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
        out: Run folder; None makes a new one below ``runs/``.
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


def resume(
    run: Path | str,
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
        run: The run folder.
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
    config = validate(SearchConfig, stored, where=f"{folder.config}: ")
    if not trust_code:
        _refuse_foreign_code(config, folder)
    if workers is not None:
        config = config.model_copy(update={"workers": workers})
    parts = Parts(space, policy, proposer, objective, score, costs)
    given = parts.given()
    missing = [kind for kind in folder.read_manifest().get("own_parts", []) if kind not in given]
    if missing:
        raise RunFolderError(
            f"{folder.path} was searched with objects of your own ({', '.join(missing)}): "
            "resume it from Python with the same ones"
        )
    session = Session(config, parts, folder, listener, resumed=True)
    return session.run(engine, address, scheduler)


def status(run: Path | str) -> dict[str, Any]:
    """Return where a search is, as JSON values; reads the folder only.

    Raises:
        RunFolderError: the folder holds no run, or its journal cannot be read.
    """
    folder = RunFolder(run)
    config = validate(SearchConfig, folder.read_config(), where=f"{folder.config}: ")
    history = read_journal(folder.journal)[0] if folder.journal.exists() else []
    pool = Pool(config.levels)
    fit: dict[str, Any] | None = None
    for event, elapsed_s in history:
        pool.record(event)
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


def build_table(
    space: Named,
    data: Named,
    *,
    count: int,
    epochs: int,
    out: Path | str,
    name: str | None = None,
    seed: int = 0,
    assignments: Sequence[str] = (),
    workers: int | None = None,
    address: str | None = None,
    listener: "Listener | None" = None,
) -> Path:
    """Train a random sample (or all) of a space in full and keep the learning curves as a table.

    Every architecture is trained once, none twice by key, and reports validation and test accuracy
    after every epoch. Asked for again with the same `out`, an interrupted build goes on.

    Args:
        space: What can be built, by name.
        data: What to train on, by name.
        count: Architectures to train; more than the space has trains all of them.
        epochs: Full length of a training.
        out: Run folder; the table is ``table.parquet`` in it.
        name: What the table is called (None: the folder's name).
        seed: Decides the sample and every training.
        assignments: Any other key of a search's config, ``"training.lr=0.05"``.
        workers: Networks trained side by side (None: as many as fit).
        address: A running Ray cluster.
        listener: Called whenever something was trained.

    Returns:
        The table's path. What has been trained so far is in it, also after an interruption.

    Raises:
        UsageError: something asked for cannot be done; the folder holds another run.
    """
    from raynas.tabular.build import config_of, table_of
    from raynas.tabular.format import write_table

    if count < 1 or epochs < 1:
        raise ConfigError(f"table: count {count} and epochs {epochs} must be at least 1")
    asked = config_of(space, data, count=count, epochs=epochs, seed=seed)
    config = load_search_config(asked, assignments=tuple(assignments))
    folder = RunFolder(out)
    if folder.config.exists():
        before = validate(SearchConfig, folder.read_config(), where=f"{folder.config}: ")
        if not _same_but_where(before, config):
            raise RunFolderError(f"{folder.path} holds another run: choose another --out")
        resume(folder.path, workers=workers, address=address, trust_code=True, listener=listener)
    else:
        search(config=config, workers=workers, out=out, address=address, listener=listener)
    events = [event for event, _ in read_journal(folder.journal)[0]]
    title = name or folder.path.resolve().name
    header, texts, columns = table_of(events, config.levels, title, config.space)
    path = folder.path / "table.parquet"
    write_table(path, header, texts, columns)
    return path


def import_table(
    source: Path | str, out: Path | str, *, benchmark: str, dataset: str = "cifar10"
) -> Path:
    """Make a table of a benchmark's own download; nothing in it is run.

    Args:
        source: What the benchmark's authors offer: a file, or NATS-Bench's folder.
        out: Parquet file to write.
        benchmark: ``"nasbench201"``, ``"natsbench"`` (topology space) or ``"nasbench101"``.
        dataset: ``"cifar10"``, ``"cifar100"`` or ``"imagenet16"``; not for NAS-Bench-101.

    Raises:
        UsageError: unknown benchmark or data set; a file that cannot be read or is laid out
            otherwise.
    """
    from raynas.tabular.format import write_table
    from raynas.tabular.natsbench import import_natsbench
    from raynas.tabular.tfrecord import import_nasbench101

    known = ("nasbench101", "nasbench201", "natsbench")
    if benchmark not in known:
        raise ConfigError(
            f"benchmark: unknown {benchmark!r}{nearest(benchmark, known)} "
            f"(allowed: {', '.join(known)})"
        )
    if benchmark == "nasbench101":
        found = import_nasbench101(Path(source))
    else:
        found = import_natsbench(Path(source), dataset)
    write_table(Path(out), *found)
    return Path(out)


def describe_table(table: str, *, trust_code: bool = False) -> str:
    """Return what a table holds, in a few lines.

    Raises:
        UsageError: there is no such table, or something is wrong with it.
    """
    from raynas.tabular.names import load_table
    from raynas.tabular.table import describe

    return describe(load_table(table, trust_code=trust_code))


def compare(
    table: str,
    *,
    methods: str | Sequence[str],
    budgets: Sequence[int],
    seeds: int = 20,
    target: float | None = None,
    assignments: Sequence[str] = (),
    out: Path | str | None = None,
    processes: int | None = None,
    trust_code: bool = False,
    listener: Callable[[int, int], None] = lambda done, total: None,
) -> "Comparison":
    """Run methods on a table of measured networks, without any training.

    Each method is run anew for each budget and seed. The incumbent is chosen by the table's
    selection column and judged by its report column, which no method sees. The same call gives the
    same figures; one that was stopped goes on where it was.

    Args:
        table: ``"nb201:PATH:cifar10"``, ``"nb101:PATH"``, a Parquet file of raynas' format, or the
            name of a built-in table.
        methods: ``"proposer:policy"`` each, or ``"name=proposer:policy"``.
        budgets: Epochs, a promotion paying the difference.
        seeds: Runs of each method at each budget.
        target: Report metric to reach (a fraction), for the speed-ups; None: each method's end.
        assignments: ``"key.sub=value"`` for all methods or ``"METHOD.key.sub=value"`` for one.
        out: Folder for the results; None makes a new one below ``runs/``.
        processes: Runs side by side (None: one a core).
        trust_code: Import a space outside raynas that the table names.
        listener: Told how many runs are done, and of how many.

    Raises:
        UsageError: no such table, method or option; a budget the table cannot serve; a folder
            with something else in it.
    """
    from raynas.comparing.campaign import Job, Log, run_all
    from raynas.comparing.comparison import Comparison, check_budgets
    from raynas.comparing.folder import open_folder
    from raynas.comparing.method import parse_methods
    from raynas.tabular.names import load_table

    if seeds < 1:
        raise ConfigError(f"seeds: {seeds} must be at least 1")
    if target is not None and not 0 < target < 1:
        raise ConfigError(f"target: {target:g} must be a fraction between 0 and 1")
    measured = load_table(table, trust_code=trust_code)
    chosen = parse_methods(methods, measured, assignments)
    epochs = check_budgets(measured, budgets)
    for method in chosen:
        method.check(measured, epochs[0])
    folder = Path(out) if out is not None else new_folder("compare")
    open_folder(folder, table, chosen)
    jobs = [Job(m, b, seed) for b in epochs for seed in range(seeds) for m in chosen]
    records = run_all(
        table,
        measured,
        jobs,
        Log(folder / "runs.jsonl"),
        processes=processes,
        trust_code=trust_code,
        listener=listener,
    )
    comparison = Comparison(
        measured, tuple(m.name for m in chosen), epochs, seeds, tuple(records), target, folder
    )
    comparison.write(folder)
    return comparison


def _refuse_foreign_code(config: SearchConfig, folder: RunFolder) -> None:
    for kind, table in (("space", SPACES), ("policy", POLICIES), ("proposer", PROPOSERS)):
        choice = getattr(config, kind)
        code = foreign_code(kind, choice.name, choice.options, table)
        if code is not None:
            raise ConfigError(
                f"{folder.config}: {kind} {code!r} is code outside raynas; "
                "pass --trust-code to import it"
            )
    from raynas.costing import foreign_sources

    for code in foreign_sources(config):
        raise ConfigError(
            f"{folder.config}: constraints name {code!r}, code outside raynas; "
            "pass --trust-code to import it"
        )


def _same_but_where(first: SearchConfig, second: SearchConfig) -> bool:
    """Return whether two configs ask for the same, wherever and how wide it is computed."""
    where = {"workers", "resources"}
    return first.model_dump(exclude=where) == second.model_dump(exclude=where)

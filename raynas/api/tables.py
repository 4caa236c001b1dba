"""Tables of measured networks, and comparisons of methods on them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raynas.api.folders import Named
from raynas.api.searching import resume_search, search
from raynas.config import validate
from raynas.errors import ConfigError, RunFolderError, nearest
from raynas.runs.folder import RunFolder, new_folder
from raynas.runs.journal import read_journal
from raynas.runs.remote import pushed
from raynas.search_config import SearchConfig, load_search_config
from raynas.storage import Location, StorePath, location

if TYPE_CHECKING:
    from raynas.comparing.comparison import Comparison
    from raynas.session import Listener


def build_table(
    space: Named,
    data: Named,
    *,
    count: int,
    epochs: int,
    out: Location | str,
    name: str | None = None,
    seed: int = 0,
    assignments: Sequence[str] = (),
    workers: int | None = None,
    address: str | None = None,
    listener: "Listener | None" = None,
) -> Location:
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
        before = validate(SearchConfig, folder.read_config(), where=f"{folder.config_name}: ")
        if not _same_but_where(before, config):
            raise RunFolderError(f"{folder} holds another run: choose another --out")
        resume_search(
            folder.location, workers=workers, address=address, trust_code=True, listener=listener
        )
    else:
        search(config=config, workers=workers, out=out, address=address, listener=listener)
    events = [event for event, _ in read_journal(folder.journal)[0]]
    title = name or folder.location.resolve().name
    header, texts, columns = table_of(events, config.levels, title, config.space)
    with pushed(folder.location) as here:
        write_table(here / "table.parquet", header, texts, columns)
    return folder.location / "table.parquet"


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

    folder = location(out) if out is not None else new_folder("compare")
    if isinstance(folder, StorePath):
        raise ConfigError(f"out: {folder}: a comparison is written to a local folder: give --out")
    if seeds < 1:
        raise ConfigError(f"seeds: {seeds} must be at least 1")
    if target is not None and not 0 < target < 1:
        raise ConfigError(f"target: {target:g} must be a fraction between 0 and 1")
    measured = load_table(table, trust_code=trust_code)
    chosen = parse_methods(methods, measured, assignments)
    epochs = check_budgets(measured, budgets)
    for method in chosen:
        method.check(measured, epochs[0])
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


def _same_but_where(first: SearchConfig, second: SearchConfig) -> bool:
    """Return whether two configs ask for the same, wherever and how wide it is computed."""
    where = {"workers", "resources"}
    return first.model_dump(exclude=where) == second.model_dump(exclude=where)

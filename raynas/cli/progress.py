"""What a running search shows: a live table on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

from raynas.cli.common import duration, percent
from raynas.scheduling.budget import Budget, Unit
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Search

_LINE_EVERY_S = 5.0
_DRAW_EVERY_S = 0.2
_ETA_AFTER = 0.05


class Progress(Protocol):
    """Shows a search while it runs; a context manager."""

    def __call__(self, search: Search, budget: Budget) -> None:
        """Hear that something changed."""
        ...

    def __enter__(self) -> "Progress": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Silent:
    """Shows nothing (``--json``)."""

    def __call__(self, search: Search, budget: Budget) -> None:
        """Do nothing."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: object) -> None:
        return


class Lines(Silent):
    """A plain line every few seconds and at each round."""

    def __init__(self) -> None:
        self._said_at = -_LINE_EVERY_S
        self._rounds = -1

    def __call__(self, search: Search, budget: Budget) -> None:
        """Print a line if one is due."""
        now = time.monotonic()
        pool = search.pool
        if now - self._said_at < _LINE_EVERY_S and pool.rounds == self._rounds:
            return
        self._said_at, self._rounds = now, pool.rounds
        print(line(search, budget), flush=True)


class LiveTable(Silent):
    """A table that redraws itself."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._drawn_at = -_DRAW_EVERY_S

    def __enter__(self) -> "LiveTable":
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def __call__(self, search: Search, budget: Budget) -> None:
        """Redraw if the last drawing is old enough."""
        now = time.monotonic()
        if now - self._drawn_at >= _DRAW_EVERY_S:
            self._drawn_at = now
            self._live.update(table(search, budget), refresh=True)


def spent_words(pool: Pool, budget: Budget) -> str:
    """Return what is spent of what, e.g. ``87 of 120 epochs``."""
    if budget.unit is Unit.EPOCHS:
        return f"{pool.spent_epochs} of {budget.limit:g} epochs"
    unit = "GPU time" if budget.unit is Unit.GPU_S else "wall clock"
    spent = duration(budget.spent(pool))
    return f"{spent} of {duration(budget.limit)} {unit}, {pool.spent_epochs} epochs"


def eta_s(pool: Pool, budget: Budget) -> float | None:
    """Return the seconds the rest of the budget will take at the pace so far."""
    spent = budget.spent(pool)
    if budget.unit is Unit.WALL_S:
        return max(0.0, budget.limit - spent)
    if spent < _ETA_AFTER * budget.limit or pool.elapsed_s <= 0:
        return None  # starting up says little of the pace
    return max(0.0, budget.limit - spent) * pool.elapsed_s / spent


def pyramid_words(pool: Pool) -> str:
    """Return how many ever reached each level, lowest first, e.g. ``48 > 24 > 12 > 6``."""
    return " > ".join(map(str, pool.population()))


def line(search: Search, budget: Budget) -> str:
    """Return one line on where a search is."""
    pool = search.pool
    best = pool.best()
    parts = [
        f"round {max(0, pool.rounds - 1)}",
        spent_words(pool, budget),
        f"reached {pyramid_words(pool)}",
        f"running {pool.num_running}",
        f"best {percent(best.accuracy if best else None)}",
    ]
    tau = (search.fit or {}).get("kendall_tau")
    if tau is not None:
        parts.append(f"tau {tau:.2f}")
    left_s = eta_s(pool, budget)
    if left_s:
        parts.append(f"about {duration(left_s)} left")
    return " | ".join(parts)


def table(search: Search, budget: Budget) -> Table:
    """Return the live table."""
    pool = search.pool
    best = pool.best()
    left_s = eta_s(pool, budget)
    shown = Table(title=f"round {max(0, pool.rounds - 1)}: {spent_words(pool, budget)}")
    for column in ("level", "epochs", "reached", "resting", "training", "best"):
        shown.add_column(column, justify="right")
    for level in range(pool.num_levels, 0, -1):
        accuracies = [c.level_accuracy[level - 1] for c in pool if c.level >= level]
        shown.add_row(
            str(level),
            str(pool.epochs_per_level[level - 1]),
            str(pool.reached(level)),
            str(pool.num_resting(level) if level < pool.num_levels else pool.reached(level)),
            str(pool.heading(level)),
            percent(max(accuracies)) if accuracies else "-",
        )
    shown.add_row("0", "-", str(len(pool.scored)), str(len(pool.scored)), "-", "proxies")
    tau = (search.fit or {}).get("kendall_tau")
    shown.caption = "  ".join(
        [
            f"best {percent(best.accuracy if best else None)}",
            f"running {pool.num_running}",
            f"failed {pool.num_failed}",
            f"predictor tau {tau:.2f}" if tau is not None else "predictor not fitted yet",
            f"{duration(pool.elapsed_s)} elapsed",
            f"about {duration(left_s)} left" if left_s else "",
        ]
    )
    return shown

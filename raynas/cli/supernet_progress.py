"""What a running supernet shows: a live table on a terminal, plain lines elsewhere."""

import threading
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

from raynas.cli.common import duration, percent
from raynas.runs.supernet_journal import Record, SupernetLog

_SHOWN_DECISIONS = 8
_PHASES = {"search": "search", "select": "selection"}


class SupernetProgress(Protocol):
    """Shows a supernet run while it goes on; a context manager."""

    def __call__(self, log: SupernetLog) -> None:
        """Hear that something happened."""
        ...

    def __enter__(self) -> "SupernetProgress": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Silent:
    """Shows nothing (``--json``)."""

    def __call__(self, log: SupernetLog) -> None:
        """Do nothing."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: object) -> None:
        return


class Lines(Silent):
    """A plain line for every epoch and every decision."""

    def __init__(self) -> None:
        self._said: int | None = None

    def __call__(self, log: SupernetLog) -> None:
        """Print what is new; of a run that was resumed, where it is."""
        if self._said is None and log.steps and len(log.sessions) > 1:
            self._said = max(0, log.sessions[-1]["from_step"])
            print(f"goes on after step {self._said}", flush=True)
        said = self._said or 0
        for step in log.steps:
            if step["step"] > said:
                print("\n".join(step_lines(step, log)), flush=True)
                said = step["step"]
        self._said = said


class LiveTable(Silent):
    """A table that redraws itself, with the time since the last step."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._lock = threading.Lock()

    def __enter__(self) -> "LiveTable":
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def __call__(self, log: SupernetLog) -> None:
        """Redraw."""
        with self._lock:
            self._live.update(table(log), refresh=True)


def make_supernet_progress(as_json: bool) -> SupernetProgress:
    """Return what shows a supernet run, on this kind of output."""
    if as_json:
        return Silent()
    console = Console()
    return LiveTable(console) if console.is_terminal else Lines()


def eta_s(log: SupernetLog) -> float | None:
    """Return the seconds the rest will take at the pace so far; None if nothing tells."""
    epochs, last = log.epochs, log.last
    if last is None or not epochs:
        return None
    done = last["epoch"]
    left = last["num_epochs"] - done
    of_phase = [step["time_s"] for step in epochs if step["phase"] == last["phase"]]
    pace = of_phase or [step["time_s"] for step in epochs]
    seconds = left * sum(pace) / len(pace)
    deciding = [step["time_s"] for step in log.steps if step["event"] == "decision"]
    tuned = sum(step["phase"] == "select" for step in epochs)
    if deciding and tuned and last["phase"] == "select":
        seconds += left * sum(deciding) / tuned  # decisions come along with the epochs between
    return float(seconds)


def number(value: Any, digits: int = 3) -> str:
    """Return a figure, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def epoch_words(step: Record) -> list[str]:
    """Return what an epoch's metrics say, most important first."""
    metrics = step["metrics"]
    words = [
        f"accuracy {percent(metrics.get('accuracy'))}",
        f"loss {number(metrics.get('loss'))}",
        f"w {number(metrics.get('train_loss'))}",
        f"alpha {number(metrics.get('alpha_loss'))}",
    ]
    for name, shown in (("theta_entropy", "θ entropy"), ("skip_gap", "skip gap")):
        found = _of_kinds(metrics, name)
        if found:
            words.append(f"{shown} {found}")
    return words


def decision_words(decision: Record) -> str:
    """Return a decision with the accuracies behind it."""
    if decision["edge"] is not None:
        where = f"{decision['kind']} edge {decision['source']}->{decision['target']}"
    else:
        where = f"{decision['kind']} node {decision['node']}"
    chosen = ", ".join(decision["chosen_names"])
    return f"{where}: {chosen} ({_behind(decision)})"


def step_lines(step: Record, log: SupernetLog) -> list[str]:
    """Return the lines that say what a step did."""
    head = f"{_PHASES[step['phase']]} epoch {step['epoch']} of {step['num_epochs']}"
    if step["event"] == "epoch":
        left = eta_s(log)
        tail = [f"about {duration(left)} left"] if left else []
        return [" | ".join([head, *epoch_words(step), *tail])]
    shown = [decision_words(decision) for decision in step["decisions"]]
    return [f"{head} | {words} | {duration(step['time_s'])}" for words in shown]


def table(log: SupernetLog) -> Table:
    """Return the live table: the epochs' figures, then the latest decisions."""
    last = log.last
    if last is None:
        return Table("starting workers", box=None)
    shown = Table(
        title=f"{_PHASES[last['phase']]}: epoch {last['epoch']} of {last['num_epochs']}, "
        f"{len(log.decisions)} decisions"
    )
    for column in ("epoch", "accuracy", "loss", "w loss", "alpha loss", "θ entropy", "skip gap"):
        shown.add_column(column, justify="right")
    for step in log.epochs[-3:]:
        metrics = step["metrics"]
        shown.add_row(
            str(step["epoch"]),
            percent(metrics.get("accuracy")),
            number(metrics.get("loss")),
            number(metrics.get("train_loss")),
            number(metrics.get("alpha_loss")),
            _of_kinds(metrics, "theta_entropy") or "-",
            _of_kinds(metrics, "skip_gap") or "-",
        )
    left = eta_s(log)
    decided = [decision_words(decision) for decision, _ in log.decisions[-_SHOWN_DECISIONS:]]
    tail = f"{duration(log.elapsed_s)} elapsed"
    shown.caption = "\n".join([*decided, tail + (f", about {duration(left)} left" if left else "")])
    return shown


def _behind(decision: Record) -> str:
    if decision["candidates"]:
        last = max(scored["round"] for scored in decision["candidates"])
        shown = [scored for scored in decision["candidates"] if scored["round"] == last]
        return "without " + ", ".join(f"{s['name']} {percent(s['accuracy'])}" for s in shown)
    if decision["strengths"]:
        pairs = zip(decision["names"], decision["strengths"], strict=True)
        return ", ".join(f"{name} {strength:.3f}" for name, strength in pairs)
    return str(decision["rule"])


def _of_kinds(metrics: Record, name: str) -> str:
    """Return a figure that each kind of cell has one of."""
    found = metrics.get(name)
    if isinstance(found, dict):
        return " ".join(number(value, 2) for value in found.values() if value is not None)
    return "" if found is None else number(found, 2)

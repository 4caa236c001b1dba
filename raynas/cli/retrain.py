"""``raynas retrain``."""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from raynas.cli.common import (
    DONE,
    FAILED,
    INTERRUPTED,
    carry_on,
    duration,
    exit_codes,
    percent,
    spread,
    warn_if_passing,
)
from raynas.cli.options import Address, Assignments, Json, Out, Seed, Workers

if TYPE_CHECKING:
    from raynas.retraining.config import RetrainConfig
    from raynas.retraining.records import Records
    from raynas.retraining.session import RetrainResult

_LINE_EVERY_S = 5.0


def retrain(
    architectures: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts, Genotype(...) literals, published names (DARTS_V2), best.json files or "
            "run folders."
        ),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="What a text is of (default: known by its form).")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="As for search (default: the run's, or the preset's).")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Length (default: the preset's).")] = None,
    seeds: Annotated[int | None, typer.Option(help="Trainings of each architecture.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="plain, cifar, imagenet-mobile or imagenet-mobile-linear."),
    ] = None,
    top: Annotated[
        int | None, typer.Option(help="How many of each run folder, best first (default: 1).")
    ] = None,
    workers: Workers = None,
    workers_per_network: Annotated[
        int | None, typer.Option(help="Workers that share one network's batches (DDP).")
    ] = None,
    out: Out = None,
    resume: Annotated[
        str | None, typer.Option(help="Carry on an interrupted retraining, as it was asked for.")
    ] = None,
    seed: Seed = None,
    set_: Assignments = None,
    address: Address = None,
    trust_code: Annotated[
        bool, typer.Option(help="Import a space outside raynas that a run or best.json names.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train found architectures in full, several seeds of each, and report on the test part.

    Ask again with the same --out to go on where it was.
    """
    with exit_codes():
        from raynas import api

        if resume is None:
            warn_if_passing(out)
        result = api.retrain(
            architectures or [],
            space=space,
            data=data,
            epochs=epochs,
            seeds=seeds,
            preset=preset,
            top=top,
            workers=workers,
            workers_per_network=workers_per_network,
            out=out,
            resume=resume,
            seed=seed,
            assignments=tuple(set_ or ()),
            address=address,
            trust_code=trust_code,
            listener=None if as_json else Lines(),
        )
        finish(result, as_json)


def finish(result: "RetrainResult", as_json: bool) -> NoReturn:
    """Say how a retraining ended, and leave with the exit code that goes with it."""
    print(json.dumps(result.as_json(), indent=2) if as_json else "\n".join(words(result)))
    for line in [*result.notices, *result.failures]:
        print(f"raynas: {line}", file=sys.stderr)
    raise typer.Exit(_code(result))


def _code(result: "RetrainResult") -> int:
    if not result.finished:
        return INTERRUPTED
    return FAILED if result.best is None else DONE


class Lines:
    """Prints a line every few seconds, and one for each job that ends."""

    def __init__(self) -> None:
        self._said_at = -_LINE_EVERY_S
        self._closed: set[int] | None = None
        self._known = 0
        self._began: tuple[int, float] | None = None

    def __call__(self, records: "Records", config: "RetrainConfig") -> None:
        """Print what is new."""
        closed = {record.job.id for record in records if record.closed}
        if self._closed is None:  # what an earlier session did is no news
            self._closed, self._known = closed, records.epochs
            print(opening(config), flush=True)
        elif self._began is None and records.epochs > self._known:  # starting up is no pace
            self._began = records.epochs, records.elapsed_s
        for job_id in sorted(closed - self._closed):
            print(job_line(records, config, job_id), flush=True)
        now = time.monotonic()
        if closed != self._closed or now - self._said_at >= _LINE_EVERY_S:
            self._said_at = now
            print(self._line(records, config), flush=True)
        self._closed = closed

    def _line(self, records: "Records", config: "RetrainConfig") -> str:
        total = len(records) * config.epochs
        done = sum(record.final is not None for record in records)
        parts = [f"{done} of {len(records)} networks", f"{records.epochs} of {total} epochs"]
        if records.num_failed:
            parts.append(f"{records.num_failed} failed")
        under_way = [r for r in records if not r.closed and r.epochs]
        for record in under_way[:3]:
            label = config.architectures[record.job.architecture].label
            accuracy = record.last("accuracy")
            shown = accuracy if accuracy is not None else record.last("train_accuracy")
            kind = "valid" if accuracy is not None else "train"
            parts.append(
                f"{label} seed {record.job.repetition}: epoch {record.epochs}, "
                f"{kind} {percent(shown)}"
            )
        left_s = self._left_s(records, config)
        if left_s:
            parts.append(f"about {duration(left_s)} left")
        return " | ".join(parts)

    def _left_s(self, records: "Records", config: "RetrainConfig") -> float | None:
        """Return the seconds the rest will take at the pace so far; None before there is one."""
        if self._began is None or records.epochs == self._began[0]:
            return None
        pace_s = (records.elapsed_s - self._began[1]) / (records.epochs - self._began[0])
        return pace_s * sum(config.epochs - r.epochs for r in records if not r.closed)


def opening(config: "RetrainConfig") -> str:
    """Return one line on what will be trained."""
    networks = counted(len(config.architectures), "architecture")
    return (
        f"{networks}, {counted(config.seeds, 'seed')}, {counted(config.epochs, 'epoch')} each "
        f"on {config.data.name} (preset {config.preset})"
    )


def counted(number: int, word: str) -> str:
    """Return a number of things in words, e.g. ``3 seeds``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def job_line(records: "Records", config: "RetrainConfig", job_id: int) -> str:
    """Return one line on a job that ended."""
    record = records[job_id]
    name = f"{config.architectures[record.job.architecture].label} seed {record.job.repetition}"
    if record.final is None:
        return f"{name}: failed"
    text = f"{name}: {record.final.part} {percent(record.final.accuracy)} after the last epoch"
    if record.best_accuracy is None:
        return text
    return f"{text}, best valid {percent(record.best_accuracy)} at epoch {record.best_epoch}"


def words(result: "RetrainResult") -> list[str]:
    """Return what a person wants to know at the end: last epoch first, best second."""
    lines = []
    if result.best is not None:
        rows = [_row(row) for row in result.summary]
        part = next(row["part"] for row in result.summary if row["part"])
        head = (
            "architecture",
            "seeds",
            f"{part}, last epoch",
            "valid, best epoch",
            "params",
            "FLOPs",
        )
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        for row in (head, *rows):
            lines.append("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)))
        lines = [line.rstrip() for line in lines]
        lines.append(f"delivered            {result.best}: raynas.load({str(result.folder)!r})")
    lines.append(
        f"trained              {result.records.epochs} epochs, {duration(result.records.elapsed_s)}"
    )
    lines.append(f"run folder           {result.folder}")
    if not result.finished:
        lines.append(carry_on(result.folder))
    return lines


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    count = "-" if row["num_params"] is None else f"{row['num_params'] / 1e6:.3g} M"
    flops = "-" if row["flops"] is None else f"{row['flops'] / 1e6:.3g} M"
    failed = f" ({row['num_failed']} failed)" if row["num_failed"] else ""
    return (
        row["label"],
        f"{row['seeds']}{failed}",
        spread(row["accuracy_mean"], row["accuracy_std"]),
        spread(row["best_valid_accuracy_mean"], row["best_valid_accuracy_std"]),
        count,
        flops,
    )

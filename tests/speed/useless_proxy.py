"""Does RANK-NOSH forget a proxy that knows nothing? A control for its learnt weights.

    .venv/bin/python tests/speed/useless_proxy.py nb201:PATH:cifar10 --seeds 50 --budget 600,2500

The table is given one more proxy, `random`: a number drawn for each architecture, anew for each
seed, so that one lucky column does not decide. Side by side, on the same seeds: no proxy at all,
the random one alone, the default proxies of the table, and those with the random one added; with
``--single``, each proxy that it names alone and, where all its voters are there, the published
vote. Printed are means, the paired difference to no proxy with Wilcoxon's p, and the same of
`default+random` to `default`. With ``--out``, finished runs are kept and not done again.
"""

import argparse
import dataclasses
import functools
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from raynas.comparing.campaign import Job, Log
from raynas.comparing.method import Method, parse_methods
from raynas.comparing.run import RunRecord, run_method
from raynas.comparing.statistics import Mean, paired_p_value, reports_at
from raynas.proxies.proxy import DEFAULT_PROXIES as VOTERS
from raynas.search_config import SearchConfig
from raynas.seeds import derive_rng
from raynas.tabular.names import load_table
from raynas.tabular.table import AccuracyTable

RANDOM = "random"

measured = functools.cache(load_table)


def with_random(table: AccuracyTable, seed: int) -> AccuracyTable:
    """Return the table with one more proxy that says nothing."""
    noise = derive_rng(seed, "useless proxy").random(len(table))
    return dataclasses.replace(table, proxies={**table.proxies, RANDOM: noise})


def methods_of(table: AccuracyTable, singles: list[str]) -> list[Method]:
    """Return what is compared."""
    usual = [name for name in SearchConfig().level0.proxies if name in table.proxies]
    judges = {RANDOM: [RANDOM], "default": usual, "default+random": [*usual, RANDOM]}
    judges |= {name: [name] for name in singles}
    options = ["no_proxy.level0.mode=off"]
    if singles and set(VOTERS) <= set(table.proxies):
        judges["vote"] = list(VOTERS)
        options.append("vote.level0.aggregate=vote")
    options += [f"{name}.level0.proxies=[{','.join(those)}]" for name, those in judges.items()]
    names = [f"{name}=ranking:nosh" for name in ("no_proxy", *judges)]
    return parse_methods(names, with_random(table, 0), options)


def run(table_name: str, job: Job) -> RunRecord:
    """Do one run, in a process of its own thread."""
    torch.set_num_threads(1)
    table = measured(table_name)
    if RANDOM in job.method.config.level0.proxies and job.method.config.level0.mode != "off":
        table = with_random(table, job.seed)
    return run_method(table, job.method, job.budget, job.seed)


def run_all(table_name: str, jobs: list[Job], log: Log, processes: int) -> list[RunRecord]:
    """Do the jobs that are not in the log."""
    done = log.read()
    left = [job for job in jobs if job.key not in done]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for record in pool.map(functools.partial(run, table_name), left):
            log.append(record)
            done[record.method, record.budget, record.seed] = record
    return [done[job.key] for job in jobs]


def report(records: list[RunRecord], names: list[str], budget: int) -> None:
    """Print one budget."""
    ends = {
        name: 100 * reports_at([r for r in records if r.method == name], budget) for name in names
    }
    width = max(map(len, names))
    print(f"\n{budget:,} epochs{'':{width}}mean, %      to no_proxy")
    for name in names:
        against = "default" if name == "default+random" else "no_proxy"
        mean, change = Mean.of(ends[name]), Mean.of(ends[name] - ends[against])
        text = f"{name:<{width}}  {mean.mean:.3f} ± {mean.ci95:.3f}"
        if name != "no_proxy":
            p_value = paired_p_value(ends[name], ends[against])
            to = " (to default)" if against == "default" else ""
            text += f"   {change.mean:+.3f} ± {change.ci95:.3f}, p = {p_value:.2g}{to}"
        print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", help="as in raynas compare --table")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", default="600,2500", help="epochs, separated by commas")
    parser.add_argument("--single", nargs="*", default=[], help="proxies to try alone as well")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder that keeps finished runs")
    options = parser.parse_args()
    table = measured(options.table)
    methods = methods_of(table, options.single)
    budgets = [int(budget) for budget in options.budget.split(",")]
    jobs = [Job(m, b, seed) for b in budgets for seed in range(options.seeds) for m in methods]
    folder = options.out or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    log = Log(folder / f"{table.name.replace(' ', '-')}.jsonl")
    records = run_all(options.table, jobs, log, options.processes)
    print(
        f"{table.name}: {table.report_metric} of the incumbent, mean ± 95 % interval over "
        f"{options.seeds} seeds; differences are paired, p is Wilcoxon's"
    )
    for budget in budgets:
        report([r for r in records if r.budget == budget], [m.name for m in methods], budget)


if __name__ == "__main__":
    main()

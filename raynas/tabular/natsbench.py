"""Import the downloads of NAS-Bench-201 and of NATS-Bench's topology space.

All three come to the same nested dicts: ``arch2infos[index][hp]["all_results"][(data set, seed)]``
holds one training, with accuracies in percent under ``"eval_acc1es"["x-valid@11"]`` and seconds an
epoch under ``"train_times"``. `hp` is the length of the run; each length is a run of its own.

* NAS-Bench-201: ``NAS-Bench-201-v1_1-096897.pth`` (`hp`: ``less`` is 12 epochs, ``full`` 200);
* NATS-Bench, one file: ``NATS-tss-v1_0-3ffb9-full.pickle.pbz2``;
* NATS-Bench, a folder: ``NATS-tss-v1_0-3ffb9-simple`` of ``meta.pickle.pbz2`` and one file a cell.

Nothing in a download is run: see `raynas.tabular.unpickling` and ``torch.load(weights_only=True)``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raynas.config import Choice
from raynas.errors import DataError, nearest
from raynas.spaces.nasbench201 import NasBench201
from raynas.tabular.format import Header, parse_texts
from raynas.tabular.unpickling import read_plain_pickle

_LENGTHS = {"12": ("12", "less"), "200": ("200", "full")}


@dataclass(frozen=True, slots=True)
class Source:
    """Where the figures of a data set are.

    Attributes:
        trained: Name of the data set whose runs are searched on.
        valid: Its set to select by.
        tested: Name of the data set whose runs are reported.
        test: Its set to report.
    """

    trained: str
    valid: str
    tested: str
    test: str


SOURCES: Mapping[str, Source] = {
    "cifar10": Source("cifar10-valid", "x-valid", "cifar10", "ori-test"),
    "cifar100": Source("cifar100", "x-valid", "cifar100", "x-test"),
    "imagenet16": Source("ImageNet16-120", "x-valid", "ImageNet16-120", "x-test"),
}
"""Data sets, by the names `raynas table import` takes."""


def import_natsbench(path: Path, dataset: str) -> tuple[Header, list[str], dict[str, Any]]:
    """Return header, texts and columns of a download, ready for `write_table`.

    Args:
        path: The download: a ``.pth``, a ``.pickle.pbz2``, or a folder of those.
        dataset: A name in `SOURCES`.

    Raises:
        DataError: unknown data set, unreadable file, another layout.
    """
    if dataset not in SOURCES:
        raise DataError(
            f"dataset: unknown {dataset!r}{nearest(dataset, SOURCES)} "
            f"(allowed: {', '.join(SOURCES)})"
        )
    source = SOURCES[dataset]
    rows = []
    try:
        for text, info in _architectures(path):
            rows.append((text, _figures(info, source)))
    except (KeyError, TypeError, IndexError) as error:
        words = f"{type(error).__name__} {error}"
        raise DataError(f"{path}: not laid out as the benchmark's download: {words}") from None
    if not rows:
        raise DataError(f"{path}: holds no architecture")
    texts = list(parse_texts(NasBench201(), [text for text, _ in rows], path))
    columns = {
        name: np.array([figures[name] for _, figures in rows], dtype=np.float32)
        for name in rows[0][1]
    }
    epochs = (12, 200)
    header = Header(
        name=f"nasbench201 {dataset}",
        space=Choice(name="nasbench201"),
        fidelity="separate",
        selection={e: f"valid_accuracy_e{e}" for e in epochs},
        report="test_accuracy_e200",
        time_s={e: f"time_s_e{e}" for e in epochs},
    )
    return header, texts, columns


def _architectures(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each architecture's text and its results by length of run."""
    if path.is_dir():
        meta = _only(path, "meta.pickle.pbz2")
        for index, text in enumerate(read_plain_pickle(meta)["meta_archs"]):
            file = path / f"{index:06d}.pickle.pbz2"
            if file.exists():
                yield text, read_plain_pickle(file)
        return
    whole = _read_file(path)
    for index, info in sorted(whole["arch2infos"].items()):
        yield whole["meta_archs"][index], info


def _only(folder: Path, name: str) -> Path:
    if not (folder / name).exists():
        raise DataError(f"{folder}: has no {name}")
    return folder / name


def _read_file(path: Path) -> Any:
    if path.suffix != ".pth":
        return read_plain_pickle(path)
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # whatever a file that is none makes torch raise
        raise DataError(f"{path}: refused: {' '.join(str(error).split())[:200]}") from None


def _figures(info: Mapping[str, Any], source: Source) -> dict[str, float]:
    """Return one architecture's columns: means over the seeds there are."""
    found: dict[str, float] = {}
    for length, names in _LENGTHS.items():
        present = [name for name in names if name in info]
        results = info[present[0] if present else names[0]]["all_results"]
        last = int(length) - 1
        searched = _runs(results, source.trained)
        found[f"valid_accuracy_e{length}"] = _accuracy(searched, source.valid, last)
        found[f"time_s_e{length}"] = _mean([_seconds(run) for run in searched])
        tested = _runs(results, source.tested)
        found[f"test_accuracy_e{length}"] = _accuracy(tested, source.test, last)
        found["num_params"] = float(searched[0]["params"]) * 1e6
        found["flops"] = float(searched[0]["flop"]) * 1e6
    found["proxy_params"], found["proxy_flops"] = found["num_params"], found["flops"]
    return found


def _runs(results: Mapping[tuple[str, int], Any], dataset: str) -> list[Mapping[str, Any]]:
    runs = [run for (name, _), run in sorted(results.items()) if name == dataset]
    if not runs:
        raise KeyError(dataset)
    return runs


def _accuracy(runs: Sequence[Mapping[str, Any]], name: str, last: int) -> float:
    return _mean([float(run["eval_acc1es"][f"{name}@{last}"]) for run in runs]) / 100


def _seconds(run: Mapping[str, Any]) -> float:
    times = run["train_times"]
    return float(sum(times.values())) if times else float("nan")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))

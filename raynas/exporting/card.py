"""The model card: what a network is, what it was trained on and for how long, how good it is."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raynas.errors import RunFolderError
from raynas.loading import Loaded
from raynas.networks.cost import flops, num_params
from raynas.networks.priced import Timed
from raynas.runs.folder import RunFolder
from raynas.storage import Location
from raynas.training.learner import auxiliary_of

CARD = "card.md"
"""Name of the card."""

_NAMES = ("network.pt2", "network.onnx", "network.py", "network.safetensors")
_LATENCY_BATCHES = (1, 32)


def read_run(folder: Location) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the manifest and the config of a run; empty ones beside a bare `best.json`."""
    run = RunFolder(folder, None)
    try:
        return run.read_manifest(), run.read_config()
    except RunFolderError:
        if run.manifest.exists() or run.config.exists():
            raise
        return {}, {}


def latencies(loaded: Loaded) -> dict[str, Any]:
    """Return milliseconds of a forward pass on this machine by size of the batch, and how timed."""
    timed = [Timed(loaded.space, loaded.task, batch) for batch in _LATENCY_BATCHES]
    found = {str(one.batch): one(loaded.architecture) for one in timed}
    how = timed[0].describe()
    return {"ms": found, "processor": platform.processor() or platform.machine(), **how}


def weights_id(loaded: Loaded) -> str:
    """Return a hash of the network's weights."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in loaded.network.state_dict().items():
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def files_beside(folder: Path, written: Sequence[Path], identity: str) -> list[str]:
    """Return the names of all exports in a folder that are of the same weights.

    Args:
        folder: Where they are.
        written: What has just been written.
        identity: See `weights_id`; an older card with another one speaks of other files.
    """
    names = {path.name for path in written}
    older = folder / CARD
    if older.exists() and identity in older.read_text():
        names |= {name for name in _NAMES if (folder / name).exists()}
    return [name for name in _NAMES if name in names]


def model_card(
    loaded: Loaded,
    manifest: Mapping[str, Any],
    config: Mapping[str, Any],
    latency: Mapping[str, Any],
    files: Sequence[str],
) -> str:
    """Return the card as Markdown.

    Args:
        loaded: The network and what it is.
        manifest: Of the run; what it lacks is left out.
        config: Of the run, likewise.
        latency: See `latencies`.
        files: Names of what was exported.
    """
    facts = loaded.facts
    title = facts.get("label") or loaded.space.name
    sections = [
        [f"# Model card: {title}", "", f"Written by raynas from `{loaded.folder}`."],
        _network(loaded),
        _data(manifest.get("data", {})),
        _budget(facts, config),
        _metrics(facts),
        _size(loaded, latency),
        _reproduce(facts, manifest),
        ["## Files", "", *(f"* `{name}`: {_USES[Path(name).suffix]}" for name in files)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


_USES = {
    ".pt2": "`torch.export.load(path).module()(images)`; the notes are in `extra_files`",
    ".onnx": "input `images`, output `logits`; the notes are in the model's metadata",
    ".py": "`load()` returns the network; needs torch and safetensors only",
    ".safetensors": "the weights of the Python file",
}


def _network(loaded: Loaded) -> list[str]:
    task, options = loaded.task, loaded.facts["space"]
    sizes = ", ".join(f"{k} {v}" for k, v in options.items() if k != "name")
    side = task.image_size
    return [
        "## Network",
        "",
        f"* architecture: `{loaded.architecture.text}`",
        f"* space: {loaded.space.name}" + (f" ({sizes})" if sizes else ""),
        f"* input: B x {task.in_channels} x {side} x {side}, float32, normalised (see Data)",
        f"* output: B x {task.num_classes} logits",
        f"* weights: {weights_id(loaded)}",
    ]


def _data(data: Mapping[str, Any]) -> list[str]:
    if not data:
        return []
    return [
        "## Data",
        "",
        f"* data set: {data['name']} (fingerprint {data['fingerprint']})",
        f"* images: {data['train_images']} to train on, {data['valid_images']} to validate on",
        f"* normalisation: (pixel - mean) / std of each channel, in the pixels' own unit; "
        f"mean {_list(data['mean'])}, std {_list(data['std'])}",
        f"* augmentation: shifts of up to {data['crop_padding']} pixels, "
        + ("mirrored" if data["flip"] else "not mirrored"),
    ]


def _budget(facts: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    spent = facts.get("budget_spent", {})
    lines = ["## Training budget", "", f"* this network: {facts['epochs']} epochs"]
    words = [f"{spent['epochs']} epochs"] if "epochs" in spent else []
    words += [f"{spent['wall_s']:.0f} s of wall clock"] if "wall_s" in spent else []
    if words:
        lines.append(f"* the whole run: {', '.join(words)}")
    if "preset" in config:
        lines.append(
            f"* protocol: {config['preset']}, {config['epochs']} epochs, {config['seeds']} seeds "
            f"of {len(config['architectures'])} architectures"
        )
    elif "budget" in config:
        lines.append(f"* search: budget {config['budget']}, levels {config['levels']}")
    training = config.get("training") or {}
    if training:
        settings = ", ".join(f"{name} {value}" for name, value in training.items())
        lines.append(f"* recipe (else defaults): {settings}")
    return lines


def _metrics(facts: Mapping[str, Any]) -> list[str]:
    """Last epoch first; what was chosen by looking comes second, and says so."""
    lines = ["## Metrics", ""]
    if facts.get("kind") != "retrain":
        return [
            *lines,
            f"* validation accuracy after epoch {facts['epochs']}: {_percent(facts['accuracy'])}, "
            "of the architecture that was chosen by it; no test image was looked at",
        ]
    over = facts["over_seeds"]
    lines.append(
        f"* {facts['accuracy_of']} accuracy after the last epoch: {_percent(facts['accuracy'])}"
    )
    if over["accuracy_std"] is not None:
        lines.append(
            f"* over {over['seeds']} seeds: {_percent(over['accuracy_mean'])} "
            f"± {_percent(over['accuracy_std'])} (mean ± sample deviation)"
        )
    if facts["best_valid_accuracy"] is not None:
        lines.append(
            f"* best validation accuracy of any epoch: {_percent(facts['best_valid_accuracy'])} "
            f"(epoch {facts['best_epoch']})"
        )
    lines += [f"* chosen by: {facts['chosen_by']}", "", "| class | accuracy |", "|---|---|"]
    per_class = facts["per_class_accuracy"]
    return [*lines, *(f"| {c} | {_percent(value)} |" for c, value in enumerate(per_class))]


def _size(loaded: Loaded, latency: Mapping[str, Any]) -> list[str]:
    auxiliary = auxiliary_of(loaded.network)
    params = num_params(loaded.network) - (num_params(auxiliary) if auxiliary else 0)
    times = ", ".join(f"{ms:.2f} ms for a batch of {size}" for size, ms in latency["ms"].items())
    return [
        "## Size and speed",
        "",
        f"* parameters: {params:,}",
        f"* multiply-accumulates for one image: {flops(loaded.network, loaded.task):,}",
        f"* latency on this device ({latency['device']} {latency['processor']}, "
        f"{latency['capability']}, {latency['threads']} thread): {times} "
        f"(median after {latency['warm_up']} passes of warm-up, eager PyTorch)",
    ]


def _reproduce(facts: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    lines = ["## Reproduce", "", f"* seed: {facts['seed']}"]
    versions = {k: v for k, v in manifest.get("versions", {}).items() if v}
    if versions:
        lines.append(f"* versions: {', '.join(f'{k} {v}' for k, v in versions.items())}")
    if "python" in manifest:
        lines.append(f"* Python {manifest['python']} on {manifest['platform']}")
    return lines


def _list(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in values) + "]"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"

"""A network in ONNX, checked with onnxruntime. Needs the extra ``onnx``."""

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raynas.errors import ConfigError, UsageError
from raynas.exporting.checking import example_images, largest_difference
from raynas.spaces.space import TaskShape
from raynas.training.arrays import one_line

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def check_installed() -> None:
    """Raise `ConfigError` if a package is missing."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"format: onnx needs {', '.join(missing)}, not installed here: "
            "pip install 'raynas[onnx]'"
        )


def write_onnx(network: nn.Module, task: TaskShape, path: Path, notes: Mapping[str, Any]) -> float:
    """Write the model and return how far its logits are from the network's.

    Its input is ``images``, its output ``logits``; the number of images is free.

    Args:
        network: In eval mode, on the CPU.
        task: What it fits.
        path: The ``.onnx`` file.
        notes: Kept in the model's metadata, as text.

    Raises:
        ConfigError: a package is missing.
        UsageError: it cannot be exported, or computes something else.
    """
    check_installed()
    _convert(network, task, path)
    _annotate(path, notes)
    return largest_difference(network, _Session(path), task, path.name)


def _convert(network: nn.Module, task: TaskShape, path: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    try:
        with _quietly():
            torch.onnx.export(
                network,
                (example_images(task, 2),),
                path,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: batch},),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # a network of somebody else's can do anything
        raise UsageError(
            f"ONNX cannot express {type(network).__name__}: {one_line(error)}"
        ) from error


def _annotate(path: Path, notes: Mapping[str, Any]) -> None:
    import onnx

    model = onnx.load(path)
    model.producer_name = "raynas"
    for name, value in notes.items():
        text = value if isinstance(value, str) else json.dumps(value)
        model.metadata_props.add(key=name, value=text)
    onnx.checker.check_model(model)
    onnx.save(model, path)


class _Session:
    """Runs a model with onnxruntime on the CPU."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, images: Tensor) -> Tensor:
        (logits,) = self._session.run(["logits"], {"images": images.numpy()})
        return torch.from_numpy(logits)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the converter from telling of its progress and of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

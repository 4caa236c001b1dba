"""Import NAS-Bench-101's own download: a TFRecord file of JSON, with protocol buffers inside.

``nasbench_full.tfrecord`` holds one record for each architecture, number of epochs and repetition:
``[module hash, epochs, adjacency digits, ops, base64 of ModelMetrics]`` as JSON. Both containers
are simple enough to be read here, without TensorFlow:

* a record is its length (8 bytes, little endian), a checksum (4), its bytes, a checksum (4);
* a protocol buffer is a list of fields, each a tag (number and kind) and a value.
"""

import base64
import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from raynas.config import Choice
from raynas.errors import DataError
from raynas.spaces.nasbench101 import NasBench101
from raynas.tabular.format import Header

EPOCHS = (4, 12, 36, 108)
"""Numbers of epochs that were trained, each a run of its own."""

_OPS = {"conv3x3-bn-relu": "conv3x3", "conv1x1-bn-relu": "conv1x1", "maxpool3x3": "maxpool3x3"}
_EVALUATION, _PARAMETERS = 1, 2  # fields of ModelMetrics
_TIME, _VALID, _TEST = 2, 4, 5  # fields of EvaluationData
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5  # wire types

_MAX_RECORD = 1 << 20


def import_nasbench101(path: Path) -> tuple[Header, list[str], dict[str, Any]]:
    """Return header, texts and columns of a download, means over its repetitions.

    Args:
        path: ``nasbench_full.tfrecord``, or ``nasbench_only108.tfrecord``.

    Raises:
        DataError: it cannot be read, is cut short, or has another layout.
    """
    space = NasBench101()
    found: dict[str, dict[int, list[tuple[float, ...]]]] = defaultdict(lambda: defaultdict(list))
    for record in _records(path):
        try:
            _, epochs, digits, ops, metrics = json.loads(record)
            text = space.parse(_text(digits, ops)).text
            found[text][int(epochs)].append(_final_figures(base64.b64decode(metrics)))
        except (ValueError, KeyError, TypeError, struct.error, IndexError) as error:
            words = " ".join(str(error).split())
            raise DataError(f"{path}: not laid out as NAS-Bench-101's download: {words}") from None
    if not found:
        raise DataError(f"{path}: holds no architecture")
    epochs_there = [e for e in EPOCHS if all(e in runs for runs in found.values())]
    if not epochs_there:
        raise DataError(f"{path}: no number of epochs was trained for all architectures")
    columns: dict[str, Any] = {}
    for e in epochs_there:
        means = np.array([np.mean(runs[e], axis=0) for runs in found.values()])
        columns |= {f"valid_accuracy_e{e}": means[:, 0], f"test_accuracy_e{e}": means[:, 1]}
        columns |= {f"time_s_e{e}": means[:, 2], "proxy_params": means[:, 3]}
    header = Header(
        name="nasbench101",
        space=Choice(name="nasbench101"),
        fidelity="separate",
        selection={e: f"valid_accuracy_e{e}" for e in epochs_there},
        report=f"test_accuracy_e{epochs_there[-1]}",
        time_s={e: f"time_s_e{e}" for e in epochs_there},
    )
    return header, list(found), columns


def _text(digits: str, ops: str) -> str:
    """Return an architecture's text from the whole adjacency matrix, row by row, and its ops."""
    names = ops.split(",")[1:-1]
    size = len(names) + 2
    if len(digits) != size * size:
        raise ValueError(f"{len(digits)} adjacency digits for {size} vertices")
    upper = "".join(digits[i * size + j] for i in range(size) for j in range(i + 1, size))
    return ",".join(_OPS[name] for name in names) + ":" + upper


def _records(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while head := file.read(12):
                if len(head) < 12:
                    raise DataError(f"{path}: cut short")
                (length,) = struct.unpack("<Q", head[:8])
                if length > _MAX_RECORD:
                    raise DataError(f"{path}: no TFRecord file (a record of {length} bytes)")
                body = file.read(length + 4)
                if len(body) < length + 4:
                    raise DataError(f"{path}: cut short")
                yield body[:length]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _final_figures(message: bytes) -> tuple[float, ...]:
    """Return validation and test accuracy, seconds and parameters of a ``ModelMetrics``."""
    evaluations = []
    num_params = float("nan")
    for number, value in _fields(message):
        if number == _EVALUATION:
            evaluations.append(dict(_fields(value)))
        elif number == _PARAMETERS:
            num_params = float(value)
    last = evaluations[-1]
    return float(last[_VALID]), float(last[_TEST]), float(last.get(_TIME, np.nan)), num_params


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield number, value
        elif kind == _DOUBLE:
            yield number, struct.unpack_from("<d", message, place)[0]
            place += 8
        elif kind == _BYTES:
            size, place = _varint(message, place)
            if place + size > len(message):
                raise ValueError("a field runs past its message")
            yield number, message[place : place + size]
            place += size
        elif kind == _FLOAT:
            yield number, struct.unpack_from("<f", message, place)[0]
            place += 4
        else:
            raise ValueError(f"unknown kind of field {kind}")


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not byte & 0x80:
            return value, place
        if shift > 63:
            raise ValueError("a number runs past 64 bits")

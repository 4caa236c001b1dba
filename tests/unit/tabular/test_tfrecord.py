"""NAS-Bench-101's own download, written here from the documented containers."""

import base64
import json
import struct

import pytest

from raynas.errors import DataError
from raynas.tabular.format import read_table, write_table
from raynas.tabular.tfrecord import import_nasbench101

MODULES = {  # adjacency digits of the whole matrix, and ops
    "a": ("0110000100010000", "input,conv3x3-bn-relu,maxpool3x3,output"),
    "b": ("010001000", "input,conv1x1-bn-relu,output"),
}


def varint(value):
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def field(number, kind, content):
    return varint(number << 3 | kind) + content


def double(number, value):
    return field(number, 1, struct.pack("<d", value))


def nested(number, content):
    return field(number, 2, varint(len(content)) + content)


def metrics(epochs, valid, test):
    def evaluation(epoch, *accuracies):
        fields = [double(1, epoch), double(2, 10.0 * epoch), double(3, 1.0)]
        fields += [double(4 + i, a) for i, a in enumerate(accuracies)]
        return nested(1, b"".join(fields) + nested(6, b"/some/checkpoint"))

    half = evaluation(epochs / 2, 0.1, 0.1)
    return half + evaluation(epochs, valid, test) + field(2, 0, varint(300_000)) + double(3, 5000.0)


def write(path, rows):
    with path.open("wb") as file:
        for row in rows:
            body = json.dumps(row).encode()
            file.write(struct.pack("<Q", len(body)) + b"crc1" + body + b"crc2")


def rows(epochs=(4, 12, 36, 108)):
    for name, (digits, ops) in MODULES.items():
        for e in epochs:
            for repetition in range(3):
                valid = 0.5 + e / 1000 + 0.01 * repetition
                content = base64.b64encode(metrics(e, valid, valid - 0.1)).decode()
                yield [name * 32, e, digits, ops, content]


def test_a_download_becomes_a_table(tmp_path):
    path = tmp_path / "nasbench_full.tfrecord"
    write(path, rows())
    out = tmp_path / "out.parquet"
    write_table(out, *import_nasbench101(path))
    table = read_table(out)
    assert table.texts == ("conv3x3,maxpool3x3:110011", "conv1x1:101")
    assert table.epochs == (4, 12, 36, 108)
    assert table.accuracy[0] == pytest.approx([0.514, 0.522, 0.546, 0.618])  # means of three
    assert table.report == pytest.approx([0.518, 0.518])
    assert table.report_metric == "test_accuracy_e108"
    assert table.time_s[1].tolist() == [40, 120, 360, 1080]
    assert table.proxies["params"].tolist() == [300_000] * 2


def test_the_small_download_has_one_length(tmp_path):
    path = tmp_path / "nasbench_only108.tfrecord"
    write(path, rows(epochs=(108,)))
    header, texts, _ = import_nasbench101(path)
    assert list(header.selection) == [108]
    assert len(texts) == 2


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda content: content[:-3], "cut short"),
        (lambda content: content[:7], "cut short"),
        (lambda content: b"\xff" * 40, "no TFRecord"),
        (lambda content: b"", "no architecture"),
        (lambda content: content.replace(b"conv1x1-bn-relu", b"conv9x9-bn-relu"), "laid out"),
    ],
)
def test_broken_downloads_are_said_in_one_line(tmp_path, change, word):
    path = tmp_path / "x.tfrecord"
    write(path, rows())
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=word) as caught:
        import_nasbench101(path)
    assert "\n" not in str(caught.value)

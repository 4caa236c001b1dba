"""Tables by name: ``nb201:PATH:cifar10``, ``nb101:PATH``, a Parquet file of ours, or a built-in."""

from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

from raynas.errors import DataError, nearest
from raynas.storage import StorePath, location
from raynas.tabular.format import read_table
from raynas.tabular.nasbench101 import read_nasbench101
from raynas.tabular.nasbench201 import read_nasbench201
from raynas.tabular.table import AccuracyTable

BUILT_IN = {"fashion16": "fashion16_nasbench201.parquet"}
"""Tables that come with raynas, by name."""

_FORMS = (
    "nb201:PATH:cifar10, nb201:PATH:cifar100, nb101:PATH, "
    "a .parquet file of raynas' format, or its URI"
)


def load_table(name: str, *, trust_code: bool = False) -> AccuracyTable:
    """Read a table.

    Args:
        name: One of the forms above.
        trust_code: Import a space outside raynas that a file names.

    Raises:
        DataError: there is no such table, or something is wrong with it.
    """
    kind, colon, rest = name.partition(":")
    if kind == "nb201" and colon:
        file, separator, dataset = rest.rpartition(":")
        if not separator or "/" in dataset or dataset.endswith(".parquet"):
            raise DataError(f"table {name!r}: say which data set (nb201:PATH:cifar10)")
        return read_nasbench201(_existing(file, name), dataset)
    if kind == "nb101" and colon:
        return read_nasbench101(_existing(rest, name))
    if name in BUILT_IN:
        with resources.as_file(resources.files("raynas.tabular") / "data" / BUILT_IN[name]) as path:
            return read_table(path)
    place = location(name) if "://" in name else Path(name)
    if not place.exists():
        hint = nearest(name, BUILT_IN)
        raise DataError(
            f"table {name!r}: no such file or table{hint} "
            f"(allowed: {', '.join(BUILT_IN)}, {_FORMS})"
        )
    if isinstance(place, StorePath):
        with TemporaryDirectory(prefix="raynas-") as folder:
            copy = Path(folder, place.name)
            copy.write_bytes(place.read_bytes())
            return read_table(copy, trust_code=trust_code)
    return read_table(place, trust_code=trust_code)


def _existing(path: str, name: str) -> Path:
    found = Path(path)
    if not found.is_file():
        raise DataError(f"table {name!r}: {path or 'PATH'} is no file")
    return found

"""Read pickles that hold plain data only: containers, numbers, texts and numpy arrays.

The field's benchmarks are downloads of pickles, and a pickle is a program. This reader refuses
every name but the few that plain data needs, before anything of it is called.
"""

import bz2
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np

from raynas.errors import DataError

_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "scalar"): np._core.multiarray.scalar,  # type: ignore[attr-defined]
    ("numpy._core.multiarray", "scalar"): np._core.multiarray.scalar,  # type: ignore[attr-defined]
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it would run {module}.{name}, which is no plain data")
        return _ALLOWED[module, name]


def read_plain_pickle(path: Path) -> Any:
    """Read a pickle, compressed with bzip2 if it ends in ``.pbz2`` or ``.bz2``.

    Raises:
        DataError: it cannot be read, or holds more than plain data.
    """
    try:
        with _opened(path) as file:
            return _PlainUnpickler(file).load()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (pickle.UnpicklingError, EOFError, ValueError, AttributeError, IndexError) as error:
        raise DataError(f"{path}: refused: {' '.join(str(error).split())}") from None


def _opened(path: Path) -> IO[bytes]:
    return bz2.open(path, "rb") if path.suffix in (".pbz2", ".bz2") else path.open("rb")

import numpy as np
import pytest

from raynas.config import Choice
from raynas.spaces.nasbench201 import NasBench201
from raynas.tabular.format import Header, write_table

EPOCHS = (1, 2, 4)


@pytest.fixture
def cells():
    """Forty NAS-Bench-201 cells of different keys."""
    space, found = NasBench201(), {}
    rng = np.random.default_rng(0)
    while len(found) < 40:
        architecture = space.sample(rng)
        found.setdefault(space.key(architecture), architecture.text)
    return list(found.values())


@pytest.fixture
def write(tmp_path, cells):
    """A function that writes a table of those cells, with changes."""

    def write(fidelity="curve", texts=None, header=None, **columns):
        texts = cells if texts is None else texts
        rng = np.random.default_rng(1)
        quality = rng.random(len(texts))
        filled = {f"valid_e{e}": quality * (1 - 2.0**-e) for e in EPOCHS}
        filled |= {"test": quality * 0.9, "proxy_p": quality + rng.normal(0, 0.1, len(texts))}
        filled |= {f"s_e{e}": np.full(len(texts), 2.0 * e) for e in EPOCHS}
        filled |= columns
        known = {
            "name": "toy",
            "space": Choice(name="nasbench201"),
            "fidelity": fidelity,
            "selection": {e: f"valid_e{e}" for e in EPOCHS},
            "report": "test",
            "time_s": {e: f"s_e{e}" for e in EPOCHS},
        }
        path = tmp_path / "table.parquet"
        kept = {name: column for name, column in filled.items() if column is not None}
        write_table(path, Header(**{**known, **(header or {})}), texts, kept)
        return path

    return write

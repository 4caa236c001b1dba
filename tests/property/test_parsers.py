"""Any text, file or journal gives a value or one line of complaint: no other error, no hang.

`make test-slow` tries more of each (``--hypothesis-profile=thorough``, see `tests/conftest.py`).
"""

import json
import math
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import raynas
from raynas.cli.main import app
from raynas.config import Choice
from raynas.errors import CheckpointError, RaynasError, UsageError
from raynas.plain import parse_yaml
from raynas.retraining.config import resolve
from raynas.retraining.journal import heard, read_retraining
from raynas.retraining.records import Records, make_jobs
from raynas.runs.journal import read_journal, recorded
from raynas.runs.supernet_journal import read_supernet_journal
from raynas.scheduling.budget import Budget, Unit
from raynas.scheduling.events import event_from_json, event_to_json
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Search
from raynas.scheduling.simulate import simulate
from raynas.search_config import PRESETS, ConstraintsConfig, SearchConfig, load_search_config
from raynas.setup import Parts, set_up
from raynas.spaces import SPACES
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.darts_text import Genotype
from raynas.spaces.nasbench101 import NasBench101
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.published import PUBLISHED
from raynas.supernet_config import load_supernet_config
from raynas.supernet_setup import SupernetParts
from raynas.tabular.costs import read_costs
from raynas.tabular.names import load_table
from raynas.testing import FakeObjective, ToySpace, propose_at_random
from raynas.training.data import make_spec
from raynas.training.datasets import parse_name

fuzz = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Machines are shared."""

some = settings(fuzz, max_examples=max(20, settings.default.max_examples // 4))
"""For what takes tens of milliseconds a case."""


def refused(work):
    """Return what `work` gives, or None if it complains, in one line."""
    try:
        return work()
    except RaynasError as error:
        complaint = error
    assert isinstance(complaint, UsageError), repr(complaint)
    assert len(str(complaint).splitlines()) == 1, repr(str(complaint))
    assert len(str(complaint)) < 10_000
    return None


@st.composite
def damaged(draw, texts):
    """A text of `texts` with a few places overwritten, cut out, doubled or filled with anything."""
    text = draw(texts)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(text)))
        end = min(len(text), place + draw(st.integers(0, 8)))
        put = draw(
            st.one_of(
                st.text(max_size=4),
                st.sampled_from(list("|~+()[]{},:'\"\\0123456789-. \n\t&*!#%@")),
                st.just(text[place:end] * 2),
            )
        )
        text = text[:place] + put + text[end:]
    return text


@st.composite
def broken(draw, content, most=6):
    """The bytes of a file with some of them flipped, cut off or put in."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        if not data:
            break
        place = draw(st.integers(0, len(data) - 1))
        match draw(st.sampled_from(["flip", "set", "cut", "insert", "drop"])):
            case "flip":
                data[place] ^= 1 << draw(st.integers(0, 7))
            case "set":
                data[place] = draw(st.integers(0, 255))
            case "cut":
                del data[place:]
            case "insert":
                data[place:place] = draw(st.binary(min_size=1, max_size=6))
            case "drop":
                del data[place : place + draw(st.integers(1, 40))]
    return bytes(data)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["", "nan", "inf", "1e400", "digits", "nosh", "off", "0x1F", "~", "1_000"]),
)
plain = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


# -- architectures ---------------------------------------------------------------------------------

SMALL = {
    "cell": CellSpace(ops=["none", "skip_connect", "nor_conv_3x3"], nodes=3),
    "nasbench201": NasBench201(),
    "nasbench101": NasBench101(),
}


@cache
def space_of(name):
    return SMALL[name] if name in SMALL else SPACES_BY_NAME[name]()


def _classes():
    from raynas.registry import lookup

    return {name: lookup("space", name, SPACES) for name in SPACES if name != "table"}


SPACES_BY_NAME = _classes()


@cache
def samples_of(name):
    import numpy as np

    rng = np.random.default_rng(0)
    return [space_of(name).sample(rng).text for _ in range(20)]


@fuzz
@given(st.data())
@pytest.mark.parametrize("name", SPACES_BY_NAME)
def test_texts_of_every_space(name, data):
    space = space_of(name)
    valid = st.sampled_from(samples_of(name))
    text = data.draw(st.one_of(st.text(max_size=120), damaged(valid), valid))
    found = refused(lambda: space.parse(text))
    if found is not None:
        assert space.parse(found.text) == found
        assert space.key(found) == space.key(space.parse(found.text))


LITERALS = [repr(PUBLISHED[name]) for name in PUBLISHED if isinstance(PUBLISHED[name], Genotype)]
TOKENS = """
    Genotype ( ) [ ] { } , = normal reduce normal_concat reduce_concat range 2 6 0 1 -1 'none'
    'sep_conv_3x3' 1e9 10**9 9999999999 lambda : not None b'x' f'{x}' *x __import__ ~ ( ( ( (
"""
tokens = st.sampled_from(TOKENS.split())


@fuzz
@given(
    st.one_of(
        st.lists(tokens, max_size=40).map(" ".join),
        st.lists(tokens, max_size=30).map(lambda t: f"Genotype({' '.join(t)})"),
        damaged(st.sampled_from(LITERALS)) if LITERALS else st.nothing(),
        st.text(max_size=200),
        st.sampled_from(["(", "[", "-", "not ", "{1:", "f'{"]).map(lambda t: t * 5000),
    )
)
@example("Genotype(normal=range(10**10), reduce=[])")
@example("Genotype(normal=range(99999999999999999999), reduce=[])")
@example("Genotype(**{'normal': 1})")
@example("Genotype(normal=" + "9" * 5000 + ")")
def test_genotype_literals(text):
    space = space_of("darts")
    found = refused(lambda: space.parse(text))
    if found is not None:
        assert space.parse(found.text) == found


@fuzz
@given(st.one_of(st.text(max_size=200), damaged(st.sampled_from(sorted(PUBLISHED)))))
@example("~0")
def test_what_a_retraining_is_asked_for(text):
    config = refused(lambda: resolve([text], overrides={"data": "digits"}))
    if config is not None:
        assert config.architectures


# -- configs ---------------------------------------------------------------------------------------


@fuzz
@given(st.text(max_size=200))
def test_yaml_of_any_text(text):
    value, complaint = None, ""
    try:
        value = parse_yaml(text)
    except ValueError as error:
        complaint = str(error)
    assert len(complaint.splitlines()) <= 1
    if not complaint:
        assert parse_yaml(yaml.safe_dump(value, allow_unicode=True)) == value or value != value


BOMB = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]" for i in range(12))
MERGES = "a0: &a0 {x: 1}\n" + "\n".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (BOMB, "unfold"),
        (MERGES, "unfold"),
        ("a: &a [*a]", "alias"),
        ("a: &a {b: *a}", "alias"),
        ("[" * 10_000, "nests"),
        ("- " * 10_000, "nests"),
        ("x: " + "9" * 5000, "digits"),
        ("x: 0x" + "f" * 5000, "too large"),
        ("x: 2001-99-99", "month"),
        ("x: 2001-01-01", "date"),
        ("x: !!set {a, b}", "set"),
        ("x: !!binary aGVsbG8=", "bytes"),
        ("? [a, b]\n: 1", "unhashable"),
        ("x" * 1_000_001, "1000001"),
        ("!!python/object/apply:os.system [ls]", "python"),
        ("{a: 1", "flow"),
        ("a: \x07", "special"),
    ],
    ids=lambda v: v[:12],
)
def test_what_no_config_is_worth(text, word):
    with pytest.raises(ValueError, match=word) as caught:
        parse_yaml(text)
    assert len(str(caught.value).splitlines()) == 1


def leaves(value, path=()):
    """Yield the path of every key of a config, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from leaves(inner, (*path, key))


def changed(base):
    """Mappings as `base`, with a few keys set to anything, a few new, a few missing."""
    paths = sorted(leaves(base))

    @st.composite
    def build(draw):
        config = json.loads(json.dumps(base))
        for _ in range(draw(st.integers(1, 3))):
            path = draw(st.sampled_from(paths))
            inner = config
            for key in path[:-1]:
                inner = inner[key] if isinstance(inner, dict) and key in inner else {}
            if isinstance(inner, dict):
                key = draw(st.one_of(st.just(path[-1]), st.text(max_size=6)))
                inner[key] = draw(plain)
        return config

    return build()


SEARCH = load_search_config().model_dump(mode="json")
SEARCH["data"] |= {"train_size": 40, "valid_size": 20}
SUPERNET = load_supernet_config().model_dump(mode="json")


@fuzz
@given(changed(SEARCH))
def test_configs_of_a_search(config):
    found = refused(lambda: load_search_config(config))
    if found is None:
        return
    again = load_search_config(json.loads(found.model_dump_json()))
    assert again.model_dump_json() == found.model_dump_json()

    parts = Parts(objective=FakeObjective())
    assume(_is_small(found))
    refused(lambda: set_up(found, parts, workers=2))


def _is_small(config):
    """Leave out what is right and merely takes long to make."""
    numbers = [v for v in _numbers(config.model_dump()) if isinstance(v, int)]
    return all(abs(number) < 200 for number in numbers)


def _numbers(value):
    if isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers(inner)
    else:
        yield value


@fuzz
@given(changed(SUPERNET))
def test_configs_of_a_supernet(config):
    found = refused(lambda: load_supernet_config(config))
    if found is not None:
        again = load_supernet_config(json.loads(found.model_dump_json()))
        assert again.model_dump_json() == found.model_dump_json()


@some
@given(changed(SUPERNET))
def test_the_objects_of_a_supernet(config):
    from raynas.supernet_setup import set_up_supernet

    found = refused(lambda: load_supernet_config(config))
    if found is not None:
        assume(_is_small(found))
        refused(lambda: set_up_supernet(found, SupernetParts()))


RETRAIN = {
    "epochs": 2,
    "seeds": 1,
    "data": {"name": "digits", "train_size": 40},
    "training": {"batch_size": 8, "lr": 0.1, "schedule": "cosine"},
    "resources": {"cpus": 1.0, "gpus": 0},
    "workers": 1,
    "workers_per_network": 1,
    "seed": 0,
}


@fuzz
@given(changed(RETRAIN))
def test_configs_of_a_retraining(overrides):
    from raynas.retraining.session import make_objective

    text = samples_of("nasbench201")[0]
    found = refused(lambda: resolve([text], overrides=overrides))
    if found is not None:
        assume(_is_small(found))
        refused(lambda: make_objective(found))


@fuzz
@given(
    st.one_of(
        st.text(max_size=60),
        st.tuples(
            st.sampled_from([".".join(path) for path in sorted(leaves(SEARCH))]),
            st.one_of(plain.map(lambda v: yaml.safe_dump(v).strip()), st.text(max_size=30)),
        ).map("=".join),
        damaged(st.sampled_from(["training.lr=0.05", "levels=[1,2]", "policy.name=asha"])),
    )
)
@example("a." * 3000 + "b=1")
@example("x=2001-99-99")
@example("seed=" + "9" * 5000)
@example("budget=" + "9" * 400)
def test_assignments(text):
    found = refused(lambda: load_search_config(assignments=(text,)))
    if found is not None:
        assert load_search_config(json.loads(found.model_dump_json())) is not None


@fuzz
@given(st.one_of(st.text(max_size=20), st.from_regex(r"\s*\d+(\.\d+)?(gpuh|[smhdSMHD])?\s*")))
@example("9" * 400)
@example("٣")
@example("0.0000001s")
def test_budgets(text):
    budget = refused(lambda: Budget.parse(text, gpus_per_trial=1.0))
    if budget is not None:
        assert budget.limit > 0
        assert math.isfinite(budget.limit)
        assert budget.unit is not Unit.EPOCHS or budget.limit == int(budget.limit)
        assert Budget.parse(text, gpus_per_trial=1.0) == budget


@fuzz
@given(
    st.one_of(
        st.text(max_size=12),
        st.from_regex(r"-?\d{0,4}(\.\d*)?[kMGT]?", fullmatch=True),
        st.sampled_from(["nank", "infM", "1e308G", "k", "", "1_0k", " 2k", "٣k", "0x1k"]),
        scalars,
    )
)
def test_sizes(value):
    found = refused(lambda: load_search_config({"constraints": {"max_params": value}}).constraints)
    if found is not None and found.max_params is not None:
        assert found.max_params > 0
        assert math.isfinite(found.max_params)
        assert ConstraintsConfig(max_params=found.max_params) == found


@pytest.mark.parametrize(("text", "value"), [("200k", 2e5), ("1.5M", 1.5e6), ("3G", 3e9)])
def test_sizes_mean_what_they_say(text, value):
    config = load_search_config({"constraints": {"max_flops": text}})
    assert config.constraints.max_flops == value


@fuzz
@given(
    st.one_of(
        st.text(max_size=30), damaged(st.sampled_from(["digits", "npz:a.npz", "imagefolder:/x"]))
    ),
    st.dictionaries(
        st.sampled_from(["train_size", "valid_size", "flip", "image_size", "valid_fraction", "z"]),
        scalars,
        max_size=2,
    ),
)
def test_names_of_data(name, options):
    refused(lambda: parse_name(name))
    refused(lambda: make_spec(name, **options))


# -- tables ----------------------------------------------------------------------------------------


@cache
def table_bytes():
    texts = samples_of("nasbench201")[:4]
    header = {
        "format": 1,
        "name": "t",
        "space": {"name": "nasbench201"},
        "fidelity": "curve",
        "selection": {"1": "a1", "2": "a2"},
        "report": "a2",
        "time_s": {},
        "notes": ["x"],
    }
    table = pa.table({"architecture": texts, "a1": [0.1] * 4, "a2": [0.2] * 4})
    return header, table


def written(table, header, folder):
    path = Path(folder) / "t.parquet"
    metadata = None if header is None else {b"raynas.table": header}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


@fuzz
@given(st.data())
def test_tables_with_broken_bytes(data):
    header, table = table_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = written(table, json.dumps(header).encode(), folder)
        path.write_bytes(data.draw(broken(path.read_bytes())))
        refused(lambda: load_table(str(path)))
        refused(lambda: read_costs(f"{path}:a1", "flops", space_of("nasbench201")))


@fuzz
@given(
    st.one_of(
        changed(table_bytes()[0]).map(json.dumps), damaged(st.just(json.dumps(table_bytes()[0])))
    )
)
@example("[" * 5000)
def test_tables_with_other_headers(header):
    with tempfile.TemporaryDirectory() as folder:
        path = written(table_bytes()[1], header.encode("utf-8", "replace"), folder)
        found = refused(lambda: load_table(str(path)))
        assert found is None or len(found.texts) == 4


COLUMNS = st.sampled_from(
    [
        [None] * 4,
        [1, 2, 3, 2**62],
        [0.5, None, math.nan, math.inf],
        ["a", "b", None, ""],
        [b"a", b"b", b"c", b"d"],
        [[1], [], None, [2, 3]],
        [{"a": 1}, None, {"a": 2}, {"a": 3}],
        [True, False, None, True],
    ]
)


@fuzz
@given(st.dictionaries(st.sampled_from(["architecture", "a1", "a2", "proxy_x", "flops"]), COLUMNS))
def test_tables_with_other_columns(columns):
    header, table = table_bytes()
    for name, values in columns.items():
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, pa.array(values))
    with tempfile.TemporaryDirectory() as folder:
        path = written(table, json.dumps(header).encode(), folder)
        refused(lambda: load_table(str(path)))


@fuzz
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)), st.booleans())
def test_csv_of_costs(content, named):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.csv"
        path.write_bytes((b"architecture,flops\n" if named else b"") + content)
        refused(lambda: read_costs(str(path), "flops", space_of("nasbench201")))


# -- journals --------------------------------------------------------------------------------------


@cache
def search_journal():
    lines = []
    search = Search(
        ToySpace(50),
        NoshPolicy((1, 2, 4), Budget(30)),
        Pool((1, 2, 4)),
        seed=0,
        emit=lambda event, s: lines.append(json.dumps({"t": s, **event_to_json(event)})),
    )
    simulate(search, FakeObjective(failing=["a3"]), propose_at_random(search.space))
    return ("\n".join(lines) + "\n").encode()


RETRAIN_JOURNAL = b"".join(
    json.dumps(line).encode() + b"\n"
    for line in [
        {"t": 1.0, "event": "trained", "job": 0, "epoch": 1, "metrics": {"accuracy": 0.5}},
        {"t": 2.0, "event": "failed", "job": 1, "error": "out of memory"},
        {
            "t": 3.0,
            "event": "finished",
            "job": 0,
            "part": "test",
            "accuracy": 0.5,
            "loss": 1.0,
            "confusion": [[1, 0], [0, 1]],
            "num_params": 5,
            "flops": 7,
        },
    ]
)
SUPERNET_JOURNAL = b"".join(
    json.dumps(line).encode() + b"\n"
    for line in [
        {"event": "session", "from_step": 0, "notices": []},
        *(
            {
                "event": "epoch",
                "step": step,
                "phase": "search",
                "epoch": step,
                "num_epochs": 2,
                "metrics": {"accuracy": 0.1},
                "elapsed_s": 1.5,
                "decisions": [],
            }
            for step in (1, 2)
        ),
        {"event": "failed", "error": "diverged"},
    ]
)


def written_journal(content, folder):
    path = Path(folder) / "journal.jsonl"
    path.write_bytes(content)
    return path


def check_search(path):
    pool = Pool((1, 2, 4))
    history, size = read_journal(path)
    for _ in recorded(pool, history, path):
        pass
    assert size <= path.stat().st_size
    assert pool.spent_epochs == sum(c.epochs for c in pool)
    return history


def check_retrain(path):
    entries, _ = read_retraining(path)
    records = Records(make_jobs(["a", "b"], 1, 0))
    heard(records, entries, path)
    return entries


def check_supernet(path):
    log, _ = read_supernet_journal(path)
    steps = [record["step"] for record in log.steps]
    assert steps == sorted(steps)
    return log


JOURNALS = {
    "search": (search_journal(), check_search),
    "retrain": (RETRAIN_JOURNAL, check_retrain),
    "supernet": (SUPERNET_JOURNAL, check_supernet),
}


@fuzz
@given(st.data())
@pytest.mark.parametrize("kind", JOURNALS)
def test_journals_with_broken_bytes(kind, data):
    content, check = JOURNALS[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = written_journal(data.draw(broken(content)), folder)
        refused(lambda: check(path))


@pytest.mark.parametrize("kind", JOURNALS)
def test_journals_torn_at_every_byte(kind, tmp_path):
    """A crash tears the last line only: whatever is whole before it is read."""
    content, check = JOURNALS[kind]
    for size in range(0, len(content), 1 if len(content) < 2000 else 7):
        path = written_journal(content[:size], tmp_path)
        check(path)


@fuzz
@given(st.data())
@pytest.mark.parametrize("kind", JOURNALS)
def test_journals_with_other_values(kind, data):
    """Valid JSON that no run has written: other types, numbers, names, orders, repetitions."""
    content, check = JOURNALS[kind]
    lines = [json.loads(line) for line in content.splitlines()]
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["value", "drop", "double", "swap", "line"])):
            case "value":
                lines[index] = data.draw(changed(lines[index])) if lines[index] else {}
            case "drop" if len(lines) > 1:
                del lines[index]
            case "double":
                lines.insert(index, lines[index])
            case "swap":
                other = data.draw(st.integers(0, len(lines) - 1))
                lines[index], lines[other] = lines[other], lines[index]
            case "line":
                lines[index] = {**lines[index], **data.draw(st.just({"id": 2**70}))}
    text = "\n".join(map(json.dumps, lines)) + "\n"
    with tempfile.TemporaryDirectory() as folder:
        path = written_journal(text.encode(), folder)
        refused(lambda: check(path))


@fuzz
@given(st.data())
def test_events_come_back(data):
    lines = search_journal().splitlines()
    value = json.loads(data.draw(st.sampled_from(lines)))
    value.pop("t")
    event = event_from_json(value)
    assert event_from_json(json.loads(json.dumps(event_to_json(event)))) == event


# -- run folders -----------------------------------------------------------------------------------


@some
@given(st.data())
@pytest.mark.parametrize("kind", ["search", "retrain", "supernet"])
def test_status_of_a_folder_with_broken_files(kind, data):
    content, _ = JOURNALS[kind]
    configs = {
        "search": {**SEARCH, "levels": [1, 2, 4]},
        "supernet": SUPERNET,
        "retrain": None,
    }
    if configs[kind] is None:
        found = resolve(samples_of("nasbench201")[:2], overrides={**RETRAIN, "seeds": 1})
        configs[kind] = found.model_dump(mode="json")
    files = {
        "config.yaml": yaml.safe_dump(configs[kind]).encode(),
        "run.json": json.dumps({"kind": kind, "finished": False}).encode(),
        "journal.jsonl": content,
    }
    name = data.draw(st.sampled_from(sorted(files)))
    files[name] = data.draw(broken(files[name]))
    with tempfile.TemporaryDirectory() as folder:
        for file, it in files.items():
            (Path(folder) / file).write_bytes(it)
        result = CliRunner().invoke(app, ["status", folder])
        assert result.exit_code in (0, 2), result.exception
        assert all(line.isprintable() for line in result.output.split("\n"))
        assert len(result.stderr.splitlines()) == (result.exit_code == 2)


BEST = {
    "architecture": samples_of("nasbench201")[0],
    "space": {"name": "nasbench201", "channels": 2, "cells_per_stage": 1},
    "task": {"in_channels": 1, "image_size": 8, "num_classes": 10},
    "checkpoint": "checkpoints/000000.pt",
    "accuracy": 0.5,
}


@some
@given(st.one_of(changed(BEST).map(json.dumps), damaged(st.just(json.dumps(BEST)))))
@example("[]")
@example("[" * 100_000)
@example('"text"')
def test_best_json(text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "best.json"
        path.write_bytes(text.encode("utf-8", "replace"))
        with suppress(ValueError, RecursionError):
            assume(_numbers_are_small(json.loads(path.read_text())))
        refused(lambda: _load(path))


def _load(path):
    """Load a network, as far as the weights, which are not there."""
    try:
        return raynas.load(path)
    except CheckpointError:
        return None


def _numbers_are_small(value):
    """Leave out networks that are right and merely large."""
    return all(not isinstance(n, int | float) or abs(n) < 50 for n in _numbers(value))


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_presets_come_back_from_their_yaml(preset):
    config = load_search_config(preset=preset)
    text = yaml.safe_dump(config.model_dump(mode="json"))
    assert SearchConfig.model_validate(parse_yaml(text)) == config
    assert isinstance(config.space, Choice)

"""Which architectures a user means."""

import json
import shutil

import numpy as np
import pytest

from raynas.config import Choice
from raynas.errors import UsageError
from raynas.retraining.sources import find, ranked
from raynas.runs.folder import RunFolder
from raynas.runs.journal import read_journal
from raynas.scheduling.pool import Pool
from raynas.spaces.darts import DartsSpace
from raynas.spaces.nasbench101 import NasBench101
from raynas.spaces.published import PUBLISHED

CELL = "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|"


def found(*given, space=None, top=None, **options):
    return find(given, space=space, top=top, **options)


def pool_of(folder):
    pool = Pool((1, 2))
    for event, _ in read_journal(RunFolder(folder).journal)[0]:
        pool.record(event)
    return pool


def test_published_names_literals_and_texts():
    space = DartsSpace()
    text = space.parse("DARTS_V2").text
    for given, label in (
        ("DARTS_V2", "DARTS_V2"),
        (PUBLISHED["DARTS_V2"], "arch1"),
        (text, "arch1"),
    ):
        (one,) = found(given)
        assert (one.text, one.label, one.space.name, one.data) == (text, label, "darts", None)


def test_the_form_of_a_text_says_its_space():
    assert found(CELL)[0].space.name == "nasbench201"
    module = NasBench101().sample(np.random.default_rng(0)).text
    assert found(module)[0].space.name == "nasbench101"
    s2 = DartsSpace().parse("DARTS_V2").text
    with pytest.raises(UsageError, match="s2"):
        found(s2, space=Choice(name="s2"))  # has ops that S2 has not


def test_a_run_gives_its_best_in_the_order_of_the_pool(searched):
    pool = pool_of(searched)
    order = ranked(pool)
    assert order[0] is pool.best()
    levels = [candidate.level for candidate in order]
    assert levels == sorted(levels, reverse=True)
    top = found(str(searched), top=3)
    assert [one.text for one in top] == [candidate.text for candidate in order[:3]]
    assert [one.label for one in top] == ["found#1", "found#2", "found#3"]
    assert top[0].space == Choice(name="nasbench201", channels=2, cells_per_stage=1)
    (best,) = found(str(searched))
    assert (best.text, best.label) == (order[0].text, "found")


def test_what_made_the_search_shorter_is_not_taken_over(searched):
    assert found(str(searched))[0].data == Choice(name="digits")


def test_a_best_json_is_the_best(searched):
    (one,) = found(str(searched / "best.json"))
    assert one.text == json.loads((searched / "best.json").read_text())["architecture"]
    assert (one.label, one.data) == ("found", Choice(name="digits"))


def test_one_architecture_is_trained_once(searched):
    both = found(str(searched), str(searched / "best.json"))
    assert len(both) == 1
    assert len(found("DARTS_V2", PUBLISHED["DARTS_V2"], "DARTS_V1")) == 2


def test_labels_tell_apart(searched, tmp_path):
    shutil.copytree(searched, tmp_path / "found")
    other = found(str(searched), str(tmp_path / "found"), top=2)
    assert len({one.label for one in other}) == len(other)


@pytest.mark.parametrize(
    ("given", "options", "word"),
    [
        ([], {}, "name an architecture"),
        (["DARTS_V3"], {}, "did you mean 'DARTS_V"),
        (["runs/none"], {}, "no such run folder"),
        (["none.json"], {}, "no such run folder"),
        (["|nonsense~0|"], {}, "say which with --space"),
        ([CELL, "DARTS_V2"], {}, "retrain them apart"),
        ([CELL], {"space": Choice(name="darts")}, "darts"),
        (["DARTS_V2"], {"top": 2}, "none is given"),
        (["DARTS_V2"], {"top": 0}, "at least 1"),
        ([CELL], {"space": Choice(name="nasbench202")}, "nasbench201"),
    ],
)
def test_slips(given, options, word):
    with pytest.raises(UsageError, match=word) as caught:
        found(*given, **options)
    assert "\n" not in str(caught.value)


def test_slips_with_runs(searched, tmp_path):
    with pytest.raises(UsageError, match=r"top: 50, but .* that finished a level"):
        found(str(searched), top=50)
    with pytest.raises(UsageError, match="not darts"):
        found(str(searched), space=Choice(name="darts"))
    with pytest.raises(UsageError, match="holds no run"):
        found(str(tmp_path))
    young = tmp_path / "young"
    shutil.copytree(searched, young)
    (young / "journal.jsonl").write_text("")
    with pytest.raises(UsageError, match="no architecture has finished a level yet"):
        found(str(young))
    (young / "best.json").write_text("[]")
    with pytest.raises(UsageError, match=r"not the best\.json of a run"):
        found(str(young / "best.json"))


def test_code_outside_raynas_is_not_imported_because_a_file_says_so(searched, tmp_path):
    strange = tmp_path / "strange"
    shutil.copytree(searched, strange)
    text = (strange / "config.yaml").read_text().replace("nasbench201", "os:system")
    (strange / "config.yaml").write_text(text)
    best = json.loads((strange / "best.json").read_text())
    (strange / "best.json").write_text(json.dumps({**best, "space": {"name": "os:system"}}))
    for given in (strange, strange / "best.json"):
        with pytest.raises(UsageError, match="--trust-code"):
            found(str(given))

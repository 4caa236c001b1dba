from pathlib import Path

import pytest

from raynas.config import construct
from raynas.errors import ConfigError
from raynas.registry import lookup
from raynas.search_config import PRESETS, SearchConfig, load_search_config


def test_defaults_make_a_config():
    config = load_search_config()
    assert config == SearchConfig()
    assert config.space.options == {"channels": 8, "cells_per_stage": 1}


def test_layers_override_each_other(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text("budget: 300\nlevels: [2, 4]\npolicy: {per_round: 7, name: nosh}\n")
    config = load_search_config(
        path, overrides={"budget": "90m", "data": "npz:x.npz"}, assignments=("policy.per_round=3",)
    )
    assert config.budget == "90m"
    assert config.levels == (2, 4)
    assert config.policy.options == {"per_round": 3, "initial": 10, "mode": "sync"}
    assert config.data.name == "npz:x.npz"


def test_another_name_drops_the_options_of_the_first():
    config = load_search_config(overrides={"space": "my.module:Space"})
    assert config.space.options == {}
    same = load_search_config(overrides={"space": "nasbench201"})
    assert same.space.options == {"channels": 8, "cells_per_stage": 1}


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_are_valid(preset):
    load_search_config(preset=preset)


def test_the_stored_config_reads_back_equal():
    config = load_search_config(assignments=("level0.mode=off", "training.lr=0.2"))
    assert SearchConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("budgte=3", "did you mean 'budget'"),
        ("level0.mod=off", "did you mean 'mode'"),
        ("level0.mode=sometimes", "'sometimes'"),
        ("level0.fraction=2", "level0.fraction"),
        ("levels=fast", "levels"),
        ("seed=-1", "seed"),
        ("workers=0", "workers"),
        ("resources.cpus=-1", "resources.cpus"),
        ("nonsense", "key.sub=value"),
        ("a..b=3", "key.sub=value"),
        ("seed=[", "not a YAML value"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(assignment, message):
    with pytest.raises(ConfigError) as caught:
        load_search_config(assignments=(assignment,))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [", "\x00", "!!python/object:os.system x"])
def test_files_that_are_no_config(tmp_path, content):
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"bad\.yaml") as caught:
        load_search_config(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_an_unknown_preset():
    with pytest.raises(ConfigError, match="cannot read"):
        load_search_config(Path("no-such.yaml"))
    with pytest.raises(ConfigError, match="did you mean 'laptop'"):
        load_search_config(preset="labtop")


def make(given, size=3, *, name="x", budget=None):
    return given, size, name, budget


def test_construct_passes_what_the_target_takes():
    assert construct("policy", make, {"size": 5}, 1, budget=9, levels=(1,)) == (1, 5, "x", 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sise": 5}, "did you mean 'size'"),
        ({"given": 5}, "unknown option"),
        ({"budget": 5}, "unknown option"),
    ],
)
def test_construct_refuses_unknown_options(options, message):
    with pytest.raises(ConfigError, match=message):
        construct("policy", make, options, 1, budget=9)


def test_construct_asks_for_what_is_missing():
    with pytest.raises(ConfigError, match=r"policy\.given: must be given"):
        construct("policy", make, {})


def test_lookup_of_names_and_paths():
    table = {"path": "pathlib:Path", "direct": Path}
    assert lookup("thing", "path", table) is Path
    assert lookup("thing", "direct", table) is Path
    assert lookup("thing", "collections:OrderedDict", table).__name__ == "OrderedDict"
    with pytest.raises(ConfigError, match="did you mean 'path'"):
        lookup("thing", "pth", table)
    with pytest.raises(ConfigError, match="cannot import"):
        lookup("thing", "no_such_module_here:X", table)
    with pytest.raises(ConfigError, match="did you mean 'OrderedDict'"):
        lookup("thing", "collections:OrderedDic", table)


def test_options_go_to_the_bare_name_of_an_earlier_layer():
    config = load_search_config({"policy": "full"}, assignments=("policy.per_round=3",))
    assert config.policy.name == "full"
    assert config.policy.options == {"per_round": 3}
    config = load_search_config(
        {"space": "s1"}, overrides={"space": {"channels": 4}}, assignments=("space.layers=5",)
    )
    assert config.space.model_dump() == {"name": "s1", "channels": 4, "layers": 5}

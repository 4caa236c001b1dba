"""What the README says is there, and what it shows runs."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raynas.cli.main import app
from raynas.search_config import PRESETS, load_search_config
from raynas.setup import Parts, set_up
from raynas.supernet_config import SUPERNET_PRESETS, load_supernet_config
from raynas.supernets import METHODS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def help_of(command):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [command, "--help"]).output


def test_every_command_is_in_the_readme_and_has_help():
    for command in app.registered_commands:
        assert f"raynas {command.name}" in README
        assert len(help_of(command.name)) > 200


def test_every_flag_of_the_table_is_a_flag():
    flags = re.findall(r"^\| `(--[a-z]+)[ `]", README, re.M)
    assert len(flags) >= 8
    for flag in flags:
        assert flag in help_of("search")


def test_every_preset_is_named():
    for preset in (*PRESETS, *SUPERNET_PRESETS):
        assert f"`{preset}`" in README


def test_every_method_of_supernets_is_named():
    guide = (ROOT / "docs" / "supernets.md").read_text()
    for method in METHODS:
        assert f"`{method}`" in README
        assert f"`{method}`" in guide


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_configs_are_valid(path):
    config = load_search_config(path)
    if not config.data.name.startswith("torchvision"):
        assert set_up(config, Parts(), workers=2).facts["task"]


def test_the_laptop_config_is_what_the_defaults_are():
    assert load_search_config(ROOT / "configs" / "laptop.yaml") == load_search_config()


@pytest.mark.parametrize("preset", sorted(SUPERNET_PRESETS))
def test_presets_of_supernets_are_spelt_out(preset):
    path = ROOT / "configs" / "supernets" / f"{preset.replace('-', '_')}.yaml"
    assert load_supernet_config(path) == load_supernet_config(preset=preset)


@pytest.mark.ray
def test_the_python_of_the_readme_runs(local_ray, tmp_path, monkeypatch, capsys):
    (code,) = blocks("python")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    assert "|" in capsys.readouterr().out

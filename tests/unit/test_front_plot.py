"""The picture of a front: drawn from a run folder, and refused in one line where there is none."""

import json
import re

import pandas as pd
import pytest

from raynas.errors import RunFolderError
from raynas.report.plots import front_figure

pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")


@pytest.fixture
def write(tmp_path):
    def write(**best):
        pd.DataFrame(
            {
                "id": range(6),
                "level": [1, 1, 2, 2, 2, 0],
                "accuracy": [0.3, 0.4, 0.5, 0.7, 0.6, None],
                "latency_ms": [1.0, 2.0, 3.0, 9.0, 8.0, 4.0],
                "num_params": [1, 2, 3, 4, 5, 6],
            }
        ).to_parquet(tmp_path / "architectures.parquet")
        (tmp_path / "best.json").write_text(json.dumps(best))
        return tmp_path

    return write


def lines(axes):
    return {line.get_label(): list(line.get_xdata()) for line in axes.get_lines()}


def test_points_by_level_and_the_front_as_a_staircase(write, tmp_path):
    front = [{"id": 3}, {"id": 4}, {"id": 2}]
    figure = front_figure(write(objectives=["accuracy", "latency_ms"], front=front))
    (axes,) = figure.get_axes()
    drawn = lines(axes)
    assert drawn == {
        "level 1 (2)": [1.0, 2.0],
        "level 2 (3)": [3.0, 9.0, 8.0],
        "front (3)": [3.0, 8.0, 9.0],
    }
    assert axes.get_lines()[-1].get_drawstyle() == "steps-post"
    assert axes.get_xlabel() == "latency, ms"
    figure.savefig(tmp_path / "front.svg")
    assert re.match(r"<\?xml", (tmp_path / "front.svg").read_text())


def test_one_picture_for_each_cost(write):
    objectives = ["accuracy", "num_params", "latency_ms"]
    figure = front_figure(write(objectives=objectives, front=[{"id": 3}]))
    first, second = figure.get_axes()
    assert (first.get_xlabel(), second.get_xlabel()) == ("parameters", "latency, ms")
    assert lines(first)["front (1)"] == [4]
    assert lines(second)["front (1)"] == [9.0]


def test_no_front_no_picture(write, tmp_path):
    with pytest.raises(RunFolderError, match="accuracy alone"):
        front_figure(write(architecture="a"))
    with pytest.raises(RunFolderError, match="no results"):
        front_figure(tmp_path / "none")

"""torch.export and ONNX: the same logits for any number of images."""

import json

import pytest
import torch
from torch import nn

from raynas.errors import ConfigError, UsageError
from raynas.exporting import onnx_model
from raynas.exporting.checking import example_images, largest_difference
from raynas.exporting.program import NOTES, write_program
from raynas.spaces.space import TaskShape

TASK = TaskShape(in_channels=1, image_size=8, num_classes=3)


def test_pt2_gives_the_same_logits_for_any_batch(loaded, tmp_path):
    path = tmp_path / "network.pt2"
    assert write_program(loaded.network, loaded.task, path, {"mean": [1.0]}) < 1e-5
    extra = {NOTES: ""}
    program = torch.export.load(path, extra_files=extra).module()
    assert json.loads(extra[NOTES]) == {"mean": [1.0]}
    for count in (1, 7):
        images = example_images(loaded.task, count)
        torch.testing.assert_close(program(images), loaded.network(images))


@pytest.mark.parametrize("name", ["darts", "nasbench201", "cell, concat"])
def test_onnx_gives_the_same_logits_for_any_batch(name, make_loaded, request, tmp_path):
    for package in onnx_model.PACKAGES:
        pytest.importorskip(package, reason="the extra `onnx` is not installed")
    import onnx
    import onnxruntime

    networks = request.getfixturevalue("networks")
    loaded = make_loaded(*networks[name])
    path = tmp_path / "network.onnx"
    assert onnx_model.write_onnx(loaded.network, loaded.task, path, {"mean": [1.0]}) < 1e-4
    assert {p.key: p.value for p in onnx.load(path).metadata_props}["mean"] == "[1.0]"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 7):
        images = example_images(loaded.task, count)
        (logits,) = session.run(None, {"images": images.numpy()})
        expected = loaded.network(images).detach()
        torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-4)


def test_a_missing_extra_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(onnx_model, "PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(ConfigError, match=r"needs .*no_such_package.*pip install 'raynas\[onnx\]'"):
        onnx_model.write_onnx(nn.Identity(), TASK, tmp_path / "x.onnx", {})


def test_another_function_is_noticed():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    assert largest_difference(network, network, TASK, "x") == 0
    with pytest.raises(
        UsageError, match=r"x: gives other logits than the network, by up to 0\.001"
    ):
        largest_difference(network, lambda images: network(images) + 1e-3, TASK, "x")
    with pytest.raises(UsageError, match="by up to nan"):
        largest_difference(network, lambda images: network(images) * torch.nan, TASK, "x")


class Untraceable(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, : 1 + int(images.sum().item() > 0)]


def test_what_torch_cannot_follow_is_said_in_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"torch\.export cannot follow Untraceable") as caught:
        write_program(Untraceable().eval(), TASK, tmp_path / "x.pt2", {})
    assert "\n" not in str(caught.value)

import sys

import numpy as np
import pytest
import torch

from raynas.errors import DataError
from raynas.spaces.space import TaskShape
from raynas.training.data import load_data

Image = pytest.importorskip("PIL.Image", reason="Pillow reads image folders")


def save(path, colour, size=(6, 6), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    """Ten red and ten blue images."""
    for number in range(10):
        save(tmp_path / "red" / f"{number}.png", (200 + number, 0, 0))
        save(tmp_path / "blue" / f"{number}.png", (0, 0, 200 + number))
    (tmp_path / "red" / "notes.txt").write_text("not an image")
    (tmp_path / ".cache").mkdir()
    return tmp_path


def test_classes_are_the_sub_folders_in_order(folder):
    splits = load_data(f"imagefolder:{folder}")
    assert splits.task == TaskShape(in_channels=3, image_size=6, num_classes=2)
    red = splits.train.images[:, 0, 0, 0] > 0
    assert torch.equal(red, splits.train.labels == 1)
    assert len(splits.train) + len(splits.valid) + len(splits.load_test()) == 20


def test_parts_in_folders_of_their_own(tmp_path):
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        for number in range(count):
            for label, shade in (("a", 10), ("b", 200)):
                save(tmp_path / part / label / f"{number}.png", shade + number, mode="L")
    splits = load_data(f"imagefolder:{tmp_path}")
    assert splits.task.in_channels == 1
    assert [len(p) for p in (splits.train, splits.valid, splits.load_test())] == [8, 4, 6]


def test_one_colour_image_makes_all_of_three_channels(folder):
    save(folder / "red" / "grey.png", 99, mode="L")
    splits = load_data(f"imagefolder:{folder}", valid_fraction=0.1, test_fraction=0.0)
    grey = [image for image in splits.train.images if (image == 99).all()]
    assert splits.task.in_channels == 3
    assert len(grey) == 1


def test_sizes_that_differ_need_an_image_size(folder):
    save(folder / "red" / "wide.png", (200, 0, 0), size=(20, 10))
    with pytest.raises(DataError, match=r"20 x 10 pixels, .* give data\.image_size"):
        load_data(f"imagefolder:{folder}")
    assert load_data(f"imagefolder:{folder}", image_size=8).task.image_size == 8


def test_resizing_keeps_the_middle(tmp_path):
    image = np.zeros((10, 30), np.uint8)
    image[:, 10:20] = 255
    (tmp_path / "a").mkdir()
    Image.fromarray(image).save(tmp_path / "a" / "0.png")
    for number in range(9):
        save(tmp_path / "b" / f"{number}.png", number, mode="L")
    splits = load_data(f"imagefolder:{tmp_path}", image_size=10, test_fraction=0.0)
    middle = splits.train.images[splits.train.labels == 0]
    assert (middle == 255).all()


def empty(folder):
    for file in folder.rglob("*.png"):
        file.unlink()


def corrupt(folder):
    (folder / "red" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")


def cut_short(folder):
    file = folder / "red" / "0.png"
    file.write_bytes(file.read_bytes()[:-30])


def only_test(folder):
    (folder / "test").mkdir()


def one_class(folder):
    empty(folder / "red")


def strange_class(folder):
    for part in ("train", "valid"):
        for name in ("red", "blue"):
            save(folder / part / name / "0.png", (1, 2, 3))
    save(folder / "valid" / "green" / "0.png", (0, 9, 0))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (empty, "no images in it"),
        (corrupt, r"bad\.png: not a readable image"),
        (cut_short, r"0\.png: not a readable image"),
        (only_test, "has test, but no train folder"),
        (one_class, "class 1 has no training image|need two classes"),
        (strange_class, "class 'green' is not in"),
    ],
)
def test_bad_folders_are_refused_in_one_line(folder, spoil, message):
    spoil(folder)
    with pytest.raises(DataError, match=message) as caught:
        load_data(f"imagefolder:{folder}")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        load_data(f"imagefolder:{tmp_path / 'nowhere'}")
    with pytest.raises(DataError, match="no class folders"):
        load_data(f"imagefolder:{tmp_path}")


def test_without_pillow_the_package_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="pip install pillow"):
        load_data(f"imagefolder:{folder}")

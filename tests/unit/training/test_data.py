import inspect
import sys
import types
import zipfile

import numpy as np
import pytest
import torch

from raynas.errors import ConfigError, DataError
from raynas.spaces.space import TaskShape
from raynas.training.augment import Augmentation
from raynas.training.data import DataSplits, load_data, load_data_once, make_spec

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4


def write(folder, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return f"npz:{folder / 'data.npz'}"


@pytest.fixture
def npz(tmp_path):
    return write(tmp_path, x_train=PIXELS, y_train=LABELS)


def rows(part):
    return {image.numpy().tobytes() for image in part.images}


# -- digits ----------------------------------------------------------------------------------------


def test_digits_are_the_embedded_default():
    splits = load_data("digits")
    assert splits.task == TaskShape(in_channels=1, image_size=8, num_classes=10)
    assert (len(splits.train), len(splits.valid)) == (1168, 359)
    assert splits.augmentation == Augmentation(crop_padding=1, flip=False)
    normal = splits.normalise(splits.train.images)
    assert normal.shape == (1168, 1, 8, 8)
    assert normal.mean().item() == pytest.approx(0, abs=1e-5)
    assert normal.std().item() == pytest.approx(1, abs=1e-3)


def test_parts_do_not_overlap(npz):
    splits = load_data(npz)
    train, valid, test = rows(splits.train), rows(splits.valid), rows(splits.load_test())
    assert len(train) + len(valid) + len(test) == 40 == len(train | valid | test)
    assert splits.valid.labels.bincount().tolist() == [2, 2, 2, 2]


def test_the_seed_decides_the_split(npz):
    prints = [load_data(npz, seed=seed).fingerprint() for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


def test_nothing_but_load_test_gives_the_test_part(npz):
    splits = load_data(npz)
    shown = [name for name, _ in inspect.getmembers(DataSplits) if "test" in name]
    assert shown == ["has_test", "load_test"]
    assert splits.has_test is True
    test = rows(splits.load_test())
    for name in splits.__slots__:
        held = getattr(splits, name)
        assert not (hasattr(held, "images") and rows(held) & test)


def test_without_a_share_there_is_no_test_part(npz):
    splits = load_data(npz, test_fraction=0.0)
    assert len(splits.train) + len(splits.valid) == 40
    with pytest.raises(DataError, match="has no test part"):
        splits.load_test()


def test_subsets_keep_class_shares_and_leave_the_other_parts_alone(npz):
    whole, part = load_data(npz), load_data(npz, train_size=8, valid_size=4)
    assert part.train.labels.bincount().tolist() == [2, 2, 2, 2]
    assert part.valid.labels.bincount().tolist() == [1, 1, 1, 1]
    assert rows(part.train) < rows(whole.train)
    assert rows(part.valid) < rows(whole.valid)
    assert rows(part.load_test()) == rows(whole.load_test())
    assert rows(load_data(npz, train_size=6).train) < rows(part.train)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digts", {}, "unknown 'digts', did you mean 'digits'. .allowed: digits, npz:PATH"),
        ("digits:1", {}, "nothing goes after 'digits'"),
        ("npz:", {}, "does not say which"),
        ("npz", {}, "does not say which"),
        ("mnist", {}, "allowed: digits, npz:PATH, imagefolder:PATH, torchvision:NAME"),
        ("digits", {"train_size": 5000}, r"data\.train_size: 5000 asked for, but digits has 1168"),
        ("digits", {"train_size": 4}, "training part: class . has no training image"),
    ],
)
def test_bad_data_is_refused_in_one_line(name, options, message):
    with pytest.raises(DataError, match=message) as caught:
        load_data(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trainsize": 4}, r"data\.trainsize: unknown key, did you mean 'train_size'"),
        ({"valid_fraction": 0}, r"data\.valid_fraction"),
        ({"valid_fraction": 0.6, "test_fraction": 0.4}, "leave nothing to train on"),
        ({"download": True}, r"data\.download: is for torchvision only, not for 'digits'"),
        ({"image_size": 16}, r"data\.image_size: is for imagefolder only"),
    ],
)
def test_bad_options_are_refused_in_one_line(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make_spec("digits", **options)
    assert "\n" not in str(caught.value)


def test_a_spec_is_hashable_and_its_path_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = make_spec("npz:data.npz", seed=3)
    assert spec.name == f"npz:{tmp_path / 'data.npz'}"
    assert hash(spec) == hash(make_spec("npz:data.npz", seed=3))


def test_data_is_loaded_once_and_again_if_the_file_changed(npz, tmp_path):
    spec, cpu = make_spec(npz), torch.device("cpu")
    first = load_data_once(spec, cpu)
    assert load_data_once(spec, cpu) is first
    other = write(tmp_path, x_train=255 - PIXELS, y_train=LABELS)
    assert other == npz
    assert load_data_once(spec, cpu).fingerprint() != first.fingerprint()


# -- normalisation ---------------------------------------------------------------------------------


def test_statistics_are_of_the_training_part_alone(tmp_path):
    name = write(tmp_path, x_train=PIXELS, y_train=LABELS, x_valid=PIXELS // 2, y_valid=LABELS)
    splits = load_data(name, test_fraction=0.0)
    assert len(splits.train) == 40
    pixels = PIXELS.reshape(-1, 3).astype(np.float64)
    assert splits.mean.tolist() == pytest.approx(pixels.mean(0).tolist())
    assert splits.std.tolist() == pytest.approx(pixels.std(0).tolist())


def test_floats_and_bytes_are_normalised_alike(tmp_path):
    options = {"seed": 0}
    name = write(tmp_path, x_train=PIXELS, y_train=LABELS)
    of_bytes = load_data(name, **options)
    name = write(tmp_path, x_train=PIXELS / 255, y_train=LABELS)
    of_floats = load_data(name, **options)
    torch.testing.assert_close(
        of_bytes.normalise(of_bytes.train.images), of_floats.normalise(of_floats.train.images)
    )


def test_a_constant_channel_is_centred_but_constant_data_is_refused(tmp_path):
    images = PIXELS.copy()
    images[..., 1] = 7
    splits = load_data(write(tmp_path, x_train=images, y_train=LABELS))
    assert not splits.normalise(splits.train.images)[:, 1].any()
    with pytest.raises(DataError, match="every training pixel has the same value"):
        load_data(write(tmp_path, x_train=np.full_like(PIXELS, 7), y_train=LABELS))


def test_fingerprint_sees_one_pixel(tmp_path, npz):
    before = load_data(npz).fingerprint()
    changed = PIXELS.copy()
    changed[..., 0] ^= 1
    assert load_data(write(tmp_path, x_train=changed, y_train=LABELS)).fingerprint() != before


def test_users_say_whether_to_flip_and_crop(npz):
    assert load_data(npz).augmentation == Augmentation(crop_padding=0, flip=True)
    asked = load_data(npz, flip=False, crop_padding=3).augmentation
    assert asked == Augmentation(crop_padding=3, flip=False)


# -- npz -------------------------------------------------------------------------------------------


def test_npz_parts_are_used_as_given(tmp_path):
    name = write(
        tmp_path,
        x_train=PIXELS[:20],
        y_train=LABELS[:20],
        x_valid=PIXELS[20:30],
        y_valid=LABELS[20:30],
        x_test=PIXELS[30:],
        y_test=LABELS[30:],
    )
    splits = load_data(name)
    for part, images in (
        (splits.train, PIXELS[:20]),
        (splits.valid, PIXELS[20:30]),
        (splits.load_test(), PIXELS[30:]),
    ):
        assert np.array_equal(part.images.numpy(), images)


def test_the_test_part_is_read_late(tmp_path):
    bad = np.full(10, 99)
    name = write(tmp_path, x_train=PIXELS, y_train=LABELS, x_test=PIXELS[:10], y_test=bad)
    splits = load_data(name)
    with pytest.raises(DataError, match=r"test: label 99 is out of range: .* classes 0 to 3"):
        splits.load_test()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X_train": PIXELS, "Y_train": LABELS}, "unknown key 'X_train', did you mean 'x_train'"),
        ({"images": PIXELS, "y_train": LABELS}, "no 'x_train' .it holds images, y_train"),
        ({"train": PIXELS, "y_train": LABELS}, "no 'x_train', did you mean 'train'"),
        (
            {"x_train": PIXELS, "y_train": LABELS, "x_val": PIXELS, "y_val": LABELS},
            "unknown key 'x_val', did you mean 'x_valid'",
        ),
        ({"x_train": PIXELS, "y_train": LABELS, "x_valid": PIXELS}, "no 'y_valid'"),
        ({"x_train": PIXELS, "y_train": LABELS[:-1]}, "40 images, but .* 39 labels"),
        ({"x_train": PIXELS, "y_train": LABELS + 1}, "class 0 has no training image"),
        ({"x_train": PIXELS, "y_train": LABELS * 0}, "need two classes"),
        (
            {"x_train": PIXELS, "y_train": LABELS, "x_valid": PIXELS[:, 1:-1, 1:-1],
             "y_valid": LABELS},
            "validation: images are 4 x 4 x 3, but training images 6 x 6 x 3",
        ),
        (
            {"x_train": PIXELS, "y_train": LABELS, "x_valid": PIXELS / 255, "y_valid": LABELS},
            "validation: pixels are float32, but training pixels uint8",
        ),
        (
            {"x_train": PIXELS, "y_train": LABELS, "x_valid": PIXELS, "y_valid": LABELS + 1},
            "validation: label 4 is out of range",
        ),
        (
            {"x_train": PIXELS, "y_train": LABELS.astype(object)},
            "y_train cannot be read: it holds pickled Python objects, which raynas never loads",
        ),
        ({"x_train": PIXELS[:2], "y_train": [0, 1]}, "no image is left to validate on"),
    ],
)  # fmt: skip
def test_bad_npz_content_is_refused_in_one_line(tmp_path, arrays, message):
    name = write(tmp_path, **arrays)
    with pytest.raises(DataError, match=message) as caught:
        load_data(name)
    assert "data.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_refused_in_one_line(tmp_path, npz):
    whole = (tmp_path / "data.npz").read_bytes()
    (tmp_path / "text.npz").write_text("x_train,y_train\n")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    np.save(tmp_path / "bare.npy", PIXELS)
    (tmp_path / "pickled.npz").write_bytes(b"\x80\x04cos\nsystem\n")
    with zipfile.ZipFile(tmp_path / "header.npz", "w") as archive:
        for key in ("x_train", "y_train"):
            archive.writestr(f"{key}.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': what}\n")
    names = ["missing.npz", *(path.name for path in tmp_path.iterdir() if path.name != "data.npz")]
    assert len(names) == 8
    for name in names:
        with pytest.raises(DataError) as caught:
            load_data(f"npz:{tmp_path / name}")
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


# -- torchvision -----------------------------------------------------------------------------------


@pytest.fixture
def torchvision(monkeypatch, tmp_path):
    """A stand-in with the attributes of torchvision's own data sets; `asked` records the calls."""
    asked = []

    def data_set(**members):
        def make(root, **options):
            asked.append(options)
            return types.SimpleNamespace(**members)

        return make

    def not_there(root, **options):
        raise RuntimeError("Dataset not found or corrupted.\nYou can use download=True")

    labels = LABELS.tolist()
    module = types.ModuleType("torchvision")
    module.datasets = types.SimpleNamespace(
        CIFAR10=data_set(data=PIXELS, targets=labels),
        CIFAR100=not_there,
        SVHN=data_set(data=PIXELS.transpose(0, 3, 1, 2), labels=LABELS),
        FashionMNIST=data_set(data=torch.tensor(PIXELS[..., 0]), targets=torch.tensor(LABELS)),
    )
    monkeypatch.setitem(sys.modules, "torchvision", module)
    return types.SimpleNamespace(asked=asked, options={"folder": str(tmp_path)})


def test_torchvision_data_with_published_statistics(torchvision):
    splits = load_data("torchvision:CIFAR10", **torchvision.options)
    assert torchvision.asked == [{"download": False, "train": True}]
    assert (splits.mean / 255).tolist() == pytest.approx([0.4914, 0.4822, 0.4465])
    assert (splits.std / 255).tolist() == pytest.approx([0.2470, 0.2435, 0.2616])
    assert splits.augmentation.flip
    assert len(splits.load_test()) == 40
    assert torchvision.asked[-1] == {"download": False, "train": False}


def test_torchvision_data_in_its_other_forms(torchvision):
    svhn = load_data("torchvision:SVHN", **torchvision.options)
    assert torchvision.asked == [{"download": False, "split": "train"}]
    assert svhn.task == TaskShape(3, 6, 4)
    assert not svhn.augmentation.flip
    fashion = load_data("torchvision:FashionMNIST", download=True, **torchvision.options)
    assert torchvision.asked[-1] == {"download": True, "train": True}
    assert fashion.task == TaskShape(1, 6, 4)


def test_torchvision_mistakes_are_one_line(torchvision, monkeypatch):
    with pytest.raises(DataError, match="unknown data set, did you mean 'CIFAR10'"):
        load_data("torchvision:cifar10")
    with pytest.raises(DataError, match=r"to fetch it, set data\.download to true") as caught:
        load_data("torchvision:CIFAR100", **torchvision.options)
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(DataError, match=r"pip install 'raynas\[vision\]'") as caught:
        load_data("torchvision:CIFAR10")
    assert "\n" not in str(caught.value)

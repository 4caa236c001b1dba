import numpy as np
import pytest

from raynas.errors import DataError
from raynas.training.arrays import check_arrays, check_classes


def check(images, labels=None, **options):
    labels = np.arange(len(images)) % 2 if labels is None else labels
    return check_arrays(images, labels, images_name="x", labels_name="y", **options)


def test_every_layout_becomes_channels_last():
    grey = np.arange(6 * 5 * 5, dtype=np.uint8).reshape(6, 5, 5)
    assert check(grey).images.shape == (6, 5, 5, 1)
    colours = np.stack([grey, grey + 1, grey + 2], axis=-1)
    last, first = check(colours), check(colours.transpose(0, 3, 1, 2))
    assert np.array_equal(last.images, colours)
    assert np.array_equal(first.images, colours)


def test_a_shape_that_does_not_say_needs_a_layout():
    cubes = np.zeros((4, 3, 3, 3), np.uint8)
    cubes[:, 0] = 1
    with pytest.raises(DataError, match=r"data\.layout, NHWC or NCHW"):
        check(cubes)
    assert check(cubes, layout="NCHW").images[0, :, :, 0].all()
    assert check(cubes, layout="NHWC").images[0, 0].all()


def test_pixel_types():
    assert check(np.zeros((4, 5, 5), np.int64)).images.dtype == np.uint8
    assert check(np.zeros((4, 5, 5), bool)).images.dtype == np.uint8
    assert check(np.zeros((4, 5, 5), np.float64)).images.dtype == np.float32


def nan_at(number):
    images = np.zeros((4, 5, 5), np.float32)
    images[number, 2, 2] = np.nan
    return images


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 25)), "images must be N x H x W"),
        (np.zeros((0, 5, 5)), "holds no images"),
        (np.zeros((4, 5, 6)), "not square"),
        (np.zeros((4, 5, 6, 3)), "not square"),
        (nan_at(3), "1 images hold NaN or infinite pixels, the first is number 3"),
        (np.full((4, 5, 5), 1e300), "infinite pixels"),
        (np.full((4, 5, 5), 300), "integer pixels from 300 to 300"),
        (np.full((4, 5, 5), -1), "integer pixels from -1 to -1"),
        (np.full((4, 5, 5), "a"), "allowed: uint8 or floats"),
        (np.zeros((4, 5, 5), complex), "allowed: uint8 or floats"),
    ],
)
def test_bad_images_are_refused_in_one_line(images, message):
    with pytest.raises(DataError, match=message) as caught:
        check(images)
    assert str(caught.value).startswith("x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 0], "x holds 4 images, but y 3 labels"),
        ([0.0, 1.0, 0.0, 1.0], "must be integers from 0, not float64"),
        (["a", "b", "a", "b"], "must be integers"),
        ([0, -1, 0, 1], "label -1 is negative"),
        ([0, 1, 0, 2**40], "out of range"),
        (np.eye(4, dtype=int), "one class number per image"),
    ],
)
def test_bad_labels_are_refused_in_one_line(labels, message):
    with pytest.raises(DataError, match=message) as caught:
        check(np.zeros((4, 5, 5), np.uint8), np.array(labels))
    assert "\n" not in str(caught.value)


def test_labels_may_be_a_column():
    column = check(np.zeros((4, 5, 5), np.uint8), np.array([[0], [1], [0], [1]]))
    assert column.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 2], "class 0 has no training image"),  # counted from 1
        ([0, 1, 3], "class 2 has no training image: labels must be 0 to 3"),
        ([0, 0, 0], "need two classes"),
        ([3, 3, 3], "need two classes"),
        ([], "need two classes"),
    ],
)
def test_every_class_must_be_trained(labels, message):
    with pytest.raises(DataError, match=message):
        check_classes(np.array(labels, dtype=np.int64), "y")


def test_a_class_may_not_get_lost():
    assert check_classes(np.array([0, 1, 2]), "y") == 3
    with pytest.raises(DataError, match="class 2 has no"):
        check_classes(np.array([0, 1]), "y", 3)

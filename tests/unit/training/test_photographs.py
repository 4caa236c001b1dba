"""Random resized crops and colour jitter, against straight versions."""

import colorsys

import pytest
import torch

from raynas.errors import ConfigError
from raynas.training.photographs import PhotoAugmentation, _brightness, _contrast, _hue, _saturation

SEEDED = torch.Generator().manual_seed(0)
PHOTOS = torch.randint(0, 256, (6, 8, 8, 3), generator=SEEDED, dtype=torch.uint8)
UNIT = PHOTOS.permute(0, 3, 1, 2).double() / 255


def drawn(augmentation, count=2000):
    return augmentation.draw(count, torch.Generator().manual_seed(1))


def test_crops_lie_inside_and_have_the_sizes_asked_for():
    draws = drawn(PhotoAugmentation(0.08))
    centre, size = draws[:, :2], draws[:, 2:4]
    assert (centre - size / 2 >= -1e-6).all()
    assert (centre + size / 2 <= 1 + 1e-6).all()
    area = size.prod(1)
    assert area.min() >= 0.08 - 1e-6
    assert area.std() > 0.2
    aspect = size[:, 0] / size[:, 1]
    assert 3 / 4 - 1e-4 <= aspect.min() < aspect.max() <= 4 / 3 + 1e-4


def test_the_whole_image_is_the_image():
    augmentation = PhotoAugmentation(1.0)
    draws = drawn(augmentation, 6)
    draws[:, :4] = torch.tensor([0.5, 0.5, 1.0, 1.0])
    torch.testing.assert_close(augmentation.apply(PHOTOS, draws), PHOTOS.float())


def test_a_quarter_is_blown_up():
    corner = torch.zeros(1, 4, 4, 1)
    corner[:, :2, 2:] = 200.0
    draws = torch.zeros(1, 12)
    draws[:, :4] = torch.tensor([0.75, 0.25, 0.5, 0.5])  # right half, upper half
    cropped = PhotoAugmentation(0.1).apply(corner, draws)
    assert cropped.shape == corner.shape
    assert cropped[0, 1:3, 1:3].eq(200).all()


def test_jitter_of_nothing_changes_nothing():
    augmentation = PhotoAugmentation(None, (0.4, 0.4, 0.4, 0.2))
    draws = drawn(augmentation, 6)
    draws[:, 4:8] = torch.tensor([1.0, 1.0, 1.0, 0.0])
    torch.testing.assert_close(
        augmentation.apply(PHOTOS, draws), PHOTOS.float(), rtol=1e-5, atol=1e-2
    )


def test_changes_stay_within_what_was_asked():
    changes = drawn(PhotoAugmentation(None, (0.4, 0.3, 0.2, 0.1)))[:, 4:8]
    middle = torch.tensor([1.0, 1.0, 1.0, 0.0])
    widest = (changes - middle).abs().amax(0)
    assert (widest <= torch.tensor([0.4, 0.3, 0.2, 0.1]) + 1e-6).all()
    assert (widest > 0.9 * torch.tensor([0.4, 0.3, 0.2, 0.1])).all()


@pytest.mark.parametrize("turn", [0.0, 0.2, -0.15, 0.5])
def test_hue_turns_as_in_the_standard_library(turn):
    turned = _hue(UNIT, torch.tensor(turn, dtype=torch.float64))
    for image, expected in zip(UNIT, turned, strict=True):
        for row in range(8):
            hue, saturation, value = colorsys.rgb_to_hsv(*image[:, row, row].tolist())
            rgb = colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)
            assert expected[:, row, row].tolist() == pytest.approx(rgb, abs=1e-9)


def test_brightness_contrast_saturation_blend():
    factor = torch.tensor(0.7, dtype=torch.float64)
    grey = 0.299 * UNIT[:, 0] + 0.587 * UNIT[:, 1] + 0.114 * UNIT[:, 2]
    torch.testing.assert_close(_brightness(UNIT, factor), 0.7 * UNIT)
    mean = grey.mean(dim=(1, 2))[:, None, None, None]
    options = {"rtol": 1e-6, "atol": 1e-7}
    torch.testing.assert_close(_contrast(UNIT, factor), 0.7 * UNIT + 0.3 * mean, **options)
    torch.testing.assert_close(
        _saturation(UNIT, factor), 0.7 * UNIT + 0.3 * grey[:, None], **options
    )


def test_every_image_has_its_own_order():
    augmentation = PhotoAugmentation(None, (0.4, 0.4, 0.4, 0.2))
    draws = drawn(augmentation, 6)
    one_by_one = [augmentation.apply(PHOTOS[i : i + 1], draws[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(augmentation.apply(PHOTOS, draws), torch.cat(one_by_one))


def test_only_colour_photographs_can_change_colour():
    augmentation = PhotoAugmentation(None, (0.4, 0.4, 0.4, 0.2))
    augmentation.check(PHOTOS)
    PhotoAugmentation(0.08).check(PHOTOS[..., :1])
    for images in (PHOTOS[..., :1], PHOTOS.float()):
        with pytest.raises(ConfigError, match=r"training\.color_jitter: needs uint8 images"):
            augmentation.check(images)

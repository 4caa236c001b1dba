import torch

from raynas.training.augment import Augmentation, default_crop_padding


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(count=3, size=4, channels=2):
    """Images whose pixels are all different and none is 0."""
    return torch.arange(1, 1 + count * size * size * channels).reshape(count, size, size, channels)


def draws(top=0, left=0, flip=0, row=0, column=0, count=3):
    return torch.tensor([[top, left, flip, row, column]] * count)


def test_nothing_to_do_does_nothing():
    images = numbered()
    assert Augmentation().move(images, draws()) is images


def test_crop_in_the_middle_is_the_image_itself():
    images = numbered()
    assert torch.equal(Augmentation(crop_padding=2).move(images, draws(2, 2)), images)


def test_crop_moves_the_image_and_fills_with_black():
    images = numbered()
    moved = Augmentation(crop_padding=1).move(images, draws(top=0, left=2))
    assert torch.equal(moved[:, 1:, :3], images[:, :3, 1:])
    assert not moved[:, 0].any()
    assert not moved[:, :, 3].any()


def test_each_image_has_its_own_crop():
    images = numbered(count=2)
    own = torch.tensor([[1, 1, 0, 0, 0], [2, 1, 0, 0, 0]])
    moved = Augmentation(crop_padding=1).move(images, own)
    assert torch.equal(moved[0], images[0])
    assert torch.equal(moved[1, :3], images[1, 1:])


def test_flip_mirrors_left_and_right():
    images = numbered()
    augmentation = Augmentation(flip=True)
    assert torch.equal(augmentation.move(images, draws(flip=1)), images.flip(2))
    assert torch.equal(augmentation.move(images, draws(flip=0)), images)


def test_flip_of_a_crop_is_the_crop_flipped():
    images = numbered()
    both = Augmentation(crop_padding=1, flip=True)
    for left in (0, 2):
        cropped, mirrored = (both.move(images, draws(2, left, flip)) for flip in (0, 1))
        assert torch.equal(mirrored, cropped.flip(2))


def test_types_are_kept():
    for dtype in (torch.uint8, torch.float32):
        images = numbered().to(dtype)
        assert Augmentation(1, True).move(images, draws(1, 1, 1)).dtype == dtype


def test_cutout_erases_a_square_clipped_at_the_border():
    images = torch.ones(1, 2, 6, 6)
    erase = Augmentation(cutout=4).erase
    middle = erase(images, draws(row=3, column=3, count=1))
    assert not middle[:, :, 1:5, 1:5].any()
    assert middle.sum() == 2 * (36 - 16)
    corner = erase(images, draws(row=0, column=5, count=1))
    assert not corner[:, :, :2, 3:].any()
    assert corner.sum() == 2 * (36 - 2 * 3)
    assert images.all()


def test_draws_cover_their_ranges_and_come_from_the_generator():
    augmentation = Augmentation(crop_padding=1, flip=True, cutout=2)
    first = augmentation.draw(500, 8, generator())
    assert first.min(0).values.tolist() == [0, 0, 0, 0, 0]
    assert first.max(0).values.tolist() == [2, 2, 1, 7, 7]
    assert torch.equal(first, augmentation.draw(500, 8, generator()))
    assert not torch.equal(first, augmentation.draw(500, 8, generator(1)))


def test_default_border():
    assert [default_crop_padding(size) for size in (7, 8, 16, 32, 224)] == [0, 1, 2, 4, 4]

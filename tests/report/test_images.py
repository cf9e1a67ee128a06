"""Frames become small PNGs, whatever their memory looks like."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from rewardsmith.report.images import png


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


def test_the_longer_side_is_at_most_160_and_the_aspect_is_kept() -> None:
    image = opened(png(np.zeros((480, 640, 3), np.uint8)))
    assert image.format == "PNG"
    assert image.size == (160, 120)
    assert opened(png(np.zeros((640, 320, 3), np.uint8), longest=64)).size == (32, 64)
    assert opened(png(np.zeros((1, 1000, 3), np.uint8))).size == (160, 1)


def test_small_frames_keep_every_pixel() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(opened(png(rgb))), rgb)


def test_a_flipped_view_is_read_as_it_looks() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(opened(png(rgb[::-1]))), rgb[::-1])


@pytest.mark.parametrize(
    "rgb",
    [
        np.zeros((4, 4, 3)),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_anything_but_rgb_bytes_is_refused(rgb: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        png(rgb)


def test_a_limit_below_one_pixel_is_refused() -> None:
    with pytest.raises(ValueError, match="longest"):
        png(np.zeros((4, 4, 3), np.uint8), longest=0)

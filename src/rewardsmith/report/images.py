"""Frames as small PNG files, for filmstrips inside a report."""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def png(rgb: NDArray[Any], *, longest: int = 160) -> bytes:
    """An RGB frame as PNG, scaled down so that its longer side is at most ``longest`` pixels.

    Frames are never enlarged, and the aspect ratio is kept (a side is at least one pixel).

    Args:
        rgb: uint8 [H, W, 3].
        longest: the limit in pixels, at least 1.

    Raises:
        ValueError: another dtype or shape, an empty image, or ``longest`` below 1.
    """
    rgb = np.asarray(rgb)
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ValueError(f"a frame must be uint8 [H, W, 3], got {rgb.dtype} {rgb.shape}")
    if longest < 1:
        raise ValueError(f"longest must be at least 1 pixel, got {longest}")
    # A rendered frame may be a flipped view, and Pillow reads the buffer as it lies in memory.
    image = Image.fromarray(np.ascontiguousarray(rgb))
    scale = longest / max(image.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()

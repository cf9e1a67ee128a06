"""What runs kept for the report: films of policies that act, completions of those that write."""

import base64
import json
from pathlib import Path
from typing import Any

from .records import Run


def read_film(folder: Path) -> dict[str, Any] | None:
    """A run's frames, with the images as bytes."""
    strip = Run("", 0, folder).note("film")
    if strip is not None:
        for frame in strip["frames"]:
            frame["png"] = base64.b64decode(frame["png"])
    return strip


def read_samples(folder: Path) -> list[dict[str, Any]]:
    """A run's completions over time, in the order in which they were sampled."""
    path = folder / "samples.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]

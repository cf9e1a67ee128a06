"""A run that workers load fast: of nothing but the standard library."""

import os
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Settings:
    """0: one run raises; below: one takes its process with it; above 100: it takes long."""

    scale: float = 1.0


def train(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    if (arm, seed) == ("ours", 1):
        if settings.scale == 0.0:
            raise ValueError("this one fails")
        if settings.scale < 0.0:
            os._exit(9)
        if settings.scale > 100.0:
            time.sleep(60.0)
    threads = os.environ.get("OMP_NUM_THREADS")
    return {"end": settings.scale * (seed + (arm == "ours")), "pid": os.getpid(), "omp": threads}

"""Seeds of runs and purposes."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def spread(seed: int, purpose: str) -> int:
    """A seed of its own for each run and purpose.

    SB3 gives environment i the seed s + i, so that runs of neighboring seeds would share nearly all
    their environments' seeds, and seeds would not be independent.
    """
    entropy = [seed, *purpose.encode()]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """What is drawn meanwhile follows from a seed; the generators are left as they were found."""
    kept = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices=devices):
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])

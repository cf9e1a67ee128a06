"""Seeds of runs and purposes."""

import numpy as np


def spread(seed: int, purpose: str) -> int:
    """A seed of its own for each run and purpose.

    SB3 gives environment i the seed s + i, so that runs of neighboring seeds would share nearly all
    their environments' seeds, and seeds would not be independent.
    """
    entropy = [seed, *purpose.encode()]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)

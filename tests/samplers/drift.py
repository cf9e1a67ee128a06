"""What a trainer does with a sampler, over prompts whose pass rates drift."""

import io
from dataclasses import dataclass, field

import numpy as np
import torch

from rewardsmith.testbeds.pass_rates import PassRates


def pool_of(n=40, seed=0, **options):
    domains = ["sums" if row % 3 else "words" for row in range(n)]
    return PassRates(n, seed, columns={"domain": domains}, **options)


def restored(sampler, fresh):
    """A fresh sampler with the state of another, by way of a file."""
    file = io.BytesIO()
    torch.save(sampler.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file))
    return fresh


@dataclass
class Batch:
    """What one step of training asked for and got."""

    rounds: list = field(default_factory=list)
    """The rows proposed, a list for each round."""
    selected: list = field(default_factory=list)
    """The prompts of the groups selected."""
    told: list = field(default_factory=list)
    """The metrics, a mapping for each round."""

    @property
    def proposed(self):
        return [row for rows in self.rounds for row in rows]


def train(sampler, pool, *, n=6, group=4, steps=5, pace=20, seed=0, swap=None, at=-1):
    """Batches of n groups, ``pace`` steps of the drift apart.

    After round ``at`` of all, ``swap`` says which sampler goes on.
    """
    batches, rounds = [], 0
    for step in range(steps):
        sampler.begin()
        batch = Batch()
        for number in range(sampler.rounds):
            missing = n - len(batch.selected)
            if missing <= 0 or missing > len(pool) - len(batch.proposed):
                break
            batch.rounds.append(sampler.propose(missing))
            random = np.random.default_rng([seed, step, number])
            rollouts, scores = pool.answers(batch.rounds[-1], group, pace * step, random)
            batch.told.append(sampler.observe(rollouts, scores))
            kept = sampler.select(rollouts, scores)
            batch.selected += rollouts["prompt_id"][kept].tolist()[::group]
            if rounds == at:
                sampler = swap(sampler)
            rounds += 1
        batches.append(batch)
    return batches

"""Thinking: fillers, a marker and the answer, where length pays on hard problems only."""

import random
from dataclasses import dataclass

from .tasks import Row, Task, addition, copying, mixed

FILLER = "."
"""What a thinking answer may hold before its marker."""
MARKER = "#"
"""What the final answer stands behind in a thinking task."""


def behind_marker(completion: str, answer: str) -> float:
    """1 where the completion is any number of fillers, the marker, and then the answer."""
    before, marker, said = completion.partition(MARKER)
    return float(bool(marker) and said == answer and not before.strip(FILLER))


def fillers(rng: random.Random, going_on: float, most: int) -> int:
    """How many: another one follows with a probability, up to ``most``."""
    n = 0
    while n < most and rng.random() < going_on:
        n += 1
    return n


def thinking(most: int = 24, enough: int = 3, seed: int = 0) -> Task:
    """Answers like ``.....#124``: fillers, the marker, the answer; problems easy and hard by turns.

    Easy is to copy four digits, hard to add two numbers of two digits. In demonstrations another
    filler follows with a probability of 4 in 5, up to ``most``: 4 in the mean, and now and then a
    far longer one. Easy ones are all right. A hard one with n fillers is right with probability
    ``(min(n, enough) + 1) / (enough + 1)`` and else off by 1 to 9. So the demonstrations of hard
    problems are right more often where they are longer, and on easy ones length buys nothing. How
    far a policy that imitates them takes that over is not shown, nor that it computes in fillers.

    Args:
        most: the longest demonstrated filler.
        enough: the filler from which on more of it buys nothing.
        seed: of the splits.

    Raises:
        ValueError: ``enough`` is below 1, or ``most`` below it.
    """
    if not 1 <= enough <= most:
        raise ValueError(
            f"thinking: most is {most} and enough {enough}, they must be at least 1, "
            "and most no less than enough"
        )
    easy, hard = copying(seed=seed), addition(seed=seed)
    task = mixed({"easy": easy, "hard": hard}, f"thinking_{most}_{enough}")
    train, held_out = (
        tuple({**row, "level": row["domain"]} for row in rows)
        for rows in (task.train, task.held_out)
    )
    longest = most + task.longest + 1
    return Task(task.name, behind_marker, train, held_out, _Thinker(most, enough), longest)


_GOING_ON = 0.8
"""How likely another filler is."""


@dataclass(frozen=True)
class _Thinker:
    most: int
    enough: int

    def __call__(self, row: Row, rng: random.Random) -> str:
        n = fillers(rng, _GOING_ON, self.most)
        answer = row["answer"]
        right = (min(n, self.enough) + 1) / (self.enough + 1)
        if row["level"] == "hard" and rng.random() >= right:
            answer = f"{(int(answer) + rng.choice((-1, 1)) * rng.randint(1, 9)) % 200:03}"
        return FILLER * n + MARKER + answer

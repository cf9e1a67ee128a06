"""Tasks with verifiable answers, small enough for a model of a hundred thousand weights.

A task is a list of problems, split once into those that may be trained on and those held out, a
reward that checks an answer's text, and demonstrations for a supervised warm start. Numbers are
written with a fixed count of digits: a small model learns sums of such numbers, and generalizes to
pairs it never saw, in a few hundred steps; of numbers without leading zeros it takes thousands.

The rewards are plain functions of columns, so a spec names them::

    reward: {function: {call: "rewardsmith.testbeds.rlvr.tasks:exact"}}
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import product
from typing import Literal, TypeAlias

Row: TypeAlias = dict[str, str]
Split: TypeAlias = Literal["train", "held_out"]


@dataclass(frozen=True)
class Task:
    """Problems, how they are checked, and how they are demonstrated.

    A row is a dict of strings: ``prompt``, ``answer``, ``task`` (an id that stays the same across
    runs), and what the task adds (``numbers``, ``domain``, ``level``).

    Args:
        name: tells tasks, sizes and splits apart; part of a warm start's fingerprint.
        reward: a module-level function from columns to 0.0 or 1.0.
        train: rows that a warm start and RL may use.
        held_out: rows for measuring only.
        demonstrate: an answer's text to a row, with a random generator to choose by.
        longest: tokens of the longest demonstrated answer, its end included; the most that is
            generated.
    """

    name: str
    reward: Callable[..., float]
    train: tuple[Row, ...]
    held_out: tuple[Row, ...]
    demonstrate: Callable[[Row, random.Random], str]
    longest: int

    def rows(self, split: Split) -> list[Row]:
        """Copies of the rows of a split, in an order that is drawn once.

        Raises:
            ValueError: another split.
        """
        if split not in ("train", "held_out"):
            raise ValueError(f"{self.name}: split is {split!r}, it must be 'train' or 'held_out'")
        return [dict(row) for row in (self.train if split == "train" else self.held_out)]

    def check(self, row: Row, completion: str) -> bool:
        """Whether a completion answers a row: its reward is above zero."""
        columns = {**row, "completion": completion}
        return (
            self.reward(**{name: columns[name] for name in signature(self.reward).parameters}) > 0
        )

    def demonstrations(
        self, rng: random.Random, n: int, weights: Sequence[float] | None = None
    ) -> list[tuple[str, str]]:
        """``n`` pairs of a prompt and an answer, of problems to train on only.

        Args:
            rng: what is drawn with.
            n: how many.
            weights: how likely each row of ``train`` is drawn; default evenly.
        """
        rows = rng.choices(self.train, weights, k=n)
        return [(row["prompt"], self.demonstrate(row, rng)) for row in rows]


def exact(completion: str, answer: str) -> float:
    """1 where the completion is the answer, character for character."""
    return float(completion == answer)


def modular_addition(modulus: int = 97, held_out: float = 0.2, seed: int = 0) -> Task:
    """``53+71%=`` is answered by ``27``, modulo 97: all pairs of numbers below the modulus.

    ``a+b`` and ``b+a`` are in the same split, so that no held-out sum was seen turned round.

    Args:
        modulus: 2 to 100.
        held_out: the share of problems that is never trained on.
        seed: of the split.

    Raises:
        ValueError: a modulus or a share out of range.
    """
    if not 2 <= modulus <= 100:
        raise ValueError(f"modular_addition: modulus is {modulus}, it must be within 2 and 100")
    wide = len(str(modulus - 1))
    sums = [
        [
            _sum(x, y, "%", (a + b) % modulus, wide, wide, f"add{modulus}")
            for x, y in dict.fromkeys([(a, b), (b, a)])
        ]
        for a in range(modulus)
        for b in range(a, modulus)
    ]
    return _exact_task(f"modular_addition_{modulus}", sums, held_out, seed, wide + 1)


def addition(held_out: float = 0.2, seed: int = 0) -> Task:
    """``53+71=`` is answered by ``124``: all pairs of numbers of two digits.

    Raises:
        ValueError: a share out of range.
    """
    sums = [
        [_sum(x, y, "", a + b, 2, 3, "add") for x, y in dict.fromkeys([(a, b), (b, a)])]
        for a in range(100)
        for b in range(a, 100)
    ]
    return _exact_task("addition", sums, held_out, seed, 4)


def _sum(a: int, b: int, sign: str, answer: int, wide: int, long: int, of: str) -> Row:
    prompt = f"{a:0{wide}}+{b:0{wide}}{sign}="
    return {"prompt": prompt, "answer": f"{answer:0{long}}", "task": f"{of}:{a}+{b}"}


def reversal(length: int = 4, held_out: float = 0.2, seed: int = 0) -> Task:
    """``r4721=`` is answered by ``1274``: strings of digits, turned round.

    Raises:
        ValueError: a length outside [2, 5] or a share out of range.
    """
    return _strings("reversal", "r", length, "0123456789", lambda s: s[::-1], held_out, seed)


def copying(length: int = 4, held_out: float = 0.2, seed: int = 0) -> Task:
    """``c4721=`` is answered by ``4721``: strings of digits, as they are.

    Raises:
        ValueError: a length outside [2, 5] or a share out of range.
    """
    return _strings("copying", "c", length, "0123456789", lambda s: s, held_out, seed)


def parity(length: int = 10, held_out: float = 0.2, seed: int = 0) -> Task:
    """``p0110=`` is answered by ``0100``: the parity of the bits so far, bit after bit.

    The last bit alone would be guessed half the time, so every parity on the way is asked for.

    Raises:
        ValueError: a length outside [2, 16] or a share out of range.
    """

    def running(bits: str) -> str:
        return "".join(str(bits[: i + 1].count("1") % 2) for i in range(len(bits)))

    return _strings("parity", "p", length, "01", running, held_out, seed)


def _strings(
    name: str,
    sign: str,
    length: int,
    alphabet: str,
    answer: Callable[[str], str],
    held_out: float,
    seed: int,
) -> Task:
    most = 16 if len(alphabet) == 2 else 5
    if not 2 <= length <= most:
        raise ValueError(f"{name}: length is {length}, it must be within 2 and {most}")
    texts = ["".join(characters) for characters in product(alphabet, repeat=length)]
    rows = [[{"prompt": f"{sign}{s}=", "answer": answer(s), "task": f"{name}:{s}"}] for s in texts]
    return _exact_task(f"{name}_{length}", rows, held_out, seed, length + 1)


def mixed(domains: dict[str, Task], name: str = "mixed") -> Task:
    """Several tasks in one, each row with its ``domain``.

    Args:
        domains: name -> task, all with the same reward.
        name: of the mix.

    Raises:
        ValueError: no task, or tasks with different rewards or ways to demonstrate.
    """
    ways = {(task.reward, task.demonstrate) for task in domains.values()}
    if len(ways) != 1:
        raise ValueError(
            f"mixed: {len(ways)} kinds of reward among the domains {sorted(domains)}, "
            "it must be exactly one"
        )
    reward, demonstrate = ways.pop()
    train, held_out = (_interleaved(domains, split) for split in ("train", "held_out"))
    longest = max(task.longest for task in domains.values())
    label = f"{name}({','.join(task.name for task in domains.values())})"
    return Task(label, reward, train, held_out, demonstrate, longest)


def _interleaved(domains: dict[str, Task], split: Split) -> tuple[Row, ...]:
    """As many rows of each domain as the smallest has, by turns."""
    parts = {name: task.rows(split) for name, task in domains.items()}
    many = min(len(rows) for rows in parts.values())
    return tuple({**parts[name][i], "domain": name} for i in range(many) for name in parts)


def four_domains(seed: int = 0) -> Task:
    """Addition, reversal, parity and modular addition, of unequal difficulty, by turns."""
    return mixed(
        {
            "addition": addition(seed=seed),
            "reversal": reversal(seed=seed),
            "parity": parity(seed=seed),
            "modular": modular_addition(seed=seed),
        },
        "four_domains",
    )


def _exact_task(
    name: str, groups: Sequence[list[Row]], held_out: float, seed: int, longest: int
) -> Task:
    """A task of which whole groups of problems are trained on or held out."""
    if not 0 < held_out < 1:
        raise ValueError(f"{name}: held_out is {held_out}, it must be between 0 and 1")
    rng = random.Random(seed)
    order = rng.sample(groups, len(groups))
    cut = min(max(round(held_out * len(order)), 1), len(order) - 1)
    parts = ([row for group in part for row in group] for part in (order[cut:], order[:cut]))
    train, kept = (tuple(rng.sample(part, len(part))) for part in parts)
    return Task(f"{name}_{held_out}_{seed}", exact, train, kept, _answer, longest)


def _answer(row: Row, rng: random.Random) -> str:
    return row["answer"]

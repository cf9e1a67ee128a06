"""What a policy can do on a task's rows: pass@k, greedy accuracy, entropy and lengths."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ...ops.pass_at_k import pass_at_k_rate
from .tasks import Row, Task

_DOMAINS = ("domain", "level")


@dataclass(frozen=True)
class Measures:
    """Means over rows (each row counts alike, and each of its answers)."""

    rows: int
    pass_at: dict[int, float]
    """k -> the chance that one of k answers sampled at temperature 1 is right; unbiased."""
    greedy: float
    """The share of rows whose likeliest answer, token by token, is right."""
    entropy: float
    """Nats per token of the sampled answers, of the policy at temperature 1."""
    length: float
    """Tokens of a sampled answer, its end included."""
    wrong_length: float | None
    """Of those that are wrong; None where none is."""
    right: list[int]
    """How many of a row's sampled answers are right, in the order of the rows."""
    parts: "dict[str, dict[str, Measures]]" = field(default_factory=dict)
    """The same for each value of the columns ``domain`` and ``level``, where rows have them."""


def measure(
    model: Any,
    tokenizer: Any,
    task: Task,
    rows: Sequence[Row],
    samples: int = 8,
    ks: Sequence[int] = (1, 8),
    seed: int = 0,
    longest: int | None = None,
    chunk: int = 1024,
) -> Measures:
    """Sample answers at temperature 1, without top-k or top-p, and check them.

    The model is in eval mode meanwhile and afterwards in the mode it was in; the global random
    states are left as they were. The same arguments give the same numbers.

    Args:
        model: a causal language model of transformers, on any device.
        tokenizer: pads on the left.
        task: checks the answers.
        rows: of the task, usually ``task.rows("held_out")`` or its first few hundred.
        samples: answers per row.
        ks: of pass@k, each at most ``samples``.
        seed: of the samples.
        longest: the most tokens that are generated; default ``task.longest``.
        chunk: answers generated at once. It changes which samples are drawn.

    Raises:
        ValueError: no rows, ``samples`` or ``chunk`` below 1, or a k above ``samples``.
    """
    if not rows or samples < 1 or chunk < 1:
        raise ValueError(
            f"measure: {len(rows)} rows, {samples} samples, chunks of {chunk}: "
            "there must be at least one of each"
        )
    if any(not 1 <= k <= samples for k in ks):
        raise ValueError(f"measure: ks are {list(ks)}, each must be within 1 and {samples} samples")
    longest = longest or task.longest
    with _measuring(model, seed):
        likeliest = _answers(model, tokenizer, rows, longest, chunk, sample=False)
        asked = [row for row in rows for _ in range(samples)]
        sampled = _answers(model, tokenizer, asked, longest, chunk, sample=True)
    greedy = [task.check(row, text) for row, text in zip(rows, likeliest.text, strict=True)]
    right = [task.check(row, text) for row, text in zip(asked, sampled.text, strict=True)]
    table = _Table(
        np.array(greedy),
        np.array(right).reshape(len(rows), samples),
        np.array(sampled.length).reshape(len(rows), samples),
        np.array(sampled.entropy).reshape(len(rows), samples),
    )
    parts = {
        column: {
            value: table.summary(ks, np.array([row[column] == value for row in rows]))
            for value in dict.fromkeys(row[column] for row in rows)
        }
        for column in _DOMAINS
        if all(column in row for row in rows)
    }
    return table.summary(ks, np.ones(len(rows), dtype=bool), parts)


@dataclass
class _Answers:
    """Texts, their lengths in tokens, and the sum of their tokens' entropies in nats."""

    text: list[str] = field(default_factory=list)
    length: list[int] = field(default_factory=list)
    entropy: list[float] = field(default_factory=list)


@dataclass
class _Table:
    """What was found on each row [R] and each of its answers [R, S]."""

    greedy: Any
    right: Any
    length: Any
    entropy: Any

    def summary(
        self, ks: Sequence[int], at: Any, parts: dict[str, dict[str, Measures]] | None = None
    ) -> Measures:
        right, length = self.right[at], self.length[at]
        count = right.sum(axis=1)
        wrong = length[~right]
        return Measures(
            rows=len(right),
            pass_at={k: float(pass_at_k_rate(right.shape[1], count, k).mean()) for k in ks},
            greedy=float(self.greedy[at].mean()),
            entropy=float(self.entropy[at].sum() / length.sum()),
            length=float(length.mean()),
            wrong_length=float(wrong.mean()) if wrong.size else None,
            right=count.tolist(),
            parts=parts or {},
        )


@contextmanager
def _measuring(model: Any, seed: int) -> Iterator[None]:
    device = model.device
    devices = [device] if device.type == "cuda" else []
    training = model.training
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(seed)
        model.eval()
        try:
            yield
        finally:
            model.train(training)


def _answers(
    model: Any, tokenizer: Any, rows: Sequence[Row], longest: int, chunk: int, sample: bool
) -> _Answers:
    found = _Answers()
    for start in range(0, len(rows), chunk):
        prompts = [row["prompt"] for row in rows[start : start + chunk]]
        asked = tokenizer(prompts, return_tensors="pt", padding=True).to(model.device)
        ids, seen = asked["input_ids"], asked["attention_mask"]
        out = model.generate(
            input_ids=ids,
            attention_mask=seen,
            max_new_tokens=longest,
            do_sample=sample,
            **({"temperature": 1.0, "top_k": 0, "top_p": 1.0} if sample else {}),
        )
        said = out[:, ids.shape[1] :]
        ended = said == tokenizer.eos_token_id
        mask = (ended.cumsum(1) - ended.long()) == 0
        found.text += tokenizer.batch_decode(said, skip_special_tokens=True)
        found.length += mask.sum(1).tolist()
        if sample:
            seen = torch.cat([seen, mask.long()], dim=1)
            found.entropy += (_entropy(model, out, seen, said.shape[1]) * mask).sum(1).tolist()
    return found


def _entropy(model: Any, ids: Any, seen: Any, many: int) -> Any:
    """Nats of the distributions that the last ``many`` tokens were drawn from."""
    positions = (seen.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=seen, position_ids=positions).logits
    logs = logits[:, -many - 1 : -1].float().log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)

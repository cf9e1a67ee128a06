"""Completions of held-out problems: sampled without disturbing training, and kept as rows."""

import gzip
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from ...core.rollouts import Rollouts
from ..seeds import drawn_from
from .models import prompt_ids
from .problems import Row

_NEUTRAL = {
    "num_beams": 1,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
    "min_new_tokens": 0,
}
"""Settings of generation that change nothing; what is not set is taken from the checkpoint."""


@dataclass
class Answers:
    """Completions, those of a problem beside each other; every list has one entry for each."""

    problem: list[int] = field(default_factory=list)
    """Which of the problems."""
    completion: list[Any] = field(default_factory=list)
    """A text, or messages where the prompt is."""
    token: list[list[int]] = field(default_factory=list)
    """Its tokens, the end included."""
    logprob: list[list[float]] = field(default_factory=list)
    """Of each token, at the temperature of sampling."""
    entropy: list[list[float]] = field(default_factory=list)
    """Nats of the distribution that each token was drawn from."""
    ended: list[bool] = field(default_factory=list)
    """Whether it came to its end; else it was cut off."""

    def __len__(self) -> int:
        return len(self.problem)

    def rollouts(self, problems: Sequence[Row], group_size: int) -> Rollouts:
        """The completions as the trainer shows them to a reward.

        Args:
            problems: the rows that ``problem`` counts.
            group_size: how many completions of a problem are compared with each other, at most.
        """
        rows = [problems[i] for i in self.problem]
        names = dict.fromkeys(name for row in problems for name in row)
        columns: dict[str, Any] = {name: [row.get(name) for row in rows] for name in names}
        columns |= {"completion": self.completion, "completion_ids": self.token}
        mask = _padded([[True] * len(ids) for ids in self.token], torch.bool)
        steps = {
            "token": _padded(self.token, torch.int64),
            "logprob": _padded(self.logprob, torch.float32),
            "entropy": _padded(self.entropy, torch.float32),
        }
        return Rollouts(columns, steps, mask=mask, group=self.groups(group_size))

    def groups(self, size: int) -> list[tuple[int, int]]:
        """Who is compared with whom: neighbors that answer the same problem, ``size`` at most."""
        seen: dict[int, int] = {}
        found = []
        for problem in self.problem:
            k = seen.get(problem, 0)
            found.append((problem, k // size))
            seen[problem] = k + 1
        return found

    def batches(self, group_size: int, size: int) -> list[list[int]]:
        """Rows as a trainer has them side by side: whole groups, of as many problems as there are.

        Args:
            group_size: as of :meth:`groups`.
            size: rows of a batch. The last takes from the one before it what it lacks.
        """
        groups = self.groups(group_size)
        order = sorted(range(len(self)), key=lambda row: groups[row][1])
        starts = range(0, len(order), size)
        return [order[max(0, min(start, len(order) - size)) :][:size] for start in starts]

    def save(self, path: Path) -> None:
        """Write them to a file, compressed."""
        path.write_bytes(gzip.compress(json.dumps(asdict(self)).encode(), mtime=0))

    @classmethod
    def load(cls, path: Path) -> "Answers":
        """Read what :meth:`save` wrote."""
        return cls(**json.loads(gzip.decompress(path.read_bytes())))


def sample(
    model: Any,
    tokenizer: Any,
    problems: Sequence[Row],
    *,
    samples: int,
    longest: int,
    temperature: float,
    batch_size: int,
    seed: int,
) -> Answers:
    """Completions at a temperature; top-k, penalties and the like of a checkpoint are left out.

    The generators of the model's training are left as they were found, and so is its mode. The
    same arguments give the same completions.

    Args:
        model: a causal language model of transformers.
        tokenizer: its own.
        problems: rows with a prompt.
        samples: how many for each.
        longest: the most tokens of one.
        temperature: of sampling.
        batch_size: how many are generated at once.
        seed: of what is drawn.
    """
    order = [i for i in range(len(problems)) for _ in range(samples)]
    prompts = prompt_ids(tokenizer, [row["prompt"] for row in problems])
    ends = _end_ids(model, tokenizer)
    found = Answers()
    with undisturbed(model, seed):
        for start in range(0, len(order), batch_size):
            part = order[start : start + batch_size]
            ids, recorder = _generated(
                model, tokenizer, [prompts[i] for i in part], ends, longest, temperature
            )
            logprob, entropy = recorder.found(ids)
            for row, problem in enumerate(part):
                said = ids[row].tolist()
                end = next((k for k, token in enumerate(said) if token in ends), None)
                n = len(said) if end is None else end + 1
                text = tokenizer.decode(said[:n], skip_special_tokens=True)
                chat = not isinstance(problems[problem]["prompt"], str)
                found.problem.append(problem)
                found.completion.append([{"role": "assistant", "content": text}] if chat else text)
                found.token.append(said[:n])
                found.logprob.append(logprob[row, :n].tolist())
                found.entropy.append(entropy[row, :n].tolist())
                found.ended.append(end is not None)
    return found


@contextmanager
def undisturbed(model: Any, seed: int) -> Iterator[None]:
    """Evaluate with generators of one's own; training finds its own, and its mode, as they were."""
    training = model.training
    try:
        with drawn_from(seed), torch.no_grad():
            model.eval()
            yield
    finally:
        model.train(training)


class _Recorder(LogitsProcessor):
    """Notes of every distribution its entropy, and how likely the token was that it gave."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature
        self.entropy: list[Tensor] = []
        self.logprob: list[Tensor] = []
        self._last: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._note(input_ids[:, -1])
        logs = (scores.float() / self.temperature).log_softmax(dim=-1)
        # A token that is ruled out has a probability of 0, and 0 log 0 is 0.
        self.entropy.append(-(logs.exp() * logs).nansum(dim=-1).cpu())
        self._last = logs
        return scores

    def _note(self, token: Tensor) -> None:
        if self._last is not None:
            self.logprob.append(self._last.gather(1, token[:, None])[:, 0].cpu())

    def found(self, said: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies of what was said, [n, t] each."""
        self._note(said[:, -1])
        return torch.stack(self.logprob, dim=1), torch.stack(self.entropy, dim=1)


def _generated(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    ends: Sequence[int],
    longest: int,
    temperature: float,
) -> tuple[Tensor, _Recorder]:
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), tokenizer.pad_token_id)
    seen = torch.zeros(len(prompts), width, dtype=torch.int64)
    for i, prompt in enumerate(prompts):
        if prompt:
            ids[i, -len(prompt) :], seen[i, -len(prompt) :] = torch.tensor(prompt), 1
    recorder = _Recorder(temperature)
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=longest,
        do_sample=True,
        temperature=temperature,
        eos_token_id=list(ends),
        pad_token_id=tokenizer.pad_token_id,
        **_NEUTRAL,
    )
    out = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=seen.to(model.device),
        generation_config=settings,
        logits_processor=LogitsProcessorList([recorder]),
    )
    return out[:, width:], recorder


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends a completion: the model's and the tokenizer's."""
    given = model.generation_config.eos_token_id
    ends = [] if given is None else [given] if isinstance(given, int) else list(given)
    return list(dict.fromkeys([tokenizer.eos_token_id, *ends]))


def _padded(rows: Sequence[Sequence[Any]], dtype: torch.dtype) -> Tensor:
    made = torch.zeros(len(rows), max(1, *map(len, rows)), dtype=dtype)
    for i, row in enumerate(rows):
        made[i, : len(row)] = torch.tensor(row, dtype=dtype)
    return made

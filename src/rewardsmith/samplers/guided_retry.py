"""Guided retry: show the model what its best failure missed, and learn from the second attempt."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from ..core.catalog import Paper, method
from ..core.rollouts import Rollouts
from ..core.scores import Scores
from ..core.warn import warn_caller
from .around import Around
from .guidance import absent, guidance_probability, leaks, with_guidance
from .prompts import PromptSampler, Shuffled
from .retries import (
    TIE,
    Overwrite,
    hint_prompt,
    retry_bonus,
    retry_candidates,
    retry_replacements,
)

Context: TypeAlias = Literal["original", "hint"]
Prompter: TypeAlias = Callable[..., Any]
"""``(prompt, completion, satisfied, unmet) -> prompt``."""


class Hint(NamedTuple):
    """A second attempt to make."""

    row: int
    """The row of the batch whose answer failed."""
    prompt: Any
    """What to generate for, a text or messages as the row's own prompt is."""


@dataclass(frozen=True, eq=False)
class Improved:
    """What second attempts change in a batch of N rows."""

    replace: dict[int, int]
    """Row of the batch -> row of the retries whose answer and score take its place."""
    bonus: Float64[Tensor, " n"]
    """What is added to the scores; 0 in rows that are replaced."""
    metrics: Mapping[str, float] = field(default_factory=dict)


@method(
    "guided_retry",
    kind="sampler",
    seed=[20, 105],
    paper=Paper(
        "2603.20046",
        "Experience is the Best Teacher: Motivating Effective Exploration in Reinforcement "
        "Learning for LLMs",
        2026,
    ),
)
class GuidedRetry(Around):
    """Prompts of another sampler; groups that fail get a second attempt, with a hint.

    A trainer asks for :meth:`hints` when the groups of a batch are complete, generates one answer
    for each at ``retry_temperature``, scores them by the same reward with the columns of the hint's
    row, and asks :meth:`improve` what becomes of the batch. Retries are samples: count them in a
    budget.

    Two kinds of hints. By default a hint shows the best failed answers of the group, and which
    parts of the score they have and miss (HeRL). With ``guidance`` it is a text from the data, such
    as a teacher's plan (Agent-RLVR), which ``probability`` and ``anneal`` fade.

    In five things this is not the authors' code of HeRL: the worst sample is overwritten where
    theirs takes any, which may be the best one; only a better answer overwrites; where no retry
    qualifies nothing does, and theirs copies the best sample over another; a sample that is
    overwritten leaves its bonus behind; and a replaced answer trains under the prompt of its group
    unless ``context`` says otherwise (theirs keep the hint).

    Around a filter it sees only the groups that the filter selects: those in which all answers fail
    alike, which need hints most, are gone by then.

    ``alpha=0`` with ``replace=0``, or ``attempts=0``, is the other sampler alone: no hints.

    Args:
        of: whose prompts; default :class:`Shuffled` with this seed.
        threshold: a group fails whose best reward is below. At 1, rewards have to lie in [0, 1].
        alpha: the bonus, ``alpha (rho - r)``, from 0 to 1.
        attempts: how often each sample is tried again. The best answer counts for its bonus.
        replace: how many samples of a group retries overwrite at most.
        overwrite: the ``"worst"`` ones, or ``"random"`` ones.
        context: under which prompt a replaced sample trains, ``"original"`` or ``"hint"``. Under
            the former it is far off-policy: see the loss ``herl``. Our trainer gives all
            log-probabilities under the prompt that is trained under, so that with one step for each
            batch ratios are 1.
        most: how many samples of a group are tried again at most, all of them tied at its best.
        prompter: your own text of a hint, ``(prompt, completion, satisfied, unmet) -> prompt``;
            default :func:`hint_prompt`.
        describe: path of a part -> how a hint calls it; other parts are not told. By default all
            parts of the root, by their names. A part is satisfied from 1 on; one that has no score
            in a row is not told there.
        guidance: the column of guidance. A row without any gets no hint.
        reference: the column of the reference answer, which guidance must not tell.
        leak: a row whose guidance has more than this part of the reference in one piece gets no
            hint, and a warning, once. Our reading.
        probability: how likely a failed group gets hints.
        anneal: after how many batches that has fallen to 0; None for never.
        retry_temperature: to generate retries with.
        seed: of the choice of groups and of samples, and of the default ``of``.

    Raises:
        ValueError: an option out of range, or a prompter beside guidance. In ``hints``, a reward
            outside [0, 1] under a threshold of 1, or an unknown part. In ``improve``, not one
            score for each hint.

    Source: Zhang et al. 2026 and the authors' ``ray_trainer.py``; Da et al. 2025 (2506.11425) for
    guidance: abstract, the rest is our reading.
    """

    retries = True

    def __init__(
        self,
        of: PromptSampler | None = None,
        threshold: float = 1.0,
        alpha: float = 0.05,
        attempts: int = 1,
        replace: int = 1,
        overwrite: Overwrite = "worst",
        context: Context = "original",
        most: int = 16,
        prompter: Prompter | None = None,
        describe: Mapping[str, str] | None = None,
        guidance: str | None = None,
        reference: str | None = None,
        leak: float = 0.5,
        probability: float = 1.0,
        anneal: int | None = None,
        retry_temperature: float = 0.3,
        seed: int = 0,
    ) -> None:
        super().__init__(Shuffled(seed) if of is None else of)
        _check("overwrite", overwrite, ("worst", "random"))
        _check("context", context, ("original", "hint"))
        for name, part in {"alpha": alpha, "leak": leak, "probability": probability}.items():
            if not 0.0 <= part <= 1.0:
                raise ValueError(f"guided_retry: {name} is {part}, it must lie in [0, 1]")
        least = {"attempts": (attempts, 0), "replace": (replace, 0), "most": (most, 1)}
        for name, (count, low) in least.items():
            if count < low:
                raise ValueError(f"guided_retry: {name} is {count}, it must be at least {low}")
        if anneal is not None and anneal < 1:
            raise ValueError(f"guided_retry: anneal is {anneal} batches, it must be at least 1")
        if not 0.0 < retry_temperature < float("inf") or not abs(threshold) < float("inf"):
            raise ValueError(
                f"guided_retry: retry_temperature is {retry_temperature}, above 0, and "
                f"threshold {threshold}, a finite number"
            )
        if prompter is not None and guidance is not None:
            raise ValueError(
                "guided_retry: a prompter words hints of what is unmet, and guidance is a hint of "
                "its own; give one of them"
            )
        if reference is not None and guidance is None:
            raise ValueError("guided_retry: reference is what guidance is held against; give both")
        self.seed, self._generator = seed, np.random.default_rng(seed)
        self.threshold, self.alpha, self.attempts = threshold, alpha, attempts
        self.replace, self.overwrite, self.context, self.most = replace, overwrite, context, most
        self.prompter, self.describe = prompter, None if describe is None else dict(describe)
        self.guidance, self.reference, self.leak = guidance, reference, leak
        self.probability, self.anneal = probability, anneal
        self.retry_temperature = retry_temperature
        self.rejected: set[int] = set()
        """Rows of the pool whose guidance tells the answer."""

    # --- second attempts --------------------------------------------------------------------------

    def hints(self, rollouts: Rollouts, scores: Scores) -> list[Hint]:
        """What to try again, for whole scored groups; ``attempts`` times each sample."""
        if not self.attempts or not (self.alpha or self.replace):
            return []
        self._check_rewards("row", scores)
        named = self._items(scores)
        count = sum((met.long() for met, _ in named.values()), torch.zeros_like(rollouts.group))
        groups = retry_candidates(
            scores.total(),
            rollouts.group,
            count,
            threshold=self.threshold,
            keep=scores.scored,
            most=self.most,
        )
        chance = guidance_probability(max(self.batches - 1, 0), self.probability, self.anneal)
        tried = [rows for rows in groups if self._generator.random() < chance]
        prompts = rollouts.column("prompt", needed_by="guided_retry") if tried else []
        if self.guidance is not None:
            texts = self._safe(rollouts, tried)
            return [
                Hint(row, with_guidance(prompts[row], texts[row]))
                for rows in tried
                for row in rows
                if row in texts
                for _ in range(self.attempts)
            ]
        answers = rollouts.column("completion", needed_by="guided_retry") if tried else []
        word = self.prompter or hint_prompt
        hints = []
        for row in (row for rows in tried for row in rows):
            told = [(name, bool(met[row])) for name, (met, has) in named.items() if has[row]]
            kept, missed = (
                [name for name, met in told if met is is_met] for is_met in (True, False)
            )
            hint = Hint(row, word(prompts[row], answers[row], kept, missed))
            hints += [hint] * self.attempts
        return hints

    def improve(
        self, rollouts: Rollouts, scores: Scores, hints: Sequence[Hint], retried: Scores
    ) -> Improved:
        """What the retries change.

        Args:
            rollouts: the batch that the hints are of.
            scores: of it.
            hints: what :meth:`hints` gave.
            retried: the scores of their answers, one for each hint.

        Returns:
            ``replace``, ``bonus`` [N], and the metrics ``retries``, ``retry_improved`` (the share
            of them that are better than their samples) and ``retry_replaced`` (rows).
        """
        bonus = torch.zeros(len(rollouts), dtype=torch.float64)
        if len(retried) != len(hints):
            raise ValueError(
                f"guided_retry: {len(retried)} scores for the answers to {len(hints)} hints"
            )
        if not hints:
            return Improved({}, bonus, {"retries": 0.0})
        self._check_rewards("retry", retried)
        rewards = scores.total().detach().double()
        rows = torch.tensor([hint.row for hint in hints])
        found = torch.where(retried.scored, retried.total().detach().double(), -torch.inf)
        replace = retry_replacements(
            rewards,
            rollouts.group,
            rows,
            found,
            keep=scores.scored,
            usable=retried.scored,
            most=self.replace,
            overwrite=self.overwrite,
            generator=self._generator,
        )
        best = torch.full_like(rewards, -torch.inf).scatter_reduce(0, rows, found, "amax")
        tried = best.isfinite()
        bonus[tried] = retry_bonus(rewards[tried], best[tried], self.alpha)
        bonus[list(replace)] = 0.0
        metrics = {
            "retries": float(len(retried)),
            "retry_improved": float((found > rewards[rows] + TIE).double().mean()),
            "retry_replaced": float(len(replace)),
        }
        return Improved(replace, bonus, metrics)

    def _items(self, scores: Scores) -> dict[str, tuple[Tensor, Tensor]]:
        """How a hint calls a part -> where it is satisfied [N], and where it is scored [N]."""
        paths = {name: name for name in scores.parts} if self.describe is None else self.describe
        items = {}
        for path, name in paths.items():
            try:
                part = scores.part(path)
            except KeyError:
                there = ", ".join(path for path, _ in scores.walk() if path) or "none"
                raise ValueError(
                    f"guided_retry: describe names the part {path!r}, and the parts are {there}"
                ) from None
            items[name] = (part.scored & (part.total() >= 1.0 - TIE), part.scored)
        return items

    def _safe(self, rollouts: Rollouts, tried: Sequence[Sequence[int]]) -> dict[int, str]:
        """The guidance of each row that has any, and that may be told."""
        if not tried:
            return {}
        texts = rollouts.column(str(self.guidance), needed_by="guided_retry")
        if self.reference is None:
            return {row: texts[row] for rows in tried for row in rows if not absent(texts[row])}
        answers = rollouts.column(self.reference, needed_by="guided_retry")
        ids = rollouts.column("prompt_id", needed_by="guided_retry")
        safe = {}
        for row in (row for rows in tried for row in rows):
            if absent(texts[row]):
                continue
            if not absent(answers[row]) and leaks(texts[row], str(answers[row]), self.leak):
                if int(ids[row]) not in self.rejected:
                    self.rejected.add(int(ids[row]))
                    warn_caller(
                        f"guided_retry: the guidance of row {int(ids[row])} of the data has more "
                        f"than {self.leak:g} of its {self.reference!r} in one piece; it gets no "
                        "hint. Reword it, or raise `leak`"
                    )
                continue
            safe[row] = texts[row]
        return safe

    def _check_rewards(self, what: str, scores: Scores) -> None:
        values = scores.total().detach()
        out = scores.scored & ((values < -TIE) | (values > 1.0 + TIE))
        if self.threshold == 1.0 and bool(out.any()):
            row = int(out.nonzero()[0])
            raise ValueError(
                f"guided_retry: {what} {row} has the reward {float(values[row]):g}, and a "
                "threshold of 1 takes rewards from 0 to 1; scale them, or give the threshold from "
                "which an answer is right"
            )

    # --- state ------------------------------------------------------------------------------------

    def own_state(self) -> dict[str, Any]:
        return super().own_state() | {"rejected": sorted(self.rejected)}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        super().load_own_state(state)
        self.rejected = set(state["rejected"])


def _check(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"guided_retry: {name} is {value!r}, not one of {', '.join(known)}")

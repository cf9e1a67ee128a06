"""TRL's trainer with answers that are relabelled, and scored by a reward of ours."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import trl
from torch import Tensor, distributed

from ..core.bases import Relabel
from ..core.execution import current, using
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Scores
from ..credit.truncation import OutlierTruncation
from ..ops.ranks import Ranks, gathered
from ..samplers.prompts import PromptSampler
from .generations import own_rows, rollouts_of
from .scoring import Scoring, told_of

_TOKEN_COLUMNS = ("logprob", "entropy", "ref_logprob")
"""Columns by token that cost a pass of the model, and are made where something reads them."""
_OWN = ("prompt", "completion", "completion_ids", "token", *_TOKEN_COLUMNS)
"""Columns that the trainer makes."""


class Generating(trl.GRPOTrainer):  # type: ignore[misc]
    """How answers come about and what they are worth; :class:`~.grpo.GRPOTrainer` does the rest.

    Args:
        scoring: what scores.
        sampler: may say the temperature, or make the answers.
        relabel: what changes answers before they are scored.
        columns: our names of columns: those of the data set.
        reads: names of columns that something reads, the reward apart.
        given: everything of TRL's.
    """

    num_generations: int

    def __init__(
        self,
        *,
        scoring: Scoring,
        sampler: PromptSampler,
        relabel: Relabel | None,
        columns: Mapping[str, str],
        reads: frozenset[str],
        **given: Any,
    ) -> None:
        self.scoring, self.sampler, self.relabel = scoring, sampler, relabel
        self.columns = dict(columns)
        self._by_token_read = [n for n in _TOKEN_COLUMNS if n in scoring.reward.needs | reads]
        super().__init__(reward_funcs=[_total], **given)
        if isinstance(relabel, OutlierTruncation):
            relabel.reads(partial(self.processing_class.decode, skip_special_tokens=True))
        self._rows: list[dict[str, Any]] = []
        self._group_size = 1
        self._temperature: float | None = None
        self._generated: tuple[Any, Any] = ([], None)
        self._found: tuple[Rollouts, Scores] | None = None
        self.generated_tokens = 0
        """Of all answers that training has asked for, also of those that were not trained on."""

    @property
    def reward(self) -> Reward:
        """What scores."""
        return self.scoring.reward

    @property
    def ranks(self) -> Ranks:
        """The processes that train together."""
        many = distributed.is_available() and distributed.is_initialized()
        return distributed.group.WORLD if many and distributed.get_world_size() > 1 else None

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *given: Any, **named: Any
    ) -> tuple[list[list[int]], Any]:
        usual = self.generation_config.temperature
        training = self.model.training
        wanted = usual
        if training:
            asked = (self._temperature, self.sampler.temperature)
            wanted = next((t for t in asked if t is not None), usual)
        if training and self.sampler.generates and self._temperature is None:
            return self._generated_by_sampler(prompt_ids, wanted), None
        self.generation_config.temperature = wanted
        try:
            return super()._generate_single_turn(prompt_ids, *given, **named)  # type: ignore[no-any-return]
        finally:
            self.generation_config.temperature = usual

    def _generated_by_sampler(self, prompt_ids: list[list[int]], temperature: float) -> Any:
        model = self.accelerator.unwrap_model(self.model)
        model.eval()
        generate: Any = self.sampler.generate
        try:
            with torch.no_grad():
                return generate(
                    model,
                    prompt_ids,
                    group_size=self.num_generations,
                    max_new_tokens=self.max_completion_length,
                    eos_ids=list(self.eos_token_ids),
                    pad_id=self._tokenizer.pad_token_id,
                    temperature=temperature,
                    seed=int(torch.randint(2**31, ())),
                )
        finally:
            model.train()

    def _generate(self, prompts: list[Any]) -> Any:
        made = list(super()._generate(prompts))
        if self.model.training:
            self.generated_tokens += sum(gathered(sum(map(len, made[1])), self.ranks))
        # A second attempt is alone in its group, and relabellings look at groups.
        if self.relabel is not None and self.model.training and self._group_size > 1:
            _, completion_ids, chosen, completions = made[:4]
            rollouts = self._rollouts(prompts, completions, completion_ids, chosen, {})
            with using(current() or self.scoring.execution), torch.no_grad():
                self._adopt(made, self.relabel(rollouts))
        self._generated = made[0], made[2]
        return tuple(made)

    def _adopt(self, made: list[Any], changed: Rollouts) -> None:
        """Answers that were relabelled, in the place of those that were generated."""
        here = own_rows(changed, self.ranks)
        tokens, mask = torch.as_tensor(changed.steps["token"])[here], changed.mask[here]
        action = changed.action_mask[here]
        n = 0
        for i, before in enumerate(made[1]):
            after = tokens[i][mask[i]].tolist()
            if after == list(before):
                continue
            n += 1
            made[1][i] = after
            text = self.processing_class.decode(after, skip_special_tokens=True)
            plain = isinstance(made[3][i], str)
            made[3][i] = text if plain else [{"role": "assistant", "content": text}]
            if made[2] is not None:
                made[2][i] = action[i][mask[i]].int().tolist()
            if made[4] is not None:
                made[4][i] = made[4][i][: len(after)]
        self._note("relabel", {"changed": n / max(1, len(made[1]))})

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> Tensor:
        """Rewards [N, 1] of all ranks, NaN where there is none; this is what TRL logs."""
        prompt_ids, chosen = self._generated
        extra = self._token_columns(prompt_ids, completion_ids_list)
        rollouts = self._rollouts(prompts, completions, completion_ids_list, chosen, extra)
        scores = self.scoring(rollouts, self.ranks)
        self._found = rollouts, scores
        means, columns = told_of(scores, own_rows(rollouts, self.ranks))
        for name, value in means.items():
            self._log_metric(name, value)
        for name, column in columns.items():
            self._log_completion_extra(name, column)
        totals = torch.where(scores.scored, scores.total(), torch.nan)
        return totals[:, None].to(self.accelerator.device)

    def _rollouts(
        self, prompts: Any, completions: Any, completion_ids: Any, chosen: Any, extra: Any
    ) -> Rollouts:
        rows = [{k: v for k, v in row.items() if k != "prompt"} for row in self._rows]
        size, ranks = self._group_size, self.ranks
        made = rollouts_of(rows, prompts, completions, completion_ids, chosen, extra, size, ranks)
        for ours, theirs in self.columns.items():
            if ours not in ("group", *_OWN):
                made.rows[ours] = made[theirs]
        return made

    def _columns(self, row: Mapping[str, Any]) -> set[str]:
        """The columns that rollouts of such rows have."""
        heads = {ours for ours, its in self.columns.items() if its.partition(".")[0] in row}
        there = {*_OWN, *row, *heads}
        return there if self.ref_model is not None else there - {"ref_logprob"}

    def _token_columns(self, prompt_ids: Any, completion_ids: Any) -> dict[str, list[list[float]]]:
        """The columns by token that something reads."""
        if not self._by_token_read:
            return {}
        left = [torch.tensor(ids) for ids in prompt_ids]
        right = [torch.tensor(ids) for ids in completion_ids]
        longest, width = max(map(len, left)), max(map(len, right))
        ids = torch.full((len(left), longest + width), self._tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            ids[i, longest - len(a) : longest + len(b)] = torch.cat([a, b])
            mask[i, longest - len(a) : longest + len(b)] = 1
        device = self.accelerator.device
        asked = (ids.to(device), mask.to(device), width, self.args.per_device_train_batch_size)
        found: dict[str, Any] = {}
        with torch.no_grad():
            found["logprob"], found["entropy"], _ = self._get_per_token_logps_and_entropies(
                self.model, *asked, compute_entropy=True
            )
            if "ref_logprob" in self._by_token_read:
                found["ref_logprob"], _, _ = self._get_per_token_logps_and_entropies(
                    self.ref_model, *asked
                )
        return {
            name: [row[: len(b)].tolist() for row, b in zip(found[name].cpu(), right, strict=True)]
            for name in self._by_token_read
        }

    def _note(self, prefix: str, told: Mapping[str, float]) -> None:
        for name, value in told.items():
            self._metrics["train"][f"{prefix}/{name}"].append(float(value))


def _total(prompts: Any, completions: Any, **_: Any) -> list[float]:
    """Stands for the reward in TRL's log; the trainer computes it."""
    raise AssertionError("rewards are computed by the trainer itself")


_total.__name__ = "total"

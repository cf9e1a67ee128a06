"""TRL's trainer with answers that are relabelled, and scored by a reward of ours."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import trl
from torch import Tensor
from trl.trainer.utils import use_adapter

from ..core.bases import Relabel
from ..core.execution import current, using
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Scores
from ..core.warn import warn_caller
from ..credit.truncation import OutlierTruncation
from ..ops.ranks import Ranks, everybody, gathered, told_by_first
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
        if len(self.reward_funcs) > 1:
            raise ValueError(
                "an environment with get_reward brings a reward of its own, outside of the tree: "
                "leave it out, and let the tree score what the environment wrote"
            )
        if isinstance(relabel, OutlierTruncation):
            relabel.reads(partial(self.processing_class.decode, skip_special_tokens=True))
        self._rows: list[dict[str, Any]] = []
        self._group_size = 1
        self._temperature: float | None = None
        self._told_of_failure = False
        self._generated: tuple[Any, Any] = ([], None)
        self._relabelled: dict[str, Any] = {}
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
        return everybody()

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *given: Any, **named: Any
    ) -> tuple[list[list[int]], Any]:
        # What answers: transformers reads the one, vLLM the other.
        settings = self.vllm_generation if self.use_vllm else self.generation_config
        usual = settings.temperature
        asked = (self._temperature, self.sampler.temperature) if self.model.training else ()
        wanted = next((t for t in asked if t is not None), usual)
        if self.model.training and self.sampler.generates and self._temperature is None:
            return self._generated_by_sampler(prompt_ids, wanted), None
        settings.temperature = wanted
        try:
            return super()._generate_single_turn(prompt_ids, *given, **named)  # type: ignore[no-any-return]
        finally:
            settings.temperature = usual

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
        self._relabelled = {}
        if self.model.training:
            chosen = made[1] if made[2] is None else [[0] * sum(mask) for mask in made[2]]
            self.generated_tokens += sum(gathered(sum(map(len, chosen)), self.ranks))
        # A second attempt is alone in its group, and relabellings look at groups.
        if self.relabel is not None and self.model.training and self._group_size > 1:
            _, completion_ids, chosen, completions = made[:4]
            rollouts = self._rollouts(prompts, completions, completion_ids, chosen, {})
            self._adopt(made, rollouts, self._changed(rollouts, self.relabel))
        self._generated = made[0], made[2]
        return tuple(made)

    def _changed(self, rollouts: Rollouts, relabel: Relabel) -> Rollouts:
        def work() -> Rollouts:
            with using(current() or self.scoring.execution), torch.no_grad():
                made: Rollouts = relabel(rollouts)
                return made

        changed = told_by_first(work, self.ranks)
        same = len(changed) == len(rollouts) and torch.equal(changed.group, rollouts.group)
        if not same or list(changed["prompt"]) != list(rollouts["prompt"]):
            raise ValueError(
                f"{relabel.label()} changes rows, groups or prompts; here a relabelling may change "
                "answers, their masks, and columns of the data"
            )
        return changed

    def _adopt(self, made: list[Any], rollouts: Rollouts, changed: Rollouts) -> None:
        """What was relabelled, in the place of what was generated."""
        first = own_rows(changed, self.ranks).start
        tokens = torch.as_tensor(changed.steps["token"])
        cut = ((tokens != rollouts.steps["token"]) | (changed.mask != rollouts.mask)).any(dim=1)
        acts = changed.action_mask
        if made[2] is None and not torch.equal(acts, changed.mask):
            made[2] = [[1] * len(ids) for ids in made[1]]
        for i in range(len(made[1])):
            row = first + i
            mask = changed.mask[row]
            if made[2] is not None:
                made[2][i] = acts[row][mask].int().tolist()
            if not bool(cut[row]):
                continue
            made[1][i] = tokens[row][mask].tolist()
            text = self.processing_class.decode(made[1][i], skip_special_tokens=True)
            plain = isinstance(made[3][i], str)
            made[3][i] = text if plain else [{"role": "assistant", "content": text}]
            if made[4] is not None:
                # Of other tokens, and of those behind them, vLLM told nothing: TRL takes NaN so.
                same = (tokens[row] == rollouts.steps["token"][row]) & rollouts.mask[row]
                kept = int(same[mask].int().cumprod(dim=0).sum())
                made[4][i] = made[4][i][:kept] + [math.nan] * (len(made[1][i]) - kept)
        self._relabelled = {
            name: column
            for name, column in changed.rows.items()
            if name not in (*_OWN, "lengths") and column is not rollouts.rows.get(name)
        }
        self._note("relabel", {"changed": float(cut.double().mean())})

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> Tensor:
        """Rewards [N, 1] of all ranks, NaN where there is none; this is what TRL logs."""
        prompt_ids, chosen = self._generated
        extra = self._token_columns(prompt_ids, completion_ids_list)
        rollouts = self._rollouts(prompts, completions, completion_ids_list, chosen, extra)
        rollouts.rows.update(self._relabelled)
        scores = self.scoring(rollouts, self.ranks)
        self._found = rollouts, scores
        self._warn_of_failure(scores)
        means, columns = told_of(scores, own_rows(rollouts, self.ranks))
        for name, value in means.items():
            self._log_metric(name, value)
        for name, column in columns.items():
            self._log_completion_extra(name, column)
        totals = torch.where(scores.scored, scores.total(), torch.nan)
        return totals[:, None].to(self.accelerator.device)

    def _warn_of_failure(self, scores: Scores) -> None:
        """Once in a run: what the first row that broke broke of."""
        if self._told_of_failure or not scores.errors:
            return
        self._told_of_failure = True
        row, (part, message) = next(iter(scores.errors.items()))
        warn_caller(
            f"{len(scores.errors)} of {len(scores.status)} rows broke; in the first, row {row}, "
            f"{part or 'the reward'} said: {message} (told once; `missing` says what such rows "
            "get, and missing='raise' ends the run)"
        )

    def _rollouts(
        self, prompts: Any, completions: Any, completion_ids: Any, chosen: Any, extra: Any
    ) -> Rollouts:
        dropped = ("prompt", "completion", "completion_ids")
        rows = [{k: v for k, v in row.items() if k not in dropped} for row in self._rows]
        size, ranks = self._group_size, self.ranks
        made = rollouts_of(rows, prompts, completions, completion_ids, chosen, extra, size, ranks)
        # What was just generated is meant, whatever a file calls it in data that was recorded.
        own = {o: made[t] for o, t in self.columns.items() if o not in ("group", *_OWN)}
        made.rows.update(own)
        return made

    def _columns(self, row: Mapping[str, Any]) -> set[str]:
        """The columns that rollouts of such rows have."""
        heads = {ours for ours, its in self.columns.items() if its.partition(".")[0] in row}
        there = {*_OWN, *row, *heads}
        return there if self.beta != 0.0 else there - {"ref_logprob"}

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
                with self._reference() as reference:
                    found["ref_logprob"], _, _ = self._get_per_token_logps_and_entropies(
                        reference, *asked
                    )
        return {
            name: [row[: len(b)].tolist() for row, b in zip(found[name].cpu(), right, strict=True)]
            for name in self._by_token_read
        }

    def _restated(self, output: dict[str, Any], rows: Tensor) -> None:
        """Log-probabilities of some rows anew, under the prompts that they have by now."""
        kept = {"old_per_token_logps": self._policy, "ref_per_token_logps": self._reference}
        names = [name for name in kept if name in output]
        # Where one rank runs the model, every rank has to, as often: it may be cut over them.
        n, most = len(rows), max(gathered(len(rows), self.ranks))
        if not names or not most:
            return
        rows = torch.cat([rows, rows.new_zeros(most - n)])
        ids = torch.cat([output["prompt_ids"][rows], output["completion_ids"][rows]], dim=1)
        seen = torch.cat([output["prompt_mask"][rows], output["completion_mask"][rows]], dim=1)
        width = output["completion_ids"].shape[1]
        with torch.no_grad():
            for name in names:
                with kept[name]() as model:
                    found, _, _ = self._get_per_token_logps_and_entropies(
                        model, ids, seen, width, self.args.per_device_train_batch_size
                    )
                output[name][rows[:n]] = found[:n]

    @contextmanager
    def _policy(self) -> Iterator[Any]:
        yield self.model

    @contextmanager
    def _reference(self) -> Iterator[Any]:
        """What the policy is kept near: a model of its own, or the policy without its adapter."""
        if self.ref_model is not None:
            yield self.ref_model
            return
        model = self.accelerator.unwrap_model(self.model)
        with use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None):
            yield self.model

    def _note(self, prefix: str, told: Mapping[str, float]) -> None:
        for name, value in told.items():
            self._metrics["train"][f"{prefix}/{name}"].append(float(value))


def _total(prompts: Any, completions: Any, **_: Any) -> list[float]:
    """Stands for the reward in TRL's log; the trainer computes it."""
    raise AssertionError("rewards are computed by the trainer itself")


_total.__name__ = "total"

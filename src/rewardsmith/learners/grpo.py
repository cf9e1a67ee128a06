"""TRL's GRPO trainer, with any reward, estimator, loss, sampler and relabelling of ours.

>>> trainer = GRPOTrainer(model, "reward.yaml", args=config, train_dataset=data)  # doctest: +SKIP

TRL generates, pads, computes log-probabilities, steps, logs and saves. What is replaced is what is
between: which prompts are generated for, what an answer is worth, which advantages follow, and
which loss descends them.
"""

import math
from collections.abc import Mapping
from os import PathLike
from typing import Any, Literal

import torch
from torch import Tensor

from ..adapters.scorer import execution
from ..core.advantages import Advantages
from ..core.bases import Estimator, Relabel
from ..core.reward import Reward
from ..core.scores import Missing, as_missing
from ..core.warn import warn_caller
from ..ops.ranks import gathered
from ..policy.estimator import estimator
from ..policy.losses.elastic import group_variance
from ..policy.objective import Objective
from ..samplers.guided_retry import GuidedRetry
from ..samplers.prompts import PromptSampler, Shuffled
from .checkpoints import Checkpointing
from .checks import (
    check_columns,
    check_data,
    refuse_images,
    refuse_others,
    refuse_together,
    refuse_unmade,
    refuse_unread,
)
from .generations import Batch, fitted, own_rows, together, trained, with_retries, without_copies
from .recipe import Recipe, read_recipe
from .scoring import Scoring

_PATIENCE = 10
"""Batches without an advantage until a warning."""


class GRPOTrainer(Checkpointing):
    """TRL's ``GRPOTrainer`` that trains with a whole ``reward.yaml``.

    Every generated batch runs through

        propose prompts -> generate -> relabel -> score -> observe, select (again, where the sampler
        wants more) -> learn -> advantages -> loss

    The reward sees rollouts of tokens, with the data set's columns and ``prompt``, ``completion``,
    ``completion_ids``, ``token``, and where it needs them ``logprob``, ``entropy`` and
    ``ref_logprob`` (the latter with ``beta`` > 0). A reward that learns is updated once for each
    batch that is trained on (``rs.learn``), and never in evaluation; an estimator or sampler that
    remembers likewise. Estimators see the groups of all ranks, on each rank.

    Prompts come from the sampler and not from TRL's data loader. With a checkpoint everything is
    saved: the reward, the estimator, the sampler, and the answers of a batch that is not trained on
    to its end; a run that is resumed goes on as if nothing had happened.

    In evaluation rewards are only measured; its loss is TRL's own and says little.

    Args:
        model: as TRL's, like all further keywords.
        reward: the reward, or the path of a ``reward.yaml``, whose ``advantage``, ``loss``,
            ``sampler`` and ``relabel`` are read as well. What is given here goes before.
        args: TRL's ``GRPOConfig``.
        train_dataset: rows with a ``prompt``; of a known length.
        advantage: default ``grpo`` with TRL's ``scale_rewards``.
        loss: default TRL's own, by ``loss_type``.
        sampler: default :class:`~rewardsmith.samplers.prompts.Shuffled`. The run's seed is mixed
            into its own.
        relabel: what changes answers before they are scored.
        columns: our names of columns: those of the data set.
        missing: what a row without a score gets: it does not train (default); ``"raise"``; a
            number.
        executor: what runs rows of rules: ``"processes"``, or ``"inline"`` where nothing can hang.
        workers: how many processes.
        timeout: seconds that a row may take in one; None for no end.

    Raises:
        SpecError: the file is wrong, or the reward compares rows with a whole data set.
        MissingColumn: the reward or the estimator needs a column that is not there.
        TypeError: a part is something else than what this takes, such as its name or a function.
        ValueError: the data set is smaller than a batch or has no length, or an option of TRL's
            would not be read. While training: the sampler's rounds give too few groups.

    Warns:
        UserWarning: as the parts do; and where no answer of the last ten batches had an advantage.
    """

    def __init__(
        self,
        model: Any,
        reward: Reward | str | PathLike[str],
        *,
        args: Any,
        train_dataset: Any,
        advantage: Estimator | None = None,
        loss: Objective | None = None,
        sampler: PromptSampler | None = None,
        relabel: Relabel | None = None,
        columns: Mapping[str, str] | None = None,
        missing: Missing = "missing",
        executor: Literal["processes", "inline"] = "processes",
        workers: int = 2,
        timeout: float | None = 10.0,
        **others: Any,
    ) -> None:
        refuse_unmade(reward)
        refuse_others(advantage=advantage, loss=loss, sampler=sampler, relabel=relabel)
        recipe = Recipe(reward) if isinstance(reward, Reward) else read_recipe(reward)
        advantage = advantage or recipe.advantage
        loss = loss or recipe.loss
        refuse_unread(args, loss=loss is not None, advantage=advantage is not None)
        self.advantage = advantage or estimator("grpo", scale=str(args.scale_rewards), eps=1e-4)
        sampler = sampler or recipe.sampler or Shuffled()
        relabel = relabel or recipe.relabel
        refuse_together(
            args,
            loss=loss,
            sampler=sampler,
            relabel=relabel,
            advantage=self.advantage,
            reward=recipe.reward,
            rollout_func=others.get("rollout_func"),
        )
        check_data(train_dataset, args.generation_batch_size // args.num_generations)
        run_by = execution(recipe.reward, executor, workers, timeout)
        super().__init__(
            loss=loss,
            scoring=Scoring(recipe.reward.eval(), as_missing(missing), run_by),
            sampler=sampler,
            relabel=relabel,
            columns={**recipe.columns, **(columns or {})},
            reads=frozenset(getattr(self.advantage, "inputs", ())),
            model=model,
            args=args,
            train_dataset=train_dataset,
            **others,
        )
        check_columns(self.reward, self.advantage, self._columns(train_dataset[0]), self.columns)
        refuse_images(self._by_token_read, train_dataset[0])
        self.sampler.over(train_dataset)
        self.sampler.reseed(args.seed)
        self._answers = 0
        self._batches_of_nothing = 0

    # --- a batch ----------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not self.model.training:
            self._rows, self._group_size = inputs, self.num_generations_eval
            return super()._generate_and_score_completions(inputs)  # type: ignore[no-any-return]
        wanted = len(inputs) * self.accelerator.num_processes // self.num_generations
        self.sampler.begin()
        self._answers = 0
        rounds: list[Batch] = []
        selected: list[Tensor] = []
        groups = 0
        while groups < wanted and len(rounds) < self.sampler.rounds and self.sampler.left:
            asked = min(wanted - groups, self.sampler.left)
            prompts = self.sampler.propose(asked)
            batch = self._round(prompts)
            proposed = torch.arange(len(prompts) * self.num_generations)
            rollouts, scores = batch.rollouts.select(proposed), batch.scores.select(proposed)
            self._note("sampler", self.sampler.observe(rollouts, scores))
            chosen = torch.zeros(len(batch.rollouts), dtype=torch.bool)
            chosen[proposed] = self.sampler.select(rollouts, scores)
            groups += len(batch.rollouts.group[chosen].unique())
            selected.append(chosen)
            rounds.append(batch)
        self._note("sampler", {"rounds": len(rounds), "groups_selected": groups})
        batch = self._assembled(rounds, selected, wanted)
        if isinstance(self.sampler, GuidedRetry):
            batch = self._retried(batch, self.sampler)
        return self._finished(batch)

    def _round(self, prompts: list[int]) -> Batch:
        """A group of answers for each of these rows of the data set.

        Behind them there may be groups that only fill the ranks, which have as many rows each.
        """
        world = self.accelerator.num_processes
        whole = world // math.gcd(self.num_generations, world)
        prompts = prompts + prompts[:1] * (-len(prompts) % whole)
        found = [self.train_dataset[i] for i in prompts]
        rows = [dict(row) for row in found for _ in range(self.num_generations)]
        batch = self._answered(rows, self.num_generations)
        batch.rollouts.rows["prompt_id"] = [i for i in prompts for _ in range(self.num_generations)]
        return batch

    def _answered(self, rows: list[dict[str, Any]], size: int) -> Batch:
        """An answer for each row, scored; ``size`` neighbors are a group."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        # All ranks have as many rows; nobody reads those that are asked beside.
        filled = rows + rows[:1] * (-len(rows) % world)
        here = len(filled) // world
        self._rows, self._group_size = filled[here * rank : here * (rank + 1)], size
        usual, self.num_generations = self.num_generations, size
        try:
            output = super()._generate_and_score_completions(self._rows)
        finally:
            self.num_generations = usual
        assert self._found is not None  # by _calculate_rewards, which that calls
        begin = self._answers
        self._answers += len(filled)
        return Batch(output, *self._found, torch.arange(begin, self._answers))

    def _assembled(self, rounds: list[Batch], selected: list[Tensor], wanted: int) -> Batch:
        """The groups that train, out of all that were generated."""
        size = self.num_generations
        if len(rounds) == 1 and len(selected[0]) == wanted * size and bool(selected[0].all()):
            return rounds[0]
        whole = together(rounds, self.ranks)
        group = whole.rollouts.group
        kept = group[torch.cat(selected)].unique().tolist()
        if len(kept) < wanted:
            if self.sampler.short != "repeat" or not kept:
                raise ValueError(
                    f"{self.sampler.default_name()}: a batch needs {wanted} groups, and "
                    f"{len(kept)} were selected out of {len(group) // size} in {len(rounds)} "
                    f"rounds ({self._why()})"
                )
            kept = [kept[i % len(kept)] for i in range(wanted)]
        index = torch.cat([(group == g).nonzero().flatten() for g in kept[:wanted]])
        # A group that is repeated is one of its own, and does not train again.
        group = torch.arange(wanted).repeat_interleave(size)
        return without_copies(whole.shared(index, group, self.ranks))

    def _why(self) -> str:
        if not self.sampler.left:
            return f"all {self.sampler.size} prompts of the data set were tried: give more of them"
        return self.sampler.why()

    def _retried(self, batch: Batch, sampler: GuidedRetry) -> Batch:
        """The batch with second attempts in the place of some of its answers."""
        hints = sampler.hints(batch.rollouts, batch.scores)
        if not hints:
            return batch
        ids = batch.rollouts["prompt_id"]
        rows = [{**self.train_dataset[ids[h.row]], "prompt": h.prompt} for h in hints]
        # Second attempts are no part of the curves of what the prompts alone get.
        told = {name: list(values) for name, values in self._metrics["train"].items()}
        self._temperature = sampler.retry_temperature
        try:
            again = self._answered(rows, 1)
        finally:
            self._temperature = None
            self._metrics["train"].clear()
            self._metrics["train"].update(told)
        again.rollouts.rows["prompt_id"] = [
            ids[hints[i % len(hints)].row] for i in range(len(again.rollouts))
        ]
        retried = again.scores.select(torch.arange(len(hints)))
        improved = sampler.improve(batch.rollouts, batch.scores, hints, retried)
        rewards = retried.total()[retried.scored]
        mean = {"retry_reward": float(rewards.mean())} if len(rewards) else {}
        self._note("sampler", {**improved.metrics, **mean})
        made = with_retries(batch, again, improved, sampler.context, self.ranks)
        if sampler.context == "original":
            self._restated(made.output, made.output["replaced"].nonzero().flatten())
        return made

    def _finished(self, batch: Batch) -> dict[str, Any]:
        """TRL's tensors with our advantages, once all that learns has learned from the batch."""
        self._metrics["train"]["generated_tokens"] = [self.generated_tokens]
        batch, told = self.scoring.learned(batch, self.ranks)
        rollouts, scores = batch.rollouts, batch.scores
        self._note("reward", told)
        advantages = self.advantage(rollouts, scores)
        update: Any = getattr(self.advantage, "update", None)
        if update is not None:
            self._note("advantage", update(rollouts, scores))
        self._note("advantage", advantages.metrics)
        by_step = advantages.by_step(rollouts.action_mask)
        zero = float((by_step == 0.0).all(dim=1).double().mean())
        self._note("advantage", {"zero": zero})
        self._warn_of_nothing(zero)
        self._log_advantages(batch, advantages, by_step)
        here = own_rows(rollouts, self.ranks)
        own = advantages.select(here)
        width = batch.output["completion_ids"].shape[1]
        given = {"keep": own.keep}
        if self.loss is None:
            # TRL multiplies by them, and knows neither weights nor rows that do not train.
            flat = own.values.ndim == 1 and own.weight is None
            given["advantages"] = torch.where(own.keep, own.values, 0.0) if flat else by_step[here]
            if not bool(advantages.keep.all()):
                self._leave_out(batch.output, own.keep)
        else:
            given["advantages"] = own.values
            if own.weight is not None:
                given["advantage_weight"] = own.weight
            if "variance" in self.loss.inputs:
                variance = group_variance(scores.total(), rollouts.group, keep=scores.scored)
                given["variance"] = variance[here]
        device = batch.output["completion_ids"].device
        for name, values in given.items():
            values = fitted(values, width) if values.ndim == 2 else values
            wide = values.dtype == torch.float64
            batch.output[name] = values.to(device, torch.float32 if wide else values.dtype)
        return batch.output

    def _warn_of_nothing(self, zero: float) -> None:
        self._batches_of_nothing = self._batches_of_nothing + 1 if zero == 1.0 else 0
        if self._batches_of_nothing == _PATIENCE:
            warn_caller(
                f"in the last {_PATIENCE} batches no answer had an advantage, so nothing is "
                "learned: the reward is the same throughout each group. Look at it, or at how hard "
                "the prompts are"
            )

    def _leave_out(self, output: dict[str, Any], keep: Tensor) -> None:
        """Rows that do not train out of TRL's means, divergence and counts."""
        mask = output.get("tool_mask", torch.ones_like(output["completion_mask"]))
        output["tool_mask"] = mask * keep[:, None].to(mask)
        tokens = sum(gathered(int(trained(output).sum()), self.ranks))
        output["num_items_in_batch"] = torch.tensor(tokens, device=mask.device)

    def _log_advantages(self, batch: Batch, advantages: Advantages, by_step: Tensor) -> None:
        """In TRL's table: of a row the mean over its tokens, NaN where it does not train."""
        tokens = batch.rollouts.action_mask.sum(dim=1).clamp(min=1)
        shown = [math.nan] * self._answers
        for place, keep, value in zip(
            batch.places.tolist(),
            advantages.keep.tolist(),
            (by_step.sum(dim=1) / tokens.to(by_step.device)).tolist(),
            strict=True,
        ):
            shown[place] = value if keep else math.nan
        log = self._logs["advantages"]
        for _ in range(min(len(log), self._answers)):
            log.pop()
        log.extend(shown)

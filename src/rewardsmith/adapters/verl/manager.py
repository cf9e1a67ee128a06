"""A reward manager of verl's that scores with a reward of ours."""

from collections.abc import Mapping, Sequence
from typing import Any

from verl.experimental.reward_loop.reward_manager import register
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from ..scorer import Row
from .rows import row_of_item
from .shared import SampleScorer

_HERE = "rewardsmith.adapters.verl"
_OWN = ("completion", "completion_ids", "prompt")


@register("rewardsmith")
class RewardManager(RewardManagerBase):  # type: ignore[misc]  # verl has no types
    """Scores each sample with the reward of a file.

    Beside what :func:`~.scoring.compute_score` gives a reward, it sees everything that verl knows
    of a sample: the prompt's messages (``prompt``), ``completion_ids``, ``uid``, ``num_turns``, the
    fields of tools and of the agent loop. Responses that are under way together are decoded and
    scored together. What it cannot work with is told when it is made, before anything is generated.

    Args:
        config: verl's; the options of :func:`~.scoring.compute_score` (``reward``, ``missing``,
            ...) are read from ``reward.custom_reward_function.reward_kwargs``.
        tokenizer: decodes responses, without special tokens.
        compute_score: what verl found as reward function; not called.
        reward_router_address: verl's; not used.
        reward_model_tokenizer: verl's; not used.

    Raises:
        SpecError: no reward is given, its file cannot be read, or it compares samples with each
            other.
        ValueError: ``missing`` is not given, an option is none of those there are, or there is a
            custom reward function of another package, which nobody would call.
        TypeError: an option that there is not.
    """

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: Any = None,
        reward_model_tokenizer: Any = None,
    ) -> None:
        super().__init__(config, tokenizer, compute_score)
        self.scorer = SampleScorer(options_of(config), own=_OWN, prepare=self._decoded)

    async def run_single(self, data: Any) -> dict[str, Any]:
        """The score of a ``DataProto``'s last sequence, which verl takes for the whole trajectory.

        Returns:
            ``reward_score``, a float, and ``reward_extra_info``: the dict of
            :func:`~.scoring.compute_score`.

        Raises:
            MissingColumn: the reward needs a column that samples do not have.
            ScoreError: the sample has no score, and ``missing`` is ``"raise"``.
        """
        scored = await self.scorer.ask(row_of_item(data[len(data) - 1]))
        told = self.scorer.told(scored)
        return {"reward_score": told["score"], "reward_extra_info": told}

    def _decoded(self, rows: Sequence[Row]) -> list[Row]:
        ids = [row["completion_ids"] for row in rows]
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [{**row, "completion": text} for row, text in zip(rows, texts, strict=True)]


def options_of(config: Any) -> dict[str, Any]:
    """The options that verl's configuration has for a reward of ours.

    Raises:
        ValueError: there is a custom reward function of another package.
    """
    function = config.reward.get("custom_reward_function") or {}
    path = function.get("path")
    if path and _HERE not in str(path).replace("/", "."):
        raise ValueError(
            f"reward.custom_reward_function.path is {path!r}, and rewardsmith's RewardManager "
            "calls no other reward function: leave it out, or use a reward manager of verl's"
        )
    options = function.get("reward_kwargs") or {}
    return {
        str(name): dict(value) if isinstance(value, Mapping) else value
        for name, value in options.items()
    }

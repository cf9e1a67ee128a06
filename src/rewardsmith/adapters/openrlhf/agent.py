"""Our reward inside OpenRLHF's executor, which then knows the completion and hides no error.

OpenRLHF's own gives a reward function one text to take apart, and goes on without a reward where it
raises. An executor of one's own (``--train.agent_func_path``) has the generated tokens, waits for
scores without a thread for each, and stops the run where it raises.
"""

from typing import Any

from .function import RewardFunction
from .query import without_ends


def agent_executor(function: RewardFunction) -> Any:
    """The class for the name ``AgentExecutor`` of the file at ``--train.agent_func_path``.

    It generates one turn, as OpenRLHF's own does. The completion is what was generated, without the
    tokenizer's special tokens at its end, and those that ``function`` was given; other text that
    looks like one is the model's own and stays.
    """
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    class AgentExecutor(SingleTurnAgentExecutor):  # type: ignore[misc]
        """Single turns, scored by a reward of rewardsmith."""

        def __init__(self) -> None:
            super().__init__(None)

        async def execute(
            self,
            prompt: str,
            label: Any,
            sampling_params: Any,
            max_length: int,
            hf_tokenizer: Any,
            llm_engine: Any,
            images: Any = None,
        ) -> dict[str, Any]:
            output: dict[str, Any] = await super().execute(
                prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images
            )
            (start, end), *_ = output["action_ranges"]
            completion = hf_tokenizer.decode(
                output["observation_tokens"][start:end], skip_special_tokens=False
            )
            ends = [
                *hf_tokenizer.all_special_tokens,
                *(function.rows.completions.special_tokens or ()),
            ]
            completion = without_ends(completion, ends)
            numbers = await function.answer([function.rows.of(completion, prompt, label)])
            return output | {
                "reward": numbers["rewards"][0],
                "scores": numbers["scores"][0],
                "extra_logs": {name: only for name, (only,) in numbers["extra_logs"].items()},
            }

    return AgentExecutor

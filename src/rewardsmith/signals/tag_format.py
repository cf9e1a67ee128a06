"""Tagged sections, each once and in their order."""

from collections.abc import Sequence

from ..core.catalog import method
from ..core.contract import Contract
from ..core.rows import RowReward
from ..rules.tags import Strict, check_prefill, check_tags, grade


@method("tag_format", kind="signal")
class TagFormat(RowReward):
    """1 if a completion consists of tagged sections, each once and in this order; else 0.

    ``TagFormat(["think", "answer"])`` wants ``<think>...</think> <answer>...</answer>``. A tag that
    is missing, unclosed, nested, crossed or there twice scores 0, and ``info["why"]`` says which.
    Only whitespace may stand between sections. What they hold is not judged; it may be nothing.

    Args:
        tags: the names of the sections, in their order.
        completion: the column.
        prefill: what the chat template writes before the completion, such as ``"<think>"``: it is
            judged as if the model had written it. A completion that repeats its tag has it twice,
            and scores 0; if your column holds the tag already, leave ``prefill`` out.
        partial: score the fraction of the conditions that hold. For k tags they are 4k + 1: each of
            the 2k tags stands exactly once; each section closes after it opens; nothing but
            whitespace lies between neighbors, before the first and after the last (the latter two
            as ``strict`` says). Conditions that the prefill meets alone are not counted.
        strict: text before the first section and after the last is a fault. ``"start"`` allows what
            follows, as in ``<think>...</think> answer``; False allows both.

    Raises:
        ValueError: no tags, one twice, a name with whitespace or one of ``< > /``, or a prefill
            that does not begin a well-formed completion.
    """

    contract = Contract(
        full={"completion": "<think>6 * 7</think>\n<answer>42</answer>"},
        zero={"completion": "<answer>42</answer><think>6 * 7</think>"},
        malformed={"completion": "<think>6 * 7<think> 42"},
        arguments={"tags": ["think", "answer"]},
    )

    def __init__(
        self,
        tags: Sequence[str],
        completion: str = "completion",
        prefill: str = "",
        partial: bool = False,
        strict: Strict = True,
    ) -> None:
        super().__init__()
        check_tags(tags)
        if strict not in (True, False, "start"):
            raise ValueError(f"tag_format: strict is {strict!r}, not true, false or 'start'")
        if prefill:
            check_prefill(prefill, tags, strict)
        self.tags, self.completion, self.prefill = list(tags), completion, prefill
        self.partial, self.strict = partial, strict
        options = {"tags": self.tags, "prefill": prefill, "partial": partial, "strict": strict}
        self.by_row(grade, (completion,), options)

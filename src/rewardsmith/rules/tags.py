"""Tagged sections: ``<think>...</think> <answer>...</answer>``."""

import re
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from .verdict import Verdict

Strict: TypeAlias = bool | Literal["start"]
_NAME = re.compile(r"[^\s<>/]+")


def grade(
    completion: str,
    *,
    tags: Sequence[str],
    prefill: str = "",
    partial: bool = False,
    strict: Strict = True,
) -> float | Verdict:
    """1 if the sections are there, each once, in this order, with only whitespace between them.

    What is judged is ``prefill + completion``: a completion that repeats a tag of the prefill has
    it twice. What the sections hold is not judged; they may be empty.

    Args:
        completion: what the model wrote.
        tags: the names of the sections, in their order.
        prefill: what the chat template wrote before it; see :func:`check_prefill`.
        partial: give the fraction of the conditions that hold: each of the 2k tags stands exactly
            once; each section closes after it opens; only whitespace lies between neighbors,
            before the first (``strict``) and after the last (``strict``), which is 4k + 1. Places
            are those of a tag's first occurrence. What the prefill meets alone earns nothing.
        strict: whether text around the sections is a fault; ``"start"``: only before the first.
    """
    broken = _broken(prefill + completion, tags, strict)
    if not broken:
        return 1.0
    if not partial:
        return Verdict(0.0, broken[0])
    # Every condition of an empty text is broken.
    total = len(_broken("", tags, strict))
    missing = len(_broken(prefill, tags, strict)) if prefill else total
    return Verdict(max(0.0, (missing - len(broken)) / missing), broken[0])


def content(text: str, tag: str) -> str | None:
    """What the last closed ``<tag>...</tag>`` of a text holds; None where there is none."""
    end = text.rfind(f"</{tag}>")
    start = text.rfind(f"<{tag}>", 0, end) if end >= 0 else -1
    return text[start + len(tag) + 2 : end] if start >= 0 else None


def check_tags(tags: Sequence[Any]) -> None:
    """See that these can be the names of sections.

    Raises:
        ValueError: none, one twice, or a name with whitespace or one of ``< > /``.
    """
    if isinstance(tags, str):
        raise ValueError(f"tags are a list of names, such as [{tags!r}], not the text {tags!r}")
    if not tags:
        raise ValueError("tags are empty; name at least one")
    for tag in tags:
        if not isinstance(tag, str) or not _NAME.fullmatch(tag):
            raise ValueError(f"{tag!r} is no tag: a name without < > / and whitespace")
    if len(set(tags)) < len(tags):
        raise ValueError(f"tags {list(tags)} name one twice")


def check_prefill(prefill: str, tags: Sequence[str], strict: Strict) -> None:
    """See that a prefill begins a well-formed completion, and leaves something to be written.

    Raises:
        ValueError: it holds no tag, all of them, or text where none may be.
    """
    marks = _marks(tags)
    present = [mark for mark in marks if mark in prefill]
    rest = marks[len(present) :]
    if not present or not rest or _broken(prefill + "".join(rest), tags, strict):
        raise ValueError(
            f"prefill {prefill!r} does not begin a completion with the tags {list(tags)}: it is "
            f"what the chat template ends with, such as '<{tags[0]}>'"
        )


def _broken(text: str, tags: Sequence[str], strict: Strict) -> list[str]:
    """The conditions that do not hold, each in words."""
    marks = _marks(tags)
    at = [text.find(mark) for mark in marks]
    broken = []
    for mark, start in zip(marks, at, strict=True):
        if start < 0:
            broken.append(f"{mark} is missing")
        elif text.find(mark, start + 1) >= 0:
            broken.append(f"{mark} stands {text.count(mark)} times")
    for i in range(1, len(marks)):
        before, after = marks[i - 1], marks[i]
        end = at[i - 1] + len(before)
        if at[i - 1] < 0 or at[i] < end:
            broken.append(f"{after} does not follow {before}")
        elif i % 2 == 0 and text[end : at[i]].strip():
            broken.append(f"there is text between {before} and {after}")
    if strict and (at[0] < 0 or text[: at[0]].strip()):
        broken.append(f"there is text before {marks[0]}")
    if strict is True and (at[-1] < 0 or text[at[-1] + len(marks[-1]) :].strip()):
        broken.append(f"there is text after {marks[-1]}")
    return broken


def _marks(tags: Sequence[str]) -> list[str]:
    return [mark for tag in tags for mark in (f"<{tag}>", f"</{tag}>")]

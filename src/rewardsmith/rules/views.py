"""What a reader of a completion is shown: the thinking, or the answer."""

from typing import Literal, NamedTuple, TypeAlias

from .tags import content

Show: TypeAlias = Literal["answer", "thinking"]


class Split(NamedTuple):
    """A completion in its pieces; ``"".join`` of them is the text that was split."""

    before: str
    opening: str
    thinking: str
    closing: str
    answer: str


def split(text: str, tag: str = "think") -> Split:
    """Split a text at its first opening and its last closing tag.

    Without a closing tag, an opened thinking never ended: all that follows is thinking and the
    answer is empty. Without an opening tag before it, thinking begins with the text. Without
    either, all of it is the answer.
    """
    opening, closing = f"<{tag}>", f"</{tag}>"
    end = text.rfind(closing)
    start = text.find(opening, 0, end if end >= 0 else len(text))
    if start < 0:
        before, opening, inside = "", "", 0
    else:
        before, inside = text[:start], start + len(opening)
    if end >= 0:
        return Split(before, opening, text[inside:end], closing, text[end + len(closing) :])
    if start < 0:
        return Split("", "", "", "", text)
    return Split(before, opening, text[inside:], "", "")


def view(
    text: str,
    show: Show = "answer",
    *,
    prefill: str = "",
    thinking_tag: str = "think",
    answer_tag: str = "",
) -> str:
    """The thinking or the answer of a completion, as it stands there, with its whitespace.

    Args:
        text: what the model wrote.
        show: which of them.
        prefill: what the chat template wrote before it; ``<think>`` says that the text begins
            inside the thinking. It is read as if the model had written it.
        thinking_tag: the name of the tag around the thinking.
        answer_tag: the answer is what the last closed section of this name holds, of what follows
            the thinking; nothing if there is none. By default it is all that follows.
    """
    pieces = split(prefill + text, thinking_tag)
    if show == "thinking":
        return pieces.thinking
    return (content(pieces.answer, answer_tag) or "") if answer_tag else pieces.answer

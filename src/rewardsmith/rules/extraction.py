"""Which part of a completion is its answer: decided by where it stands, never by what it says."""

import re
from collections.abc import Iterator

from .glyphs import visible

LONGEST = 4000
"""Characters of the longest answer; what is longer is none."""
_TRIES = 64
"""How many places, from the last one on, are looked at."""

AUTO, BOXED, TAG, LAST_NUMBER, ALL = "auto", "boxed", "tag", "last number", "all"


def find_answer(completion: str, where: str = AUTO, phrases: tuple[str, ...] = ()) -> str | None:
    r"""The answer of a completion, cleaned; None if it gives none.

    What was thought, up to the last ``</think>``, is passed over, and so is a thought that does not
    end. In the rest the *last* answer counts:

    - ``boxed``: in ``\boxed{...}`` or ``\fbox{...}``, with its braces closed and something in it.
      Boxes with nothing but ``,``, ``;``, ``/``, ``and``, ``or`` or space of one line between them
      are one list. A minus before it and a percent sign behind it belong to the answer; where a
      power, a product, a fraction or digits touch it, the answer is all of that, which no one can
      read.
    - ``tag``: in ``<answer>...</answer>``; there, if it holds one, what ``auto`` finds.
    - ``auto``: the latest of these two and of the rest of a line behind ``####``, ``answer is``,
      ``answer:`` or ``answer =``.
    - ``last number``: the last number, whatever it is.
    - ``all``: all of it.
    - anything else is a marker, such as ``A:``: the rest of its line, or if that is empty the next
      line. A marker without a space has to begin its line, but for markup; one with a space
      (``the answer is``) may stand anywhere. In one without capitals the case does not matter.
    """
    start = completion.rfind("</think>") + 1
    if start:
        completion = completion[start + 7 :]
    elif "<think>" in completion:
        return None
    if where == BOXED:
        found = _boxed(completion)
        text = found[0] if found else None
    elif where == TAG:
        found = _tagged(completion, PHRASES + phrases)
        text = found[0] if found else None
    elif where == AUTO:
        text = _auto(completion, PHRASES + phrases)
    elif where == LAST_NUMBER:
        text = _last_number(completion)
    elif where == ALL:
        text = completion
    else:
        text = _marked(completion, where)
    if text is None or len(text) > LONGEST:
        return None
    return clean(text) or None


def _auto(completion: str, phrases: tuple[str, ...]) -> str | None:
    box, tag = _boxed(completion), _tagged(completion, phrases)
    text, start = tag if tag and (not box or tag[1] > box[1]) else box or (None, 0)
    low = _lower(completion[start:])
    at, marker = max([(low.rfind(marker), marker) for marker in phrases])
    line = None if at < 0 else _line(completion, start + at + len(marker))
    return line or text


PHRASES = ("####", "answer is", "answer:", "answer =")
"""What :data:`AUTO` takes for an announcement of the answer; ``phrases`` are further ones."""


def _lower(text: str) -> str:
    """In lower case, with every character in its place: this one would become two."""
    return text.replace("\u0130", "I").lower()


# --- boxes ----------------------------------------------------------------------------------------

_BRACE = re.compile(r"\\(?:boxed|fbox)\s{0,9}\{|\\.|[{}]", re.DOTALL)
_BETWEEN = re.compile(
    r"(?:[ \t$]|\\q?quad(?![A-Za-z])|\\[,;:! ]|~)*"
    r"|[\s$]*(?:(?:[,;/&]|and\b|or\b|\\text\s*\{\s*,?\s*(?:and|or)\s*\}|\\l?or(?![A-Za-z])"
    r"|\\q?quad(?![A-Za-z])|\\[,;:! ])[\s$]*){1,9}"
)
# What makes the box a part of something.
_MINUS = re.compile(r"(?<![-\w)}])[-−]\$?\Z")
_WITHIN = re.compile(
    r"(?:\\(?:[dtc]?frac|sqrt)\s*(?:\[[^\[\]]{0,9}\])?\s*\{?|\}\s*\{|\^\s*\{?|\\pm)\s*\Z|[0-9]\Z"
)
_PERCENT = re.compile(r"\s{0,9}\$?\s?\\?%")
_CONTINUED = re.compile(r"\$?(?:[.,]?[0-9]|[/*][0-9]|\s{0,9}(?:\^|\\(?:times|cdot)(?![A-Za-z])|×))")


def _boxed(text: str) -> tuple[str, int] | None:
    """What stands in the last box, and where that ends."""
    starts = sorted([*_places(text, "\\boxed"), *_places(text, "\\fbox")], reverse=True)
    boxes: list[tuple[int, int, int]] = []
    until = len(text)
    while starts and not boxes:
        # Those so near to each other that one may stand within another.
        first = starts.pop(0)
        last = first
        while starts and first - starts[0] <= LONGEST:
            first = starts.pop(0)
        boxes = _closed(text, first, min(until, last + LONGEST))
        until = first
    if not boxes:
        return None
    begin, inner, close = boxes[-1]
    answer, end = text[inner:close], close + 1
    for before, inner, end_before in reversed(boxes[:-1]):
        if end_before > begin or not _BETWEEN.fullmatch(text, end_before + 1, begin):
            break
        answer, begin = text[inner:end_before] + ", " + answer, before
    return _with_touching(text, begin, answer, end), close


def _with_touching(text: str, begin: int, answer: str, end: int) -> str:
    """A box's answer with what stands around it in the same expression."""
    before = text[max(begin - 20, 0) : begin]
    if _WITHIN.search(before) or _CONTINUED.match(text, end):
        return text[max(begin - 20, 0) : end + 20]
    if _MINUS.search(before):
        answer = f"-({answer})"
    return answer + "%" if _PERCENT.match(text, end) else answer


def _places(text: str, command: str) -> Iterator[int]:
    """Where a command stands, from the last on."""
    at = len(text)
    for _ in range(_TRIES):
        at = text.rfind(command, 0, at)
        if at < 0:
            return
        yield at


def _closed(text: str, start: int, end: int) -> list[tuple[int, int, int]]:
    """The outermost closed boxes with something in them: begin, begin of what is in it, end."""
    boxes: list[tuple[int, int, int]] = []
    stack: list[tuple[int, int]] = []
    for token in _BRACE.finditer(text, start, end):
        symbol = token.group()
        if symbol[-1] == "{" and symbol != "\\{":
            stack.append((token.start() if symbol != "{" else -1, token.end()))
        elif symbol == "}" and stack:
            begin, inner = stack.pop()
            if begin >= 0 and text[inner : token.start()].strip():
                while boxes and boxes[-1][0] > begin:
                    boxes.pop()
                boxes.append((begin, inner, token.start()))
    return boxes


# --- tags, markers, numbers -----------------------------------------------------------------------


_OPENED = ("<answer>", "<Answer>", "<ANSWER>")
_CLOSED = ("</answer>", "</Answer>", "</ANSWER>")


def _tagged(text: str, phrases: tuple[str, ...]) -> tuple[str, int] | None:
    end = max([text.rfind(tag) for tag in _CLOSED])
    begin = max([text.rfind(tag, 0, end) for tag in _OPENED]) if end >= 0 else -1
    if begin < 0:
        return None
    inner = text[begin + 8 : end]
    if len(inner) > LONGEST:
        return inner, end
    return _auto(inner, phrases) or inner, end


_MARKUP = " \t*_`#>-"


def _marked(text: str, marker: str) -> str | None:
    searched = text if marker != marker.lower() else _lower(text)
    anywhere = " " in marker
    at = len(text) + 1
    for _ in range(_TRIES):
        at = searched.rfind(marker, 0, max(at - 1 + len(marker), 0))
        if at < 0:
            return None
        if anywhere:
            if at == 0 or not (text[at - 1].isalnum() and marker[0].isalnum()):
                return _line(text, at + len(marker))
            continue
        line = max(text.rfind("\n", max(at - 20, 0), at), text.rfind("\r", max(at - 20, 0), at))
        if (line >= 0 or at <= 20) and not text[line + 1 : at].strip(_MARKUP):
            return _line(text, at + len(marker))
    return None


_DISPLAY = {"\\[": "\\]", "$$": "$$"}


def _line(text: str, at: int) -> str | None:
    """The rest of a line, up to the sentence's end; if that is empty, the next line with text."""
    window = text[at : at + 2 * LONGEST]
    for line in window.splitlines()[:4]:
        line = line.strip(" \t*_`:")
        if line:
            closing = _DISPLAY.get(line)
            if closing:
                rest = window[window.index(line) + len(line) :]
                return rest[: rest.find(closing)] if closing in rest else None
            return _SENTENCE.split(line, maxsplit=1)[0]
    return None


# A period that ends a sentence: behind it is a space.
_SENTENCE = re.compile(r"(?<=[^.\s])\.\s")

_NUMBER = re.compile(
    r"(?<![\w.,/])-?\\?\$?-?(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?(?:\s?\\?%)?(?![\w/])",
    re.ASCII,
)


def _last_number(text: str) -> str | None:
    found = None
    for match in _NUMBER.finditer(text[-LONGEST:]):
        found = match.group()
    return found


# --- what is around an answer ---------------------------------------------------------------------

_TOKEN = re.compile(r"(?:<\|[A-Za-z_]{1,30}\|>|</s>|<eos>)\s*\Z")
_WRAPPED = re.compile(
    r"\\(?:boxed|fbox|text(?:bf|it|rm)?|math(?:rm|bf|it)|mbox|displaystyle|underline"
    r"|textcolor\s*\{[A-Za-z]{1,20}\})\s*\{(.*)\}\Z",
    re.DOTALL,
)
_PAIRS = (("\\(", "\\)"), ("\\[", "\\]"))


def clean(text: str) -> str:
    r"""An answer without what is only around it.

    Goes away: space, ``*``, ``_`` and backquotes at the ends, characters that cannot be seen,
    special tokens (``<|im_end|>``, ``</s>``), one period or comma at the end, ``$...$``,
    ``\(...\)``, ``\[...\]``, and a box, a ``\text`` or a color around all of it.
    """
    text = visible(text)
    for _ in range(8):
        before = text
        text = text.strip(" \t\r\n*_`\u00a0\u200b\ufeff")
        if text.endswith(">"):
            text = _TOKEN.sub("", text)
        if text.endswith((".", ",", ";", "。")) and not text.endswith(("..", "\\,", "\\;")):
            text = text[:-1]
        if "$" in text:
            text = _without_dollars(text)
        if "\\" in text:
            for opening, closing in _PAIRS:
                if text.startswith(opening) and text.find(closing) == len(text) - 2:
                    text = text[2:-2]
            wrapped = _WRAPPED.match(text)
            if wrapped and _balanced(wrapped[1]):
                text = wrapped[1]
            text = text.removeprefix("\\displaystyle")
        if text == before:
            break
    return text


def _without_dollars(text: str) -> str:
    """Dollars in pairs set mathematics; a single one is money."""
    bare = text.replace("\\$", "")
    if bare.count("$") % 2 or "$" not in bare:
        return text
    return text.replace("\\$", "\0").replace("$", "").replace("\0", "\\$")


def _balanced(text: str) -> bool:
    depth = 0
    for token in _BRACE.finditer(text):
        symbol = token.group()
        if symbol[-1] == "{" and symbol != "\\{":
            depth += 1
        elif symbol == "}":
            depth -= 1
            if depth < 0:
                return False
    return depth == 0

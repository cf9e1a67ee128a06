"""How far a program got: milestones that a harness prints, and the score of a task that was done.

Two forms. With a *key*, the harness marks each line that it prints by :func:`announcement`, and
only marked lines count: a mark is made of the key, which is drawn for each run, and of the line's
text, so that a mark that a program has seen is good for no other milestone. Without one, patterns
are looked for in all that was printed, and what stands in the program's own source does not count;
that is a weak form, since a program may compose any text while it runs.
"""

import hmac
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from .pattern import compiled, encodable
from .verdict import Verdict

_MARK = 32
"""Hexadecimal digits of a mark: 128 bits."""
_TRIED = 100
"""Matches of a milestone that are looked at: a program may print any number."""


def grade(
    output: str,
    source: str,
    *,
    milestones: Mapping[str, str],
    score: str,
    bounds: Sequence[float] = (-1.0, 1.0),
    lower_is_better: bool = False,
    failure: float = -10.0,
    bonus: float = 0.1,
    ended: str = "",
    key: str | None = None,
    grader: Callable[[str], float | None] | None = None,
) -> Verdict:
    """The task's score where the program did the task; else ``failure + bonus * milestones hit``.

    ``r = s`` (or ``-s`` where lower is better) if the program ended well and a score is read, else
    ``r = failure + bonus |hits|``. That failed runs get the sum of both is our reading.

    Args:
        output: what the run printed.
        source: the program as the policy wrote it, before anything was put into it.
        milestones: name -> RE2 pattern.
        score: an RE2 pattern whose one group is the score; see :func:`printed_score`.
        bounds: the least and the largest score that the task knows, before any change of sign.
        lower_is_better: whether the score is an error.
        failure: what total failure is worth.
        bonus: what each milestone adds to it.
        ended: how the run went wrong, if it did; its score then does not count.
        key: of the marks; None where nothing is marked.
        grader: ``(output without marked lines) -> score or None``, in the place of ``score``; only
            asked where the program ended well.

    Raises:
        ValueError: the score lies outside ``bounds``.
    """
    found = hits(output, source, milestones, key)
    told = f"{len(found)} of {len(milestones)} milestones{': ' if found else ''}{', '.join(found)}"
    number, why = None, ended
    if not ended and grader is not None:
        number = grader(output if key is None else unmarked(output, key))
        why = "the grader found no valid solution"
    elif not ended:
        number, why = printed_score(output, source, score, key), "no score was printed"
    if number is None:
        return Verdict(failure + bonus * len(found), f"{told}; {why}")
    (low, high), number = bounds, float(number)
    if not low <= number <= high:
        raise ValueError(f"the score {number:g} is not in the declared range [{low:g}, {high:g}]")
    # Not `-number`: that would make a negative zero of 0.
    return Verdict(0.0 - number if lower_is_better else number, f"score {number:g}; {told}")


def reward_range(
    milestones: Mapping[str, str],
    score: str | None,
    bounds: Sequence[float] = (-1.0, 1.0),
    lower_is_better: bool = False,
    failure: float = -10.0,
    bonus: float = 0.1,
) -> tuple[float, float]:
    """The least and the largest value that :func:`grade` gives with these arguments.

    Raises:
        ValueError: a pattern that RE2 does not take or that matches nothing at all, a score without
            its one group, numbers that are not finite or in order, or a failed run with all
            milestones that would reach the least valid one.
    """
    for name, pattern in milestones.items():
        if compiled(pattern).search("") is not None:
            raise ValueError(f"the pattern of milestone {name!r} matches the empty text")
    if score is not None and compiled(score).groups != 1:
        raise ValueError(f"the pattern {score!r} needs one group: the score")
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"the scores' bounds {low}, {high} are not two finite numbers in order")
    if not (math.isfinite(failure) and math.isfinite(bonus) and bonus >= 0):
        raise ValueError(f"failure {failure} is finite, and bonus {bonus} at least 0")
    least, most = (0.0 - high, 0.0 - low) if lower_is_better else (low, high)
    best_failed = failure + bonus * len(milestones)
    if best_failed >= least:
        raise ValueError(
            f"a failed run with all milestones would earn {best_failed:g}, and the least valid one "
            f"{least:g}: lower `failure` or `bonus`"
        )
    return failure, most


def hits(
    output: str, source: str, milestones: Mapping[str, str], key: str | None = None
) -> list[str]:
    """The names of the milestones that a run has reached, each once, in their order."""
    if key is not None:
        texts = {encodable(text) for text, _ in announced(output, key)}
        return [n for n, p in milestones.items() if any(map(compiled(p).search, texts))]
    output, readings = encodable(output), _readings(source)
    return [name for name, p in milestones.items() if _is_foreign(p, output, readings)]


def printed_score(output: str, source: str, score: str, key: str | None = None) -> float | None:
    """The last score that was printed; None where there is none that is a finite number.

    With a key, what matches has to begin in the harness' own text: a value that it prints is the
    program's, and may be anything. Without one, a last match that stands in the source is no score,
    and none before it counts in its place.
    """
    expression, found = compiled(score), None
    if key is None:
        for match in expression.finditer(encodable(output)):
            found = match
        if found is not None and _stands(found.group(), _readings(source)):
            found = None
    else:
        for text, value in announced(output, key):
            match = expression.search(encodable(f"{text} {value}"))
            if match is not None and match.start() < len(text):
                found = match
    try:
        number = float((found.group(1) if found else None) or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


# --- marks ----------------------------------------------------------------------------------------


def mark(key: str, text: str) -> str:
    """What only who knows the key can put before a text."""
    return hmac.digest(key.encode(), text.encode(), "sha256").hex()[:_MARK]


def announcement(key: str, text: str, value: str = "") -> str:
    """A Python statement of one line that prints a marked line.

    It writes to the file descriptor itself, so that a program that replaces ``print`` or
    ``sys.stdout`` does not lose it.

    Args:
        key: of the marks.
        text: what is announced.
        value: a Python expression, of which the value is printed behind the text.

    Raises:
        ValueError: the text is blank or holds a tab or the end of a line.
    """
    if not text.strip() or set(text) & set("\t\n\r"):
        raise ValueError(f"{text!r} cannot be announced: it is blank, or not of one line")
    line = f"\n{mark(key, text)}\t{text}\t"
    if not value:
        return f"__import__('os').write(1, {(line + chr(10)).encode()!r})"
    told = f"{line!r} + str({value}) + '\\n'"
    return f"__import__('os').write(1, ({told}).encode('utf-8', 'replace'))"


def announced(output: str, key: str) -> Iterator[tuple[str, str]]:
    """The marked lines of an output: what was announced, and the value behind it or ""."""
    for line in output.split("\n"):
        if line[_MARK : _MARK + 1] == "\t":
            text, _, value = line[_MARK + 1 :].partition("\t")
            if hmac.compare_digest(line[:_MARK].encode(errors="replace"), _expected(key, text)):
                yield text, value.strip()


def unmarked(output: str, key: str) -> str:
    """An output without the lines that the harness has printed, and the line end before each."""
    kept: list[str] = []
    for line in output.split("\n"):
        if next(announced(line, key), None) is None:
            kept.append(line)
        elif kept and not kept[-1]:
            kept.pop()
    return "\n".join(kept)


def _expected(key: str, text: str) -> bytes:
    return mark(key, text.encode(errors="replace").decode()).encode()


# --- the weak form --------------------------------------------------------------------------------


def _is_foreign(pattern: str, output: str, readings: Sequence[str]) -> bool:
    """Whether a pattern matches the output, and neither it nor what it matches the source."""
    expression = compiled(pattern)
    if any(expression.search(reading) is not None for reading in readings):
        return False
    matches = islice(expression.finditer(output), _TRIED)
    return any(not _stands(match.group(), readings) for match in matches)


def _stands(text: str, readings: Sequence[str]) -> bool:
    return any(text in reading for reading in readings)


def _readings(source: str) -> list[str]:
    r"""What a source says: as it stands, and its literals, each by itself and one after the other.

    Escapes are resolved, so that ``"\x64one"`` and ``"do" + "ne"`` say "done".
    """
    literals = [_literal(match) for match in _STRING.finditer(source) if match["string"]]
    return [encodable(text) for text in (source, "\n".join(literals), "".join(literals))]


# Possessive, and a literal that does not end takes the rest: linear in any text.
_STRING = re.compile(
    r"""\#[^\n]*+
    |(?P<prefix>\b(?i:[rbuft]|[bft]r|r[bft])(?=["']))?+(?P<string>
      \"\"\"(?P<a>(?:[^"\\]++|\\[\s\S]|"(?!""))*+)(?:\"\"\"|\\?\Z)
     |\'\'\'(?P<b>(?:[^'\\]++|\\[\s\S]|'(?!''))*+)(?:\'\'\'|\\?\Z)
     |"(?P<c>(?:[^"\\\n]++|\\[\s\S])*+)"?+
     |'(?P<d>(?:[^'\\\n]++|\\[\s\S])*+)'?+
    )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|([\s\S]))"
)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "\n": "", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def _literal(match: re.Match[str]) -> str:
    body = next(text for text in match.group("a", "b", "c", "d") if text is not None)
    raw = "r" in (match["prefix"] or "").lower()
    return body if raw or "\\" not in body else _ESCAPE.sub(_unescaped, body)


def _unescaped(match: re.Match[str]) -> str:
    digits = match[1] or match[2] or match[3]
    if digits or match[4]:
        number = int(digits, 16) if digits else int(match[4], 8)
        return chr(number) if number <= 0x10FFFF else match[0]
    return _LETTERS.get(match[5], match[5])

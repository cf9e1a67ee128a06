"""Characters of other scripts and fonts as the ASCII that stands for the same in mathematics."""

import re
import unicodedata

_SIGNS = {
    "−": "-", "﹣": "-", "－": "-", "×": "*", "·": "*", "⋅": "*", "∙": "*", "✕": "*", "÷": "/",
    "∕": "/", "⁄": "/", "\u00a0": " ", "\u2009": r"\,", "\u202f": r"\,", "\u2007": r"\,", "’": "'",
}  # fmt: skip
_COMMANDS = {
    "±": r"\pm ", "√": r"\sqrt ", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ",
    "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "θ": r"\theta ",
    "α": r"\alpha ", "β": r"\beta ", "ℝ": r"\mathbb{R}", "°": r"^\circ ",
}  # fmt: skip
_GLYPHS = _SIGNS | _COMMANDS
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+", strict=True))
_RAISED_RUN = re.compile(f"[{''.join(_RAISED)}]+")
_LEFT_RIGHT = re.compile(r"\\(?:left|right)(?![A-Za-z])")
_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|up|normal)?|math(?:rm|bf|it|sf)|mbox|operatorname)\s*\{([^{}]*)\}"
)


def plain(text: str) -> str:
    r"""A text with its digits and signs in ASCII, and without LaTeX's layout.

    Digits of every script, full-width characters, typographic minus, times and division signs,
    ``½``, ``x²``; ``\left`` and ``\right`` go, ``\text{cm}`` becomes ``cm``.
    """
    if not text.isascii():
        text = _RAISED_RUN.sub(_power, text)
        text = "".join([c if c < "\x80" else _ascii(c) for c in text])
        text = _VULGAR.sub(_fraction, text)
    if "\\" in text:
        text = _LEFT_RIGHT.sub("", text)
        text = _TEXT.sub(r" \1 ", text)
    return text.strip()


def _power(match: re.Match[str]) -> str:
    return "^{" + "".join(_RAISED[c] for c in match.group()) + "}"


def _ascii(c: str) -> str:
    sign = _GLYPHS.get(c)
    if sign is not None:
        return sign
    if "！" <= c <= "～":
        return chr(ord(c) - 0xFEE0)
    digit = unicodedata.decimal(c, None)
    return c if digit is None else str(digit)


_VULGAR = re.compile("([0-9]?)([¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞])")


def _fraction(match: re.Match[str]) -> str:
    before, c = match.groups()
    a, _, b = unicodedata.normalize("NFKC", c).partition("⁄")
    return f"{before} {a}/{b}" if before else f"({a}/{b})"

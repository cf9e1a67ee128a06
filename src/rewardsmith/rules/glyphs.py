"""Characters of other scripts and fonts as the ASCII that stands for the same in mathematics."""

import re
import unicodedata

_SIGNS = {
    "−": "-", "﹣": "-", "－": "-", "×": "*", "·": "*", "⋅": "*", "∙": "*", "✕": "*", "÷": "/",
    "∕": "/", "⁄": "/", "\u00a0": " ", "\u2009": r"\,", "\u202f": r"\,", "\u2007": r"\,", "’": "'",
}  # fmt: skip
_COMMANDS = {
    "±": r"\pm ", "√": r"\sqrt ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ",
    "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ",
    "≈": r"\approx ", "…": r"\ldots ", "ℝ": r"\mathbb{R}", "°": r"^\circ ",
    "℃": r"^\circ C", "℉": r"^\circ F",
}  # fmt: skip
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta",
    "η": "eta", "θ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu", "µ": "mu", "ν": "nu",
    "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "χ": "chi",
    "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda",
    "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_GLYPHS = _SIGNS | _COMMANDS
_FOREIGN = r"(?![\x00-\x7f])[^\W\d_]"
# More of them make a word.
_VARIABLES = re.compile(rf"(?<![^\W\d_a-zA-Z])[{''.join(_GREEK)}]{{1,2}}(?!{_FOREIGN})")
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+", strict=True))
_RAISED_RUN = re.compile(f"[{''.join(_RAISED)}]+")
_LEFT_RIGHT = re.compile(r"\\(?:left|right)(?![A-Za-z])")
_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|up|normal)?|math(?:rm|bf|it|sf)|mbox|operatorname)\s*\{([^{}]*)\}"
)


def visible(text: str) -> str:
    """A text with its accents composed, and without characters that only control its layout."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text)
    return "".join([c for c in text if c < "\x80" or unicodedata.category(c) != "Cf"])


def plain(text: str) -> str:
    r"""A text with its digits and signs in ASCII, and without LaTeX's layout.

    Digits of every script, full-width characters, typographic minus, times and division signs,
    ``½``, ``x²``; one or two Greek letters that stand by themselves; ``\left`` and ``\right`` go,
    ``\text{cm}`` becomes ``cm``.
    """
    if not text.isascii():
        text = _RAISED_RUN.sub(_power, visible(text))
        text = _VARIABLES.sub(_variables, text)
        text = "".join([c if c < "\x80" else _ascii(c) for c in text])
        text = _VULGAR.sub(_fraction, text)
    if "\\" in text:
        text = _LEFT_RIGHT.sub("", text)
        text = _TEXT.sub(r" \1 ", text)
    return text.strip()


def _power(match: re.Match[str]) -> str:
    return "^{" + "".join(_RAISED[c] for c in match.group()) + "}"


def _variables(match: re.Match[str]) -> str:
    return "".join(f"\\{_GREEK[c]} " for c in match.group())


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

"""Which texts are given to a parser of mathematics, and as what."""

import re

_LETTERS = re.compile(r"\\[A-Za-z]+|[A-Za-z]{2,}")
_FUNCTIONS = frozenset({
    "arccos", "arcsin", "arctan", "cos", "cosh", "cot", "csc", "deg", "det", "exp", "frac",
    "gcd", "inf", "infinity", "infty", "lcm", "ln", "log", "max", "min", "mod", "oo", "pi",
    "sec", "sin", "sinh", "sqrt", "tan", "tanh",
})  # fmt: skip
_STOP = frozenset({
    "and", "any", "are", "but", "can", "for", "if", "is", "no", "not", "off", "or", "per",
    "the", "was", "yes",
})  # fmt: skip
_IGNORED = re.compile(r"\d\s*_|['\"?@#:]|\\prime|\.\.|=\s*=|=>|->", re.ASCII)
_SLIP = re.compile(
    r"\d\s*\\[dtc]?frac\s*\{\s*(\d{1,300})\s*\}\s*\{\s*(\d{1,300})\s*\}"
    r"|\d\s+(\d{1,300})\s*/\s*(\d{1,300})"
)
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{(?:[pbvBV]?matrix|array)\}(?:\{[clr|]{1,20}\})?")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
# Those that math-verify reads. What it does not read, it may drop with all that follows.
_COMMANDS = _FUNCTIONS | frozenset({
    "Delta", "Gamma", "Lambda", "Omega", "Phi", "Pi", "Psi", "Sigma", "Theta", "Xi", "alpha",
    "bar", "beta", "binom", "cap", "cdot", "cfrac", "chi", "circ", "cup", "dbinom", "delta",
    "dfrac", "displaystyle", "div", "ell", "emptyset", "epsilon", "eta", "gamma", "ge", "geq",
    "geqslant", "gt", "hat", "in", "int", "kappa", "lambda", "lceil", "le", "leq", "leqslant",
    "lfloor", "lim", "limits", "lt", "lvert", "mathbb", "mp", "mu", "ne", "neq", "nu", "omega",
    "overline", "phi", "pm", "prod", "psi", "qquad", "quad", "rceil", "rfloor", "rho", "rvert",
    "setminus", "sigma", "sum", "tau", "tbinom", "tfrac", "theta", "times", "to", "varepsilon",
    "varnothing", "varphi", "vartheta", "vec", "vert", "xi", "zeta",
})  # fmt: skip


def is_maths(text: str) -> bool:
    r"""Whether a text can be an expression: known commands and signs, no words, no primes.

    Math-verify would take a word for a product of letters, and drop a prime, the base of ``12_5``
    and what stands behind an ``\approx``. A number before an improper fraction could be a term or
    a factor, so ``2 \frac{3}{2}`` is none.
    """
    if not text.isascii() or _IGNORED.search(text := _ENVIRONMENT.sub(" ", text)):
        return False
    if any(int(slip[1] or slip[3]) >= int(slip[2] or slip[4]) for slip in _SLIP.finditer(text)):
        return False
    commands = set(_COMMAND.findall(text))
    if not commands <= _COMMANDS or ("to" in commands and "lim" not in commands):
        return False
    return all(
        word.lower() in _FUNCTIONS or (len(word) <= 3 and word.lower() not in _STOP)
        for word in _LETTERS.findall(text)
        if word[0] != "\\"
    )


def case_differs(gold: str, answer: str) -> bool:
    """Whether a letter is large in one place and small in another: math-verify makes all small."""
    letters = set("".join(re.sub(r"\\[A-Za-z]+", " ", gold + " " + answer)))
    return any(c.isupper() and c.lower() in letters for c in letters)


_BRACKET = re.compile(r"\\.|[()\[\]{}]", re.DOTALL)
_TOWER = re.compile(
    r"(?:\^\s*[-+]?\s*(?:\{[^{}]{0,99}\}|\([^()]{0,99}\)|\\?[A-Za-z]+|[\d.]+)\s*){9}"
)
_DEEP = 8
_LONG = 400
"""Characters of an answer that may always be parsed."""


def outgrows(answer: str, gold: str) -> bool:
    """Whether an answer is so much longer or deeper than the gold one that it is not parsed.

    Parsing takes seconds where brackets or powers stand in each other by the dozen; an answer could
    buy its time-out that way.
    """
    if len(answer) > max(_LONG, 4 * len(gold)):
        return True
    if _nesting(answer) > max(_DEEP, _nesting(gold)):
        return True
    return bool(_TOWER.search(answer)) and not _TOWER.search(gold)


def _nesting(text: str) -> int:
    depth = deepest = 0
    for token in _BRACKET.finditer(text):
        depth = max(depth + {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token[0], 0), 0)
        deepest = max(deepest, depth)
    return deepest


_DOUBLE = re.compile(r"\(\s*\(|\{\s*\{")


def unwrapped(text: str) -> str:
    """A text without round brackets and braces that hold nothing but another such pair."""
    if not _DOUBLE.search(text):
        return text
    found = [token for token in _BRACKET.finditer(text) if token[0] in "(){}"]
    closing: dict[int, int] = {}
    stack: list[int] = []
    for i, token in enumerate(found):
        if token[0] in "({":
            stack.append(i)
        elif not stack or found[stack[-1]][0] + token[0] not in ("()", "{}"):
            return text
        else:
            closing[stack.pop()] = i
    dropped = [
        at
        for begin, end in closing.items()
        if closing.get(begin + 1) == end - 1
        and found[begin][0] == found[begin + 1][0]
        and not text[found[begin].end() : found[begin + 1].start()].strip()
        and not text[found[end - 1].end() : found[end].start()].strip()
        for at in (found[begin].start(), found[end].start())
    ]
    gone = set(dropped)
    return "".join([c for i, c in enumerate(text) if i not in gone])

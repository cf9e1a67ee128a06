"""Arithmetic as people write it, computed exactly: integers, decimals, fractions, ``+ - * / ^``.

Time is linear in the text, and the size of what is computed is bounded.
"""

import re
from fractions import Fraction

LARGEST = 1 << 14
"""Bits of the largest numerator and denominator that are computed."""
DEEPEST = 40
"""Operations within operations."""


class NotKnownError(Exception):
    """The text is no number of those known here."""


_SPACE = re.compile(r"(?:\s|\\[,;:! ]|\\q?quad(?![A-Za-z])|~)*")
_NUMERAL = re.compile(
    r"(?P<whole>[1-9]\d{0,2}(?:(?:,(?:\\!)?|\{,\}|\\[,! ])\d{3})+(?!\d)"
    r"|[1-9]\d{0,2}(?: \d{3}){2,}(?![\d/])|\d+)?"
    r"(?:\.(?P<part>\d*)(?:\\(?:overline|bar)\{(?P<again>\d+)\})?)?"
    r"(?:[eE](?P<ten>[+-]?\d{1,5})(?![\d.]))?",
    re.ASCII,
)
_MIXED = re.compile(
    r"(?P<whole>\d+)(?:\s+(?P<a>\d+)\s*/\s*(?P<b>\d+)|"
    r"\s*\\[dtc]?frac\s*(?:\{\s*(?P<c>\d+)\s*\}\s*\{\s*(?P<d>\d+)\s*\}|(?P<e>\d)\s*(?P<f>\d)))"
    r"(?![\d.]|\s*\^)",
    re.ASCII,
)
_FRACTION = re.compile(r"\\[dtc]?frac(?![A-Za-z])")
_TIMES = re.compile(r"\*(?!\*)|\\cdot(?![A-Za-z])|\\times(?![A-Za-z])")
_OVER = re.compile(r"/|\\div(?![A-Za-z])")
_POWER = re.compile(r"\^(?!\s*\{?\s*\\circ)|\*\*")
_SIGN = re.compile(r"[+-]")
_CURRENCY = re.compile(r"(?:US|CA|AU|C|A)?\\?\$|[€£¥₹₩]|(?:USD|EUR|GBP)(?![A-Za-z])")


class Reader:
    """Reads arithmetic from the left, as far as it goes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = _SPACE.match(text, 0).end()  # type: ignore[union-attr]
        self.depth = 0
        self.brackets = 0
        self.currency = ""

    def rest(self) -> str:
        return self.text[self.at :]

    def glued(self) -> bool:
        """Whether what stands here follows without a space."""
        return self.at > 0 and not self.text[self.at - 1].isspace()

    def take(self, pattern: re.Pattern[str]) -> str:
        """What stands here, and the space behind it, if it matches; else nothing."""
        match = pattern.match(self.text, self.at)
        if not match or match.end() == self.at:
            return ""
        self.at = _SPACE.match(self.text, match.end()).end()  # type: ignore[union-attr]
        return match.group()

    def amount(self) -> Fraction:
        """A sum, which a currency sign may stand before."""
        start = self.at
        sign = self.take(_SIGN)
        currency = self.take(_CURRENCY).strip().lstrip("\\")
        if currency:
            self.currency = currency
            value = self.sum()
            return -value if sign == "-" else value
        self.at = start
        return self.sum()

    def sum(self) -> Fraction:
        self.depth += 1
        if self.depth > DEEPEST:
            raise NotKnownError
        value = self.product()
        while True:
            start = self.at
            sign = self.take(_SIGN)
            if not sign:
                break
            if not self.operand_follows():
                self.at = start
                break
            term = self.product()
            value = _small(value + term if sign == "+" else value - term)
        self.depth -= 1
        return value

    def product(self) -> Fraction:
        value, divided = self.signed(), False
        while True:
            start = self.at
            if self.take(_TIMES):
                value = _small(value * self.signed())
            elif self.take(_OVER):
                if not self.operand_follows():
                    self.at = start  # a unit: 18 / day
                    return value
                value, divided = _small(_quotient(value, self.signed())), True
            elif self.text.startswith("(", self.at):
                if divided:
                    raise NotKnownError  # 1/2(3) is read in two ways
                value = _small(value * self.power())
            else:
                return value

    def operand_follows(self) -> bool:
        here = self.text[self.at : self.at + 1]
        return here.isdigit() or here in tuple("+-.({") or bool(_FRACTION.match(self.text, self.at))

    def signed(self) -> Fraction:
        sign = self.take(_SIGN)
        if not sign:
            return self.power()
        self.depth += 1
        if self.depth > DEEPEST:
            raise NotKnownError
        value = self.signed()
        self.depth -= 1
        return -value if sign == "-" else value

    def power(self) -> Fraction:
        base = self.atom()
        if not self.take(_POWER):
            return base
        self.depth += 1
        if self.depth > DEEPEST:
            raise NotKnownError
        exponent = self.signed()
        self.depth -= 1
        return _power(base, exponent)

    def atom(self) -> Fraction:
        mixed = _MIXED.match(self.text, self.at)
        if mixed:
            return self.mixed(mixed)
        if self.take(_FRACTION):
            return _small(_quotient(self.argument(), self.argument()))
        for opening, closing in (("(", ")"), ("{", "}")):
            if self.text.startswith(opening, self.at):
                return self.group(closing)
        numeral = _NUMERAL.match(self.text, self.at)
        if not numeral or not (numeral["whole"] or numeral["part"] or numeral["again"]):
            raise NotKnownError
        return self.numeral(numeral)

    def mixed(self, match: re.Match[str]) -> Fraction:
        whole, *parts = [int(digits) for digits in match.groups() if digits is not None]
        if not parts[0] < parts[1]:
            raise NotKnownError  # 2 4/3: a product, or a slip
        self.at = _SPACE.match(self.text, match.end()).end()  # type: ignore[union-attr]
        return whole + Fraction(*parts)

    def argument(self) -> Fraction:
        """Of a LaTeX command: a group in braces, or one digit."""
        if self.text.startswith("{", self.at):
            return self.group("}")
        digit = self.take(_DIGIT)
        if not digit:
            raise NotKnownError
        return Fraction(int(digit))

    def group(self, closing: str) -> Fraction:
        self.at = _SPACE.match(self.text, self.at + 1).end()  # type: ignore[union-attr]
        self.brackets += closing == ")"
        value = self.sum()
        self.brackets -= closing == ")"
        if not self.text.startswith(closing, self.at):
            raise NotKnownError
        self.at = _SPACE.match(self.text, self.at + 1).end()  # type: ignore[union-attr]
        return value

    def numeral(self, match: re.Match[str]) -> Fraction:
        whole, part, again, ten = (match[name] or "" for name in ("whole", "part", "again", "ten"))
        if len(whole) > len(digits := re.sub(r"\D", "", whole)) and self.brackets:
            raise NotKnownError  # (1,234) is a number or a pair
        if ten and len(ten) > 5:
            raise NotKnownError
        self.at = match.end()
        end = match.end()
        # A sentence's period is no decimal point.
        if match.group().endswith(".") and not whole:
            raise NotKnownError
        if match.group().endswith("."):
            end -= 1
        value = Fraction(int((digits + part) or "0"), 10 ** len(part))
        if again:
            value += Fraction(int(again), (10 ** len(again) - 1) * 10 ** len(part))
        if ten:
            value *= _power(Fraction(10), Fraction(int(ten)))
        self.at = _SPACE.match(self.text, end).end()  # type: ignore[union-attr]
        return _small(value)


_DIGIT = re.compile(r"[0-9]")


def _quotient(a: Fraction, b: Fraction) -> Fraction:
    if not b:
        raise NotKnownError
    return a / b


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1 or (not base and exponent <= 0):
        raise NotKnownError
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if size * abs(exponent.numerator) > LARGEST:
        raise NotKnownError
    return Fraction(base**exponent.numerator)


def _small(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > LARGEST:
        raise NotKnownError
    return value

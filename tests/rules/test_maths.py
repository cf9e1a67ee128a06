import json
import random
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.rules.maths import equal, gold_answer, grade, same
from rewardsmith.rules.maths import written as as_text
from rewardsmith.rules.numbers import Number, read
from rewardsmith.rules.verdict import Verdict

GSM8K = Path(__file__).parents[3] / "shared" / "data" / "gsm8k_solutions.jsonl"


def value(completion, gold, **options):
    verdict = grade(completion, gold, **options)
    return verdict.value if isinstance(verdict, Verdict) else verdict


# --- real solutions -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def solutions():
    if not GSM8K.exists():
        pytest.skip(f"{GSM8K.name} is not in ../shared/data")
    return [json.loads(line) for line in GSM8K.read_text(encoding="utf-8").splitlines()]


def test_the_publishers_labels(solutions):
    assert len(solutions) == 3957
    wrong = [
        row
        for row in solutions
        if value(row["completion"], row["answer"], answer="A:") != float(row["is_correct"])
    ]
    assert wrong == []


def test_the_references_are_right(solutions):
    for row in solutions:
        assert value(row["reference"], row["answer"], answer="A:") == 1.0


# --- rows of which the truth is known -------------------------------------------------------------


def written(x: Fraction, rng: random.Random) -> str:
    """A number in one of many forms."""
    minus, size = "-" * (x < 0), abs(x)
    if size.denominator == 1:
        n = int(size)
        digits = rng.choice([str(n), f"{n:,}", f"{n:,}".replace(",", "{,}"), f"{n}.0", f"{n:,}.00"])
    else:
        exact = f"{float(size):.4f}".rstrip("0")
        whole, rest = divmod(size, 1)
        digits = rng.choice(
            [f"{size}", rf"\frac{{{size.numerator}}}{{{size.denominator}}}"]
            + [exact] * (Fraction(exact) == size)
            + [f"{whole} {rest}"] * bool(whole)
        )
    text = minus + digits
    if digits[0].isdigit() and "/" not in digits:
        units = ["", "", " dollars", " eggs per day", r"\text{ cm}^2", " miles/hour", " students"]
        text = minus + rng.choice(["", "", "$", "\\$"]) + digits + rng.choice(units)
    frames = ["{}", "{}", "**{}**", "{}.", " {} "] + ["${}$"] * (
        text.count("$") == text.count("\\$")
    )
    return rng.choice(frames).format(text)


def other(x: Fraction, rng: random.Random) -> Fraction:
    """Another number, near in value or in its digits."""
    digits = str(abs(x.numerator))
    near = [
        x + 1, x - 1, -x, x * 10, x / 10, x * 1000, x + Fraction(1, 100), x / 2, x + 100,
        Fraction(int(digits[:-1] or "0"), x.denominator),
        Fraction(int(digits[1:] or "0"), x.denominator),
        Fraction(int("1" + digits), x.denominator),
        Fraction(int(digits + "1"), x.denominator),
        Fraction(int(digits[::-1]), x.denominator),
    ]  # fmt: skip
    return rng.choice([y for y in near if y != x and y != 0])


def generated(n: int):
    """(completion, gold, options, truth)."""
    rng = random.Random(0)
    for _ in range(n):
        x = Fraction(
            rng.randint(1, 10 ** rng.randint(1, 7)), rng.choice([1, 1, 1, 2, 3, 4, 8, 100])
        )
        x = -x if rng.random() < 0.2 else x
        truth = rng.random() < 0.5
        y = x if truth else other(x, rng)
        gold = rng.choice([str(x), f"Some work.\n#### {x}", rf"So \boxed{{{x}}}."])
        said = written(y, rng)
        quoted = f"Is it {x}, or {other(x, rng)}? {x}!\n" * rng.randint(0, 2)
        kind = rng.randint(0, 6)
        if kind == 0:
            text, where = f"{quoted}A: {x}\nNo:\nA: {other(x, rng)}\nA: {said}", "A:"
        elif kind == 1:
            text, where = f"{quoted}#### {said}\n", "####"
        elif kind == 2:
            text, where = (
                f"{quoted}\\boxed{{{x}}} was wrong; $\\boxed{{{said.strip(' .$*')}}}$.",
                "auto",
            )
        elif kind == 3:
            text, where = f"{quoted}\\boxed{{{x}}}\n<answer>{said}</answer>", "auto"
        elif kind == 4:
            text, where = f"<think>{quoted}</think>\nThe answer is {said}", "auto"
        elif kind == 5:
            text, where = f"{quoted}**Final Answer:**\n{said}\n", "auto"
        else:  # no answer
            text, where, truth = f"{quoted}I am sure of {x}\nA:", "A:", False
        yield text, gold, {"answer": where}, truth


def test_no_error_either_way_in_generated_rows():
    rows = list(generated(4000))
    assert 1200 < sum(truth for *_, truth in rows) < 2800
    wrong = [row for row in rows if value(row[0], row[1], **row[2]) != float(row[3])]
    assert wrong == []


# --- golds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gold",
    [
        18,
        18.0,
        Fraction(36, 2),
        "18",
        " 18 ",
        "#### 18",
        "9 + 9\n#### 18",
        r"It is $\boxed{18}$.",
        "$18$",
    ],
)
def test_golds(gold):
    assert value(r"\boxed{18}", gold) == 1.0
    assert value(r"\boxed{19}", gold) == 0.0


@pytest.mark.parametrize(
    "gold",
    [
        None,
        "",
        "  ",
        "####",
        r"\boxed{}",
        float("nan"),
        float("inf"),
        True,
        [18],
        b"18",
        np.bool_(True),
        np.nan,
        np.array([18]),
        torch.tensor(float("nan")),
    ],
)
def test_what_is_no_gold(gold):
    with pytest.raises(ValueError, match="gold"):
        grade(r"\boxed{18}", gold)


@pytest.mark.parametrize(
    "gold", [r"\frac{", "上海", "да", "부산", "Σπάρτη", "6 元", r"p\land q", r"\|v\|", r"A \to B"]
)
def test_a_gold_that_no_one_can_read_is_a_text(gold):
    assert value(f"<answer>{gold}</answer>", gold) == 1.0
    for answer in ("7", "cat", "x", "北京", r"\frac{1", "+"):
        assert value(f"<answer>{answer}</answer>", gold) == 0.0


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        (np.float64(1), "1.0"),
        (np.float32(0.1), "0.1"),
        (np.float16(0.1), "0.1"),
        (np.int64(5), "5"),
        (np.str_("x"), "x"),
        (np.array(np.float32(0.1)), "0.1"),
        (torch.tensor(0.1), "0.1"),
        (torch.tensor(3), "3"),
        (Decimal("0.10"), "0.10"),
        (Fraction(1, 3), "1/3"),
        (1e-7, "1e-07"),
    ],
)
def test_golds_of_other_types(gold, text):
    assert (as_text(gold), type(as_text(gold))) == (text, str)
    assert value(f"<answer>{text}</answer>", gold) == 1.0
    assert value("<answer>7</answer>", gold) == 0.0


@pytest.mark.parametrize(
    "answer",
    ["(" * 40 + "6" + ")" * 40, "{" * 1000, "^".join("x" * 301), "x^-" * 100 + "x", "x" * 4000,
     "[" * 9, r"\log " * 300],
)  # fmt: skip
def test_what_is_made_to_take_long_is_another_answer(answer, monkeypatch):
    asked = pytest.fail
    monkeypatch.setattr("rewardsmith.rules.symbolic.equal", lambda *a: asked(f"parsed {a}"))
    assert value(f"<answer>{answer}</answer>", "5") == 0.0


@pytest.mark.parametrize(
    "answer", ["9^{9^{9^9}}", r"\binom{10^9}{5\cdot 10^8}", "100000000!", r"\sqrt{((x))}"]
)
def test_what_is_only_hard_is_asked(answer, monkeypatch):
    monkeypatch.setattr("rewardsmith.rules.symbolic.equal", lambda *a: True)
    assert value(f"<answer>{answer}</answer>", "5") == 1.0


def test_brackets_around_brackets_say_nothing():
    assert value("<answer>" + "(" * 300 + "5" + ")" * 300 + "</answer>", "5") == 1.0


def test_a_gold_is_read_once():
    gold_answer.cache_clear()
    for _ in range(8):
        grade(r"\boxed{18}", "18")
    assert gold_answer.cache_info().misses == 1


def test_a_zero_says_why():
    assert grade("18", "18") == (0.0, "no answer found")
    assert grade(r"\boxed{17}", "18") == (0.0, "answered '17'")


# --- equality -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "truth"),
    [
        ("18%", "18", True),
        ("18%", "0.18", True),
        ("18%", "18%", True),
        ("18%", "1800", False),
        ("0.18", "18", False),
        ("18 dollars", "18", True),
        ("18 dollars", "$18", True),
        ("18 dollars", "18 eggs", False),
        ("5 cm", "5 centimeters", True),
        ("5 cm", "5 m", False),
        ("5 cm", "0.05 m", False),
    ],
)
def test_numbers(a, b, truth):
    assert same(read(a), read(b)) is truth
    assert same(read(b), read(a)) is truth


EQUAL = [
    ("Paris", "paris"),
    (r"\text{Not  enough}", "not enough"),
    ("10:30", "10:30"),
    ("2516_8", "2516_{8}"),
    ("(1, 2)", r"\left( 1.0, \frac{4}{2} \right)"),
    ("[1, 2)", "[1,2)"),
    (r"\{1, 2\}", r"\{2, 1, 1\}"),
    ("1, 2", "2 and 1"),
    (r"\{1, 2\}", "1, 2"),
    ("1,234 and 5", "5, 1234"),
    (r"((1,2), (3,4))", "((1, 2), (3, 4.0))"),
    (r"[1,2] \cup (3,4)", r"(3, 4) \cup [1, 2]"),
    (r"\emptyset", r"\{\}"),
    ("x = 5", "5"),
    ("f(x) = 5", "5"),
    ("x = 5", "x=5.0"),
    ("x = 2, x = 3", "x = 3, x = 2"),
    (r"\pm 5", "5, -5"),
    (r"1 \pm 2", "3, -1"),
    ("½", "0.5"),
    ("", ""),
    ("(1,,2)", "(1, , 2)"),
    (r"[-2, 7]", r"x \in [-2,7]"),
    (r"x \in [-2, 7]", r"x \in [-2,7.0]"),
    (r"(2, \infty)", r"\{x \mid x > 2\}"),
    (r"18\pi", r"18\pi \text{ square units}"),
    (r"2\sqrt{3} \text{ cm}", r"\sqrt{12}"),
    (r"(x, y) = (1, 2)", "(1, 2)"),
    (r"(x, y) = (1, 2)", "y = 2, x = 1"),
    ("x = 5, y = 6", "5, 6"),
    ("x = 5, y = 6", "y = 6, x = 5"),
    ("x = 5, y = 6", "(5, 6)"),
    ("1, 2, 2", "2, 1, 2"),
    ("{1, 2}", r"\{2, 1\}"),
    ("1 < x < 3", "3 > x > 1"),
    (r"1,2,\ldots,10", r"1, 2, \dots, 10"),
    ("λ + 1", r"1 + \lambda"),
    ("ΣΠΆΡΤΗ", "Σπάρτη"),
    ("北京, 上海", "上海，北京"),
]
DIFFERENT = [
    ("Paris", "Parsi"),
    ("10:30", "10:31"),
    ("12_5", "12_6"),
    ("12_5", "12"),
    ("(1, 2)", "(2, 1)"),
    ("(1, 2)", "[1, 2]"),
    ("(1, 2)", "1, 2"),
    ("(1, 2)", "(1, 2, 2)"),
    ("1, 2", "1, 2, 2"),
    ("1, 2", "1"),
    ("5", "5, 5"),
    (r"\{5\}", "5"),
    ("1,00", "100"),
    ("1,00", "1"),
    ("x = 5", "y = 5"),
    ("x = 5", "x = 5.1"),
    ("5", "4 + 4 = 5"),
    (r"\pm 5", "5"),
    (r"\pm 5", r"\pm 6"),
    ("x", "X"),
    ("x'", "x"),
    ("5", "5xy"),
    ("5", "5m"),
    ("1 2", "12"),
    ("(1,,2)", "(1, 2)"),
    (r"x \in [-2, 7]", r"y \in [-2, 7]"),
    (r"(2, \infty)", r"\{x \mid x \ge 2\}"),
    (r"18\pi \text{ cm}", r"18\pi \text{ m}"),
    ("5 apples", "5 apples 6"),
    ("x = 5, y = 6", "6, 5"),
    ("x = 5, y = 6", "(6, 5)"),
    ("x = 5, y = 6", r"\{5, 6\}"),
    ("1, 2, 2", "1, 2, 1"),
    ("1 < x < 3", r"3 > x \ge 1"),
    ("18", r"18\approx20"),
    ("18", r"18\ldots"),
    ("18", "18 == 20"),
    ("3.5", r"2\frac{3}{2}"),
    ("3", r"2\frac{3}{2}"),
    ("A", r"A \to B"),
]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("a", "b"), EQUAL)
def test_equal(a, b, fast):
    assert equal(a, b, fast=fast)
    assert equal(b, a, fast=fast)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_different(a, b, fast):
    assert not equal(a, b, fast=fast)
    assert not equal(b, a, fast=fast)


numbers = st.builds(
    Number,
    st.sampled_from([Fraction(18), Fraction(18, 100), Fraction(1, 3)]),
    st.booleans(),
    st.sampled_from(["", "eggs", "$", "dollars"]),
)


@given(numbers, numbers)
def test_sameness_does_not_depend_on_who_is_gold(a, b):
    assert same(a, b) == same(b, a)
    assert same(a, a)


@given(st.text(max_size=60), st.sampled_from(["18", "Paris", "(1, 2)", r"\{1, 2\}"]))
def test_no_text_breaks_it(text, gold):
    # Without sympy: what it makes of garbage is tested by itself.
    found = [c for c in text if c not in "xyz\\"]
    assert value("<answer>" + "".join(found).replace("<", "") + "</answer>", gold) in (0.0, 1.0)


@pytest.mark.parametrize("text", ["1 000 000", r"1\ 000\ 000", "1,000,000", r"1000000^\circ C"])
def test_forms_that_only_the_exact_reader_knows(text):
    assert equal("1000000", text)
    assert not equal("1000001", text)

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from math_verify.errors import TimeoutException

from rewardsmith.rules import symbolic
from rewardsmith.rules.symbolic import equal

EQUAL = [
    ("x^2-1", "(x-1)(x+1)"),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}"),
    ("18", r"\sqrt{324}"),
    (r"\sin^2 x + \cos^2 x", "1"),
    (r"\cos 60^\circ", r"\frac{1}{2}"),
    (r"\log_2 8", "3"),
    ("5!", "120"),
    (r"\binom{5}{2}", "10"),
    (r"\sum_{k=1}^{10} k", "55"),
    (r"\int_0^1 x dx", r"\frac{1}{2}"),
    (r"e^{i\pi}", "-1"),
    ("3+4i", "4i+3"),
    ("0.1x", r"\frac{x}{10}"),
    ("2x = 10", "x = 5"),
    ("y = 2x + 1", "2x - y + 1 = 0"),
    ("x > 3", "3 < x"),
    ("-x < -2", "x > 2"),
    (r"(3, \infty)", "x > 3"),
    ("x > 3", r"(3, \infty)"),
    ("1 < x < 2", "(1, 2)"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
    r"\begin{pmatrix} 1 & 2 \\ 3 & \frac{8}{2} \end{pmatrix}"),
    ("10^{9999}", r"\frac{10^{10000}}{10}"),
    (r"f(x) + 1", "1 + f(x)"),
    (r"\tan x", r"\frac{\sin x}{\cos x}"),
    ("2^{2^x}", "4^{2^{x-1}}"),
]  # fmt: skip
DIFFERENT = [
    ("1/2^{99}", "1/2^{98}"),
    (r"\sqrt{2}", "1.4142135623730951"),
    (r"\pi", "3.141593"),
    (r"\frac{1}{3}", "0.333333333333"),
    (r"\sqrt{2} + 10^{-200}", r"\sqrt{2}"),
    ("x + 10^{-30}", "x"),
    ("3*x-1*y+13=0", "3x+4y+14=0"),
    ("x = 5", "y = 5"),
    ("x^2 = 4", "x = 2"),
    ("x < 3", "x > 3"),
    ("x < 3", r"x \le 3"),
    ("-x < -2", "x < 2"),
    (r"x \ne 5", "x = 5"),
    ("|x|", "x"),
    (r"\sqrt{x^2}", "x"),
    ("4x^2", "16x"),
    ("x+y", "x+z"),
    (r"\infty", r"-\infty"),
    (r"\infty", "5"),
    (r"\frac{1}{0}", r"\frac{2}{0}"),
    ("[1, 2]", "(1, 2)"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
    r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}"),
    (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    ("10^{9999}", "10^{9998}"),
    ("3 ab", "3"),
    ("x+20", "|x+20|"),
    ("x+20", r"\sqrt{(x+20)^2}"),
    ("x", r"\max(x,-20)"),
    ("x", r"\frac{|x+11|+x+11}{2}-11"),
    ("y=x+20", "y=|x+20|"),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), EQUAL)
def test_equal(a, b):
    assert equal(a, b)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_different(a, b):
    assert not equal(a, b)
    assert not equal(b, a)


@pytest.mark.parametrize(("a", "b"), [EQUAL[0], EQUAL[1], EQUAL[12], DIFFERENT[9], DIFFERENT[13]])
def test_it_does_not_matter_when_and_what_was_asked_before(a, b):
    assert len({equal(a, b) for _ in range(3)}) == 1


@pytest.mark.parametrize(
    "answer", ["", "\\", "}{", r"\frac{", "+", "\x00", "\ud800", "(" * 60, "?!"]
)
def test_an_answer_that_says_nothing(answer):
    assert equal("x", answer) is False


@pytest.mark.parametrize("gold", [r"x \in [1, 2]", "x + 1", "[1, 2]", "x < 1", r"\infty"])
@pytest.mark.parametrize(
    "answer",
    [r"y \in [1, 3]", r"y \in \{1\}", "(1, 2, 3)", r"\begin{pmatrix} 1 \end{pmatrix}", "y < x < 1",
     "i < 2",
     r"\frac{0}{0}", r"\sqrt{-\infty}", r"\log 0"],
)  # fmt: skip
def test_what_cannot_be_compared_is_another(gold, answer):
    assert equal(gold, answer) is False


@pytest.mark.parametrize("gold", ["", r"\frac{", "}{"])
def test_a_gold_that_says_nothing(gold):
    assert equal(gold, "5") is False


def test_it_works_in_any_thread():
    """Math-verify's own deadlines would raise there."""
    found = []
    thread = threading.Thread(target=lambda: found.append(equal("x^2-1", "(x-1)(x+1)")))
    thread.start()
    thread.join()
    assert found == [True]


def test_no_alarm_is_set(monkeypatch):
    monkeypatch.setattr("signal.alarm", lambda seconds: pytest.fail("an alarm was set"))
    assert not equal(r"\sqrt{5}", "2")


def test_its_own_exception_becomes_a_timeout(monkeypatch):
    """It derives from BaseException: nothing else would catch it."""

    def late(*args, **kwargs):
        raise TimeoutException("late")

    monkeypatch.setattr(symbolic.math_verify, "parse", late)
    with pytest.raises(TimeoutError, match="late"):
        equal("x", "y")


def test_it_says_nothing(caplog, capfd):
    equal("x", r"\frac{")
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


@settings(max_examples=15)
@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 9))
def test_small_polynomials_are_multiplied_out(a: int, b: int, c: int) -> None:
    gold = rf"\frac{{(x+{a})(y+{b})^2}}{{{c}}}"
    same = rf"\frac{{xy^2+2\cdot({b})xy+({b * b})x+({a})y^2+2\cdot({a * b})y+({a * b * b})}}{{{c}}}"
    assert equal(gold, same)
    assert not equal(gold, same + r"+\frac{1}{10^9}")


def test_large_polynomials_are_left_to_points() -> None:
    assert equal("(x+1)^{300}", "(x+1)^{299}(x+1)")
    assert not equal("(x+1)^{300}", "(x+1)^{301}")

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.rules.expressions import case_differs, is_maths
from rewardsmith.rules.forms import canonical, equation, form_of, is_name
from rewardsmith.rules.glyphs import plain

FORMS = {
    "5": ("one", ("5",)),
    "1,234": ("one", ("1,234",)),
    "1,234, 5": ("list", ("1,234", "5")),
    "1,2": ("list", ("1", "2")),
    "1 and 2 or 3": ("list", ("1", "2", "3")),
    "(1, 2)": ("()", ("1", "2")),
    "(1,234)": ("()", ("1", "234")),
    "[1, 2)": ("[)", ("1", "2")),
    "(1 + 2)": ("one", ("(1 + 2)",)),
    "(1,2), (3,4)": ("list", ("(1,2)", "(3,4)")),
    "(1, 2) (3, 4)": ("one", ("(1, 2) (3, 4)",)),
    r"\{1, 2\}": ("{}", ("1", "2")),
    r"\{5\}": ("{}", ("5",)),
    r"\{\}": ("{}", ()),
    r"\emptyset": ("{}", ()),
    r"[1,2] \cup (3,4)": ("union", ("[1,2]", "(3,4)")),
    r"\frac{1}{2}, 3": ("list", (r"\frac{1}{2}", "3")),
    "band or order": ("list", ("band", "order")),
    "f(1, 2)": ("one", ("f(1, 2)",)),
    "": ("one", ("",)),
    "((": ("one", ("((",)),
    "))": ("one", ("))",)),
}


@pytest.mark.parametrize(("text", "form"), FORMS.items())
def test_forms(text, form):
    assert form_of(text) == form


@given(st.text(alphabet="()[]{}\\,= and1x", max_size=40))
def test_nothing_breaks_them(text):
    assert all(isinstance(item, str) for item in form_of(text).items)
    assert all(isinstance(side, str) for side in equation(text))


def test_equations():
    assert equation("x = 5") == ("x", "5")
    assert equation("a = b = c") == ("a", "b", "c")
    assert equation("x <= 5") == ("x <= 5",)
    assert equation("f(x = 5)") == ("f(x = 5)",)


@pytest.mark.parametrize("text", ["x", "f(x)", "a_1", "a_{12}", r"\theta", "y'"])
def test_names(text):
    assert is_name(text)


@pytest.mark.parametrize("text", ["2x", "5", "x+1", "xy", ""])
def test_no_names(text):
    assert not is_name(text)


@pytest.mark.parametrize(
    "text", ["2xy", r"\sin x", "sqrt(2)", "abc", r"\begin{pmatrix}1\end{pmatrix}"]
)
def test_mathematics(text):
    assert is_maths(text)


@pytest.mark.parametrize("text", ["Paris", "not 5", "12_5", "x'", "5 dollars", "the x"])
def test_words(text):
    assert not is_maths(text)


def test_case():
    assert case_differs("x", "X")
    assert not case_differs("X", "X + Y")
    assert not case_differs(r"\Delta", "d")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (r"\left( 1 \right)", "(1)"),
        ("x^{2}", "x^2"),
        (r"\dfrac{1}{2}", r"\frac{1}{2}"),
        ("a  b", "a b"),
    ],
)
def test_layout(a, b):
    assert canonical(a) == canonical(b)


@pytest.mark.parametrize(("a", "b"), [("1 2", "12"), ("x^{23}", "x^{2}3"), ("(1)", "1")])
def test_what_is_no_layout(a, b):
    assert canonical(a) != canonical(b)


@pytest.mark.parametrize(
    ("text", "ascii_text"),
    [("−5", "-5"), ("５", "5"), ("٥", "5"), ("x²", "x^{2}"), ("3½", "3 1/2"), ("½", "(1/2)"),
    ("6×7", "6*7"),
     (r"\text{cm}", "cm"), ("6π", r"6\pi"), ("１，２３４", "1,234")],
)  # fmt: skip
def test_glyphs(text, ascii_text):
    assert plain(text) == ascii_text

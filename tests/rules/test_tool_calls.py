"""Tool calls in part: the golden values, the invariants, and what cannot be read."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.rules.calls import Call, NotCalls, calls_of, reference_of, same
from rewardsmith.rules.tool_calls import (
    length_score,
    score_tool_calls,
    share,
    well_formed,
)
from rewardsmith.rules.tool_schedule import growing_length, smooth, two_stage

GOLD = [{"name": "a", "parameters": {"x": 1, "y": 2}}]


def call(name: str, **parameters: Any) -> Call:
    return Call(name, parameters)


def block(*calls: Any) -> str:
    return "<tool_call>\n" + "\n".join(map(json.dumps, calls)) + "\n</tool_call>"


def dumped(calls: list[Call]) -> list[dict[str, Any]]:
    return [{"name": c.name, "parameters": dict(c.parameters)} for c in calls]


def score(completion: Any, gold: Any = GOLD, **options: Any) -> float:
    value = score_tool_calls(completion, gold, **options).value
    assert value is not None
    return value


# --- the score ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "value"),
    [
        ([{"name": "a", "parameters": {"x": 1, "y": 3}}], 1.5),
        ([{"name": "b", "parameters": {"x": 1, "y": 2}}], -3.0),
        ([*GOLD, {"name": "c", "parameters": {}}], 2.25),
        (GOLD, 3.0),
        # J of the argument names is 2/3: (1 + 2/3 + 2) / 4.
        ([{"name": "a", "parameters": {"x": 1, "y": 2, "z": 3}}], 6 * (11 / 3) / 4 - 3),
        # A call twice: J of the names is 1/2.
        ([*GOLD, *GOLD], 2.25),
    ],
)
def test_golden_values(found: list[Any], value: float) -> None:
    assert score(block(*found)) == pytest.approx(value)
    # Bounds are any; the share is the same.
    unit = score(block(*found), correct=(0.0, 1.0))
    assert unit == pytest.approx((value + 3) / 6)


@pytest.mark.parametrize(
    ("found", "fine", "coarse", "refined", "intermediate"),
    [
        # Both right, in the other order.
        ([call("b", z=1), call("a", x=1)], 1, 0, 1, 1),
        # One value wrong: (1 + 1 + 2) / 5, (1 + 0 + 1) / 3.
        ([call("a", x=2), call("b", z=1)], 4 / 5, 0, 4 / 5, 2 / 3),
        # One argument's name wrong: (1 + 0 + 2) / 5.
        ([call("a", y=1), call("b", z=1)], 3 / 5, 0, 3 / 5, 2 / 3),
        # One argument too many: J = 1/2 or 0, the value counts.
        ([call("a", x=1, y=1), call("b", z=1)], 4.5 / 5, 0, 4 / 5, 2 / 3),
        # One name wrong: (1/3 + 0 + 2) / 5, and names count nothing where they must match.
        ([call("c", x=1), call("b", z=1)], (1 / 3 + 2) / 5, 0, 2 / 5, (1 / 3 + 1) / 3),
    ],
)
def test_variants(
    found: list[Call], fine: float, coarse: float, refined: float, intermediate: float
) -> None:
    gold = [call("a", x=1), call("b", z=1)]
    shares = [share(gold, found, v) for v in ("fine", "coarse", "refined", "intermediate")]
    assert shares == pytest.approx([fine, coarse, refined, intermediate])


def test_strict_is_about_order() -> None:
    gold = [call("a", x=1, y=1), call("b")]
    swapped = [call("b"), call("a", y=1, x=1)]
    assert share(gold, swapped, "refined") == 1.0
    # Names 0; of `a` the keys 0 and the values 2; of `b` the keys 1.
    assert share(gold, swapped, "refined", strict=True) == 3 / 5
    # The order of keys is not one of JSON.
    assert share(gold, [gold[0], gold[1]], "refined", strict=True) == 1.0
    assert share([call("a", x=1, y=1)], [call("a", y=1, x=1)], "coarse") == 1.0


def test_greedy_may_take_what_another_needs() -> None:
    gold = [call("f", a=1), call("f", a=2, b=3)]
    # Greedy gives the first the call with a=1, which is all that the second could use as well.
    found = [call("f", a=1, b=3), call("f", a=1)]
    assert share(gold, found) == share(gold, found, matching="optimal") == (1 + 2 + 2) / 6
    gold = [call("f", a=1, b=1), call("f", a=1, b=2)]
    found = [call("f", a=1, b=2), call("f", a=1, c=1)]
    assert share(gold, found) < share(gold, found, matching="optimal")


names = st.sampled_from("ab")
parameters = st.dictionaries(st.sampled_from("xyz"), st.integers(0, 2), max_size=3)
calls = st.lists(st.builds(Call, names, parameters), max_size=4)
some = st.lists(st.builds(Call, names, parameters), min_size=1, max_size=4)
variants = st.sampled_from(["fine", "coarse", "refined", "intermediate"])
matchings = st.sampled_from(["greedy", "optimal"])


@given(some, calls, variants, st.booleans(), matchings)
def test_a_share_is_one_and_the_reference_has_all_of_it(
    gold: list[Call], found: list[Call], variant: Any, strict: bool, matching: Any
) -> None:
    assert 0 <= share(gold, found, variant, strict, matching) <= 1 + 1e-12
    assert share(gold, gold, variant, strict, matching) == 1.0


@given(some, calls, variants, st.booleans())
def test_the_optimal_matching_is_never_worse(
    gold: list[Call], found: list[Call], variant: Any, strict: bool
) -> None:
    greedy = share(gold, found, variant, strict)
    assert share(gold, found, variant, strict, "optimal") >= greedy - 1e-12


@given(st.dictionaries(st.sampled_from("abcd"), parameters, min_size=1), st.randoms())
def test_calls_of_different_names_may_come_in_any_order(by_name: Any, random: Any) -> None:
    found = [Call(name, values) for name, values in by_name.items()]
    gold = [call("a", x=1, y=1), call("b", z=0)]
    shuffled = random.sample(found, len(found))
    assert share(gold, shuffled) == pytest.approx(share(gold, found))
    # The shortcut for equal lists changes nothing.
    assert share(found, shuffled) == pytest.approx(1.0)


@given(some, calls, st.data(), variants.filter(lambda v: v != "coarse"), matchings)
def test_a_value_put_right_never_costs(
    gold: list[Call], found: list[Call], data: st.DataObject, variant: Any, matching: Any
) -> None:
    # One call of each name: nothing competes, so that more in a pair is more in the total.
    gold, found = ([*{c.name: c for c in calls}.values()] for calls in (gold, found))
    i = data.draw(st.integers(0, len(gold) - 1))
    better = [
        Call(
            p.name, {**p.parameters, **{k: v for k, v in g.parameters.items() if k in p.parameters}}
        )
        if p.name == (g := gold[i]).name
        else p
        for p in found
    ]
    before = share(gold, found, variant, matching=matching)
    assert share(gold, better, variant, matching=matching) >= before - 1e-12


def test_one_call_is_credited_once() -> None:
    gold = [call("a", x=1), call("a", x=1)]
    # J of the names 1/2, one pair of 2 in all, of 5.
    assert share(gold, [call("a", x=1)]) == (0.5 + 2) / 5


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (None, None, True),
        ("1", 1, False),
        ({"a": [1, {"b": None}]}, {"a": [1.0, {"b": None}]}, True),
        ({"a": [1, True]}, {"a": [1, 1]}, False),
        ([1], [1, 2], False),
        ({"a": 1}, {"b": 1}, False),
    ],
)
def test_equality_is_that_of_json(left: Any, right: Any, equal: bool) -> None:
    assert same(left, right) is same(right, left) is equal


# --- reading --------------------------------------------------------------------------------------

ONE = {"name": "a", "parameters": {"x": 1}}
TWO = {"name": "b", "arguments": {}}
READ = [call("a", x=1), call("b")]


@pytest.mark.parametrize(
    "completion",
    [
        block(ONE, TWO),
        f"<tool_call>{json.dumps([ONE, TWO], indent=2)}</tool_call>",
        f"<tool_call>{json.dumps(ONE, indent=2)}\n\n{json.dumps(TWO)}</tool_call> and so on",
        f"<tool_call>{json.dumps(ONE)}</tool_call>\n<tool_call>{json.dumps(TWO)}</tool_call>",
        f"<think><tool_call> is how I call.</think>{block(ONE, TWO)}",
        {"role": "assistant", "content": block(ONE, TWO)},
        [
            {
                "role": "assistant",
                "tool_calls": [
                    {"function": {"name": "a", "arguments": '{"x": 1}'}},
                    {"type": "function", "id": "1", "function": {"name": "b", "arguments": ""}},
                ],
            }
        ],
        [
            {"role": "assistant", "content": None, "tool_calls": [{"function": ONE}]},
            {"role": "tool", "content": block(ONE)},
            {"role": "assistant", "content": [{"type": "text", "text": block(TWO)}]},
        ],
    ],
)
def test_ways_to_write_the_same_calls(completion: Any) -> None:
    assert calls_of(completion) == READ
    assert score(completion, [ONE, TWO], form=(0.0, 0.0)) == 3.0


@pytest.mark.parametrize(
    ("completion", "why"),
    [
        ("", "no <tool_call>"),
        ("a(x=1)", "no <tool_call>"),
        ("<tool_call></tool_call>", "is empty"),
        ("<tool_call>" + json.dumps(GOLD[0]), "is not closed"),
        ("<tool_call>a(x=1)</tool_call>", "no JSON"),
        ("<tool_call>{'name': 'a'}</tool_call>", "no JSON"),
        ("<tool_call>" + json.dumps(GOLD[0]) + " trailing</tool_call>", "no JSON"),
        ("<tool_call>" + "[" * 100_000 + "</tool_call>", "no JSON"),
        ('<tool_call>{"name": "a", "parameters": {"x": NaN}}</tool_call>', "no JSON: NaN"),
        (
            '<tool_call>{"name": "a", "parameters": {"x": ' + "9" * 5000 + "}}</tool_call>",
            "no JSON",
        ),
        (block({"parameters": {}}), "a call has no name"),
        (block({"name": 3, "parameters": {}}), "a call has no name"),
        (block("a"), "a call has no name"),
        (block({"name": "a"}), "call 'a' has no parameters"),
        (block({"name": "a", "parameters": [1]}), "no parameters, or some that are no mapping"),
        (block({"name": "a", "parameters": "{}"}), "no parameters, or some that are no mapping"),
        ([{"role": "assistant", "tool_calls": 3}], "are no list"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": "a"}}]}], "has no parameters"),
        (
            [
                {
                    "role": "assistant",
                    "tool_calls": [{"function": {"name": "a", "arguments": "x=1"}}],
                }
            ],
            "no JSON",
        ),
    ],
)
def test_what_cannot_be_read_is_the_minimum_and_says_why(completion: Any, why: str) -> None:
    with pytest.raises(NotCalls, match=why):
        calls_of(completion)
    verdict = score_tool_calls(completion, GOLD)
    assert verdict.value == -3.0
    assert why in verdict.why


def test_one_unreadable_call_spoils_the_list() -> None:
    assert score(block(*GOLD, {"name": "b"}), form=(0.0, 0.0)) == -3.0


@pytest.mark.parametrize(
    ("gold", "template"),
    [
        (GOLD, "tools"),
        (GOLD[0], "tools"),
        (json.dumps(GOLD), "tools"),
        (json.dumps(GOLD[0]), "tools"),
        ("<think>x</think>\n" + block(*GOLD), "tools"),
        (block(*GOLD) + "\n<response>done</response>", "both"),
        (
            [{"type": "function", "function": {"name": "a", "arguments": '{"x": 1, "y": 2}'}}],
            "tools",
        ),
    ],
)
def test_ways_to_write_a_reference(gold: Any, template: str) -> None:
    assert reference_of(gold) == ([call("a", x=1, y=2)], template)


@pytest.mark.parametrize(
    ("gold", "template"),
    [([], "answer"), ("[]", "answer"), ("<response>hello</response>", "answer"), ("42", "neither")],
)
def test_a_reference_without_calls_has_no_correctness(gold: Any, template: str) -> None:
    assert reference_of(gold) == ([], template)
    assert score("nonsense", gold) == 0.0
    assert score(block(*GOLD), gold) == 0.0


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        (None, "NoneType, not a list"),
        (3, "int, not a list"),
        ("", "is empty"),
        ("<tool_call>\n</tool_call>", "is empty"),
        ("[1", "no JSON"),
        ('"a"', None),
        ([{"name": "a"}], "has no parameters"),
        ([{"parameters": {}}], "has no name"),
        (["a"], "has no name"),
        ([{"name": "a", "parameters": [1]}], "no mapping"),
    ],
)
def test_a_broken_reference_is_an_error(gold: Any, message: str | None) -> None:
    if message is None:
        # Any other text is a response that neither calls nor answers.
        assert reference_of(gold) == ([], "neither")
        return
    with pytest.raises(ValueError, match=message):
        score_tool_calls("", gold)


# --- form, length, schedule -----------------------------------------------------------------------

THINK, TOOLS, ANSWER = "<think>a\nb</think>", block(*GOLD), "<response>ok</response>"


@pytest.mark.parametrize(
    ("completion", "templates"),
    [
        (THINK, {"neither"}),
        (f"{THINK}\n{TOOLS}", {"tools"}),
        (f"{THINK}\n{ANSWER}", {"answer"}),
        (f"{THINK}\n{TOOLS}\n{ANSWER}", {"both"}),
        (f"\n{THINK}\n{TOOLS}\n{ANSWER} \n", {"both"}),
        (f"{THINK}\n{ANSWER}\n{TOOLS}", set()),
        (f"{THINK}{TOOLS}", set()),
        (f"{THINK}\n\n{TOOLS}", set()),
        (f"{THINK}\n{TOOLS} and more", set()),
        (f"{THINK}\n{TOOLS}\n{TOOLS}", set()),
        (f"{THINK}\n{THINK}\n{TOOLS}", set()),
        (f"well: {THINK}", set()),
        ("<think>a <think>b</think>", set()),
        (f"<think>I use <tool_call>.</think>\n{TOOLS}", set()),
        (TOOLS, set()),
        (f"{THINK}\n<tool_call>{json.dumps(GOLD[0])}</tool_call>", set()),
        (f"{THINK}\n<tool_call>\n</tool_call>", set()),
        ("<think>open", set()),
        ("</think><think>", set()),
    ],
)
def test_forms(completion: str, templates: set[str]) -> None:
    known = ("tools", "answer", "both", "neither")
    assert {t for t in known if well_formed(completion, t)} == templates
    for template in known:
        paid = score(completion, [], template=template, form=(-0.5, 2.0))
        assert paid == (2.0 if template in templates else -0.5)


def test_calls_of_messages_have_no_template_to_be_seen() -> None:
    good = [{"role": "assistant", "tool_calls": [{"function": GOLD[0]}]}]
    bad = [{"role": "assistant", "tool_calls": [{"function": {"name": "a"}}]}]
    assert (score(good), score(bad)) == (4.0, -3.0)


@pytest.mark.parametrize("gold", [[], "[]", "<response>no call</response>", "42"])
def test_calls_that_nobody_wanted_are_no_form(gold: Any) -> None:
    removed = {"name": "rm", "parameters": {"path": "/"}}
    called = [{"role": "assistant", "tool_calls": [{"function": removed}]}]
    assert score(called, gold) == score(block(removed), gold) == 0.0
    # A template that is asked for is another matter.
    assert score(called, gold, template="tools") == score(called, gold, template="both") == 1.0
    assert score(called, GOLD, template="answer") == -3.0


def test_the_hack_of_further_calls_and_what_stops_it() -> None:
    guesses = block(*({"name": "a", "parameters": {"x": 1, "y": k}} for k in range(100)))
    wrong = block({"name": "a", "parameters": {"x": 1, "y": 3}})
    assert score(guesses) == pytest.approx(1.515)
    assert score(wrong) == 1.5
    assert score(guesses, variant="intermediate") == pytest.approx(0.03)
    assert score(wrong, variant="intermediate") == 0.0
    assert score(guesses, variant="coarse") == -3.0
    # One more than wanted costs a tenth, 99 more all that can be lost.
    assert score(guesses, extra=0.1) == -3.0
    assert score(block(*GOLD, *GOLD), extra=0.1) == pytest.approx(2.25 - 0.1)
    assert score(block(*GOLD), extra=0.1) == 3.0
    assert score(wrong, extra=0.1) == 1.5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<think>" + "w " * 256 + "</think>", 0.5),
        ("<think>" + "w " * 5000 + "</think>", 1.0),
        ("<think>one two three</think>", 0.01),
        ("<think></think>", 0.0),
        ("w " * 600, 0.0),
        ("<think>" + "w " * 600, 0.0),
        ("w " * 600 + "</think>", 0.0),
    ],
)
def test_length(text: str, value: float) -> None:
    assert length_score(text, 512) == value
    assert score(text, [], length=512.0, form=(0.0, 0.0)) == value


def test_schedules_by_hand() -> None:
    assert two_stage(29) == {"correct": (-1.0, 1.0), "form": (0.0, 1.0)}
    assert two_stage(30) == {"correct": (-3.0, 3.0), "form": (0.0, 0.5)}
    assert smooth(0) == {"correct": (-2.0, 2.0), "form": (-2.0, 2.0)}
    assert smooth(75) == {"correct": (-2.5, 2.5), "form": (-1.0, 1.5)}
    assert smooth(300) == {"correct": (-3.0, 3.0), "form": (-1.0, 1.0)}
    assert growing_length(0) == {"length": 384}
    assert growing_length(105) == {"length": 640}


# --- hostile completions --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "completion",
    [
        "<tool_call>" * 300_000,
        "<tool_call>{}</tool_call>" * 100_000,
        "<tool_call>" + " " * 5_000_000 + "</tool_call>",
        "<tool_call>" + '{"name": "a", "parameters": {"x": 1}}\n' * 30_000 + "</tool_call>",
        "<tool_call>" + '{"a":' * 500_000 + "</tool_call>",
        "<think>" * 500_000 + "\x00\ud800",
        '<tool_call>{"name": "' + "\ud800\x00" * 1_000_000 + '"}</tool_call>',
    ],
)
@pytest.mark.parametrize("matching", ["greedy", "optimal"])
def test_time_is_linear_in_the_completion(completion: str, matching: Any) -> None:
    began = time.process_time()
    score(completion, [*GOLD, *GOLD], matching=matching, length=512.0)
    assert time.process_time() - began < 5.0


@given(st.text() | st.text(alphabet='<>/tool_callthink{}[]":,\n\x00\ud800 '))
def test_any_text_has_a_score(text: str) -> None:
    assert -3.0 <= score(text) <= 4.0
    assert -3.0 <= score(f"<tool_call>{text}</tool_call>") <= 4.0

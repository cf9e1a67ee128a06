"""Completions on the study page: all that was written is data, and there is not too much of it."""

import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.report import figures
from rewardsmith.report.figures import plotly_js
from rewardsmith.report.samples import LIMIT, inline, samples_html, thinned
from rewardsmith.report.study import study_html

COLOR = {"right": "#3366a8", "long": "#d9822b"}


def sample(**changes):
    return {
        "reward": "long",
        "seed": 0,
        "steps": 10,
        "problem": 3,
        "prompt": "1+1=",
        "completion": "2",
        "total": 1.0,
        "status": "scored",
        "error": "",
        "parts": {"right": 1.0, "length": None},
        "gold": 1.0,
    } | changes


class Data(HTMLParser):
    """What the script of the page reads, as a browser's parser finds it."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self._inside = [], "", False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._inside = ("id", "samples-data") in attrs

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.text += data


@settings(max_examples=20)
@given(st.text(), st.text())
def test_whatever_a_model_writes_stays_data(prompt, completion):
    html = str(samples_html([sample(prompt=prompt, completion=completion)], COLOR))
    plain = Data(str(samples_html([sample()], COLOR)))
    page = Data(html)
    assert page.tags == plain.tags
    row = json.loads(page.text)["rows"][0]
    assert row[4:6] == [prompt, completion]


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<!--", "\u2028", "a & b"])
def test_nothing_in_the_json_ends_its_element(text):
    made = inline({"text": text, text: 1})
    assert json.loads(made) == {"text": text, text: 1}
    assert not re.search("[<>&\u2028\u2029]", made)


def test_a_number_that_json_has_not_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        inline([float("nan")])


def test_the_script_is_given_what_it_filters_by():
    rows = [
        sample(),
        sample(
            reward="right",
            parts={"right": 0.123456},
            total=None,
            status="failed",
            error="length: it broke",
        ),
    ]
    data = json.loads(Data(str(samples_html(rows, COLOR, first="long"))).text)
    assert data["parts"] == ["right", "length"]
    assert data["first"] == "long"
    assert data["color"] == COLOR
    assert data["rows"][0] == ["long", 0, 10, 3, "1+1=", "2", 1.0, "scored", "", [1.0, None], 1.0]
    assert data["rows"][1][6:] == [None, "failed", "length: it broke", [0.1235, None], 1.0]
    assert json.loads(Data(str(samples_html(rows, COLOR, first="gone"))).text)["first"] == "right"


def test_long_texts_are_cut_and_say_so():
    data = json.loads(Data(str(samples_html([sample(completion="x" * 5000)], COLOR))).text)
    assert data["rows"][0][5].endswith("xxx … (3,800 more characters)")


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60))
def test_thinning_keeps_as_many_of_each_evaluation(evaluations, each, limit):
    rows = [sample(steps=step, problem=i) for step in range(evaluations) for i in range(each)]
    kept = thinned(rows, limit)
    assert len(kept) <= max(limit, 0)
    if len(rows) <= limit:
        assert kept == rows
    elif evaluations > limit:
        chosen = [r["steps"] for r in kept]
        assert len(chosen) == limit
        gaps = {b - a for a, b in zip(chosen, [*chosen[1:], evaluations], strict=True)}
        assert gaps <= {evaluations // limit, evaluations // limit + 1}
    else:
        places = {s: [r["problem"] for r in kept if r["steps"] == s] for s in range(evaluations)}
        assert len({tuple(found) for found in places.values()}) == 1
        assert all(len(set(found)) == len(found) >= 1 for found in places.values())


def test_the_cap_is_told():
    rows = [sample(steps=step, problem=i) for step in range(10) for i in range(400)]
    html = str(samples_html(rows, COLOR))
    assert f"{LIMIT:,} completions of 4,000 that were kept" in html
    assert len(html) < 400_000


def test_without_samples_there_is_no_section(make_study):
    assert samples_html([], COLOR) == ""
    assert "Completions over time" not in study_html(*make_study())


def test_a_sample_of_an_unknown_reward_is_refused(make_study):
    with pytest.raises(ValueError, match="a sample is of reward 'other'"):
        study_html(*make_study(), [sample(reward="other")])


def test_a_language_study_speaks_of_rows_and_completions(make_study):
    summary, records, _ = make_study()
    summary |= {"kind": "language", "dataset": "sums"}
    del summary["env"]
    for record in records:
        record |= {"entropy": 0.5, "truncated": 0.0, "pass_at_k": None, "unscored": 0.1}
    html = study_html(summary, records, {}, [sample(reward="naive")])
    assert "trained on <b>sums</b>" in html
    assert "row correlation" in html
    assert "gold per completion" in html
    assert "entropy, nats per token" in html
    assert "pass@" not in html.replace(plotly_js(), "")  # not known of any
    assert "cut off" not in html  # nothing ever was
    assert "environment steps" not in html
    for record in records:
        record |= {"pass_at_k": 0.5, "k": 4}
    assert "pass@4" in study_html(summary, records, {})


def test_a_measure_is_drawn_of_every_reward_or_of_none(make_study, monkeypatch):
    summary, records, _ = make_study()
    drawn = []
    monkeypatch.setattr(figures, "measure_curves", lambda found, color: drawn.append(found) or "")
    for record in records:
        record |= {"entropy": 0.5, "truncated": 0.5 * (record["reward"] == "naive"), "unscored": 0}
    study_html(summary, records, {})
    (measures,) = drawn
    assert "share of completions without a score" not in measures  # 0 under every reward
    assert measures["share of completions cut off"].keys() == summary["rewards"].keys()

"""The study page: whole, self-contained, and safe for any name."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rewardsmith.report.figures import plotly_js
from rewardsmith.report.study import study_html, write_study_report

Study = tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]
Make = Callable[..., Study]


class Page(HTMLParser):
    """Elements, what they would load, and the text outside scripts and styles."""

    LOADS = ("src", "href", "srcset", "data", "poster", "action", "background")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self._silent = False
        # Its five megabytes are one script that says nothing to these tests and parses slowly.
        self.feed(html.replace(plotly_js(), ""))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for key, value in attrs if key in self.LOADS]
        self.ids += [value or "" for key, value in attrs if key == "id"]
        self._silent = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._silent = False

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.text += data


def rename(study: Study, old: str, new: str) -> Study:
    summary, records, strips = study
    summary["rewards"] = {new if k == old else k: v for k, v in summary["rewards"].items()}
    return (
        summary,
        [{**r, "reward": new if r["reward"] == old else r["reward"]} for r in records],
        {new if k == old else k: v for k, v in strips.items()},
    )


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_the_file_holds_every_reward_with_its_verdict_and_numbers(
    make_study: Make, tmp_path: Path
) -> None:
    summary, records, strips = make_study()
    path = tmp_path / "report.html"
    write_study_report(path, summary=summary, records=records, filmstrips=strips)
    page = Page(path.read_text(encoding="utf-8"))
    text = flat(page.text)
    assert summary["rewards"]["naive"]["verdict"] == "hacked"
    assert "naive was hacked. potential ends with the most gold" in text
    for name, entry in summary["rewards"].items():
        assert name in text
        assert entry["reason"] in text
        assert f"{entry['gold_iqm']:.3f}" in text
    assert "15,360 (reached 5/5)" in text
    assert "none (reached 0/5)" in text
    assert "weights: {env: 1.0, bonus: 0.05}" in text
    assert "Failed runs" not in text
    assert page.tags.count("article") == 4
    assert page.tags.count("img") == sum(len(s["frames"]) for s in strips.values())
    assert {"gold-curves", "proxy-curves", "parts-1", "parts-2", "parts-3"} <= set(page.ids)
    assert "parts-0" not in page.ids  # a single part has no shares to show
    assert len(page.ids) == len(set(page.ids))


def test_the_file_asks_the_network_for_nothing(make_study: Make) -> None:
    html = study_html(*make_study())
    page = Page(html)
    assert all(load.startswith(("data:image/png;base64,", "#")) for load in page.loads)
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert html.count(plotly_js()) == 1
    ours = html.replace(plotly_js(), "")
    assert not re.search(r"https?:|@import|url\(", ours)


def test_equal_studies_give_equal_bytes(make_study: Make) -> None:
    assert study_html(*make_study()) == study_html(*make_study())


@pytest.mark.parametrize("name", ["<b>bold</b>", "</script><script>alert(1)</script>", "a & 'b\""])
def test_a_name_is_text_and_never_markup(make_study: Make, name: str) -> None:
    study = rename(make_study(), "naive", name)
    summary, records, _ = study
    summary["rewards"][name]["spec"] = summary["rewards"][name]["reason"] = f"see {name}"
    summary["rewards"][name]["failed"] = [{"seed": 9, "error": f"in {name}"}]
    summary["study"] = name
    for record in records:
        record["parts"] = {name: {"sum": 1.0, "magnitude": 1.0, "covariance": 1.0}} | record[
            "parts"
        ]
    plain = Page(study_html(*make_study()))
    html = study_html(*study)
    page = Page(html)
    assert "alert(1)</script>" not in html
    assert name in page.text
    # Our template holds <b> elsewhere; what counts is that no script came from the name.
    assert page.tags.count("script") == plain.tags.count("script") + 1  # sparse now has two parts
    assert "<b>bold" not in html.replace(plotly_js(), "")


def test_a_reward_whose_runs_all_failed_is_stated_plainly(make_study: Make) -> None:
    summary, records, strips = make_study()
    summary["rewards"]["curious"] = {
        "failed": [{"seed": s, "error": "ScoreError: part 'novelty': nan"} for s in range(5)]
    }
    del strips["curious"]
    html = study_html(summary, [r for r in records if r["reward"] != "curious"], strips)
    text = flat(Page(html).text)
    assert "5 of 20 runs failed." in text
    assert "no result" in text
    assert "All of its runs failed (5)" in text
    assert text.count("ScoreError: part 'novelty': nan") == 5
    assert "nan [" not in text


def test_a_study_of_which_nothing_is_left(make_study: Make) -> None:
    summary, _, _ = make_study()
    for name in summary["rewards"]:
        summary["rewards"][name] = {
            "gold_iqm": float("nan"),
            "failed": [{"seed": 0, "error": "boom"}],
        }
    text = flat(Page(study_html(summary, [], {})).text)
    assert "No run finished" in text
    assert "Gold while training" not in text


def test_one_seed_and_no_filmstrip(make_study: Make) -> None:
    summary, records, _ = make_study(seeds=1)
    text = flat(Page(study_html(summary, records, {})).text)
    assert "1 seed each" in text
    assert "one seed, so the intervals are points" in text
    assert "One episode of each final policy" not in text


def test_the_lead_claims_no_more_than_was_found(make_study: Make) -> None:
    def lead(change: Callable[[dict[str, Any]], None]) -> str:
        summary, records, strips = make_study()
        for entry in summary["rewards"].values():
            entry["verdict"] = "not_hacked"
        change(summary["rewards"])
        html = study_html(summary, records, strips)
        return flat(Page(html[html.index('<p class="lead">') :]).text).split("The bars")[0]

    def unjudged(*names: str) -> Callable[[dict[str, Any]], None]:
        def change(rewards: dict[str, Any]) -> None:
            for name in names or tuple(rewards):
                rewards[name]["verdict"] = "undefined"

        return change

    def level(rewards: dict[str, Any]) -> None:
        rewards["sparse"]["gold_ci"] = rewards["potential"]["gold_ci"]

    assert "No reward was found hacked. potential" in lead(lambda rewards: None)
    assert "No reward could be judged hacked or not. potential" in lead(unjudged())
    assert "No reward was found hacked. naive could not be judged." in lead(unjudged("naive"))
    assert "potential ends with the most gold" in lead(lambda rewards: None)
    said = lead(level)
    assert "potential ends with the highest gold" in said
    assert "but its interval overlaps that of sparse; the reference sparse ends at" in said


def test_one_reward_alone(make_study: Make) -> None:
    summary, records, strips = make_study()
    summary["rewards"] = {"sparse": summary["rewards"]["sparse"]}
    text = flat(
        Page(
            study_html(
                summary,
                [r for r in records if r["reward"] == "sparse"],
                {"sparse": strips["sparse"]},
            )
        ).text
    )
    assert "1 reward trained" in text
    assert "The reference sparse ends with the most gold" in text


def test_without_a_threshold_there_is_no_such_column(make_study: Make) -> None:
    summary, records, strips = make_study()
    summary["threshold"] = None
    text = Page(study_html(summary, records, strips)).text
    assert "steps to gold ≥" not in text


@pytest.mark.parametrize("label", ["hacked", "misaligned", "not_hacked", "undefined"])
def test_every_verdict_has_its_word(make_study: Make, label: str) -> None:
    summary, records, strips = make_study()
    summary["rewards"]["naive"]["verdict"] = label
    html = study_html(summary, records, strips)
    assert html.count(f'class="pill is-{label}"') >= 2
    assert label.replace("_", " ") in Page(html).text


def test_many_rewards_and_a_step_only_some_seeds_reached(make_study: Make) -> None:
    summary, records, strips = make_study()
    for i in range(9):
        summary["rewards"][f"copy{i}"] = summary["rewards"]["naive"]
        records += [{**r, "reward": f"copy{i}"} for r in records if r["reward"] == "naive"]
    records = [r for r in records if not (r["seed"] == 3 and r["steps"] > 30_000)]
    assert Page(study_html(summary, records, strips)).tags.count("article") == 13


def test_unknown_rewards_and_no_rewards_are_named(make_study: Make) -> None:
    summary, records, strips = make_study()
    with pytest.raises(ValueError, match="record is of reward 'other'"):
        study_html(summary, [*records, {**records[0], "reward": "other"}], strips)
    with pytest.raises(ValueError, match="filmstrip is of reward 'other'"):
        study_html(summary, records, {"other": strips["naive"]})
    summary["rewards"] = {}
    with pytest.raises(ValueError, match="at least one reward"):
        study_html(summary, [], {})

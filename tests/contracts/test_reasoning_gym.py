"""reasoning-gym's own scorers: through our signal they say what they say when asked directly."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rewardsmith.adapters.reasoning_gym import ReasoningGymReward, rows
from rewardsmith.adapters.reasoning_gym.entry import packed, unpacked
from rewardsmith.core import spec
from rewardsmith.core.errors import SpecError
from rewardsmith.core.execution import Execution, Inline, using
from rewardsmith.core.outcome import Status, told
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores

pytestmark = pytest.mark.contracts
WRONG = (None, "", "banana", "nan", "inf", "12", "1 2\n3 4", "[[0]]", "True", "\x00")
WITHOUT_GOLD = {"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"}


@pytest.fixture(autouse=True)
def _here() -> Iterator[None]:
    with using(Execution(Inline())):
        yield


def names() -> list[str]:
    from reasoning_gym.factory import DATASETS

    return sorted(set(DATASETS) - {"composite"})


def entries(name: str, n: int = 2) -> tuple[Any, list[dict[str, Any]]]:
    import reasoning_gym

    made = reasoning_gym.create_dataset(name, size=n, seed=1)
    return made, [made[i] for i in range(n)]


def completion(answer: str | None) -> str:
    return "Nothing." if answer is None else f"<think>So.</think>\n<answer>{answer}</answer>"


def scores_of(reward: ReasoningGymReward, given: list[tuple[str, dict[str, Any]]]) -> Scores:
    columns = {name: [row[name] for _, row in given] for name in given[0][1]}
    return reward(Rollouts({"completion": [text for text, _ in given], **columns}))


def asked(dataset: Any, answer: str | None, entry: dict[str, Any]) -> tuple[str, Any]:
    """What the scorer says directly, as a status and a value."""
    try:
        return "scored", float(dataset.score_answer(answer, entry))
    except Exception as error:  # noqa: BLE001 - scorers raise anything
        return "failed", told(error)


def test_every_scorer_says_the_same_through_the_signal_and_through_jsonl() -> None:
    gold_of, wrong, between = {}, 0, set()
    for name in names():
        dataset, found = entries(name)
        given, expected = [], []
        lines = [json.dumps(row) for row in rows(name, len(found), 1)]
        for entry, line in zip(found, lines, strict=True):
            row = json.loads(line)
            assert unpacked(row["metadata"]) == entry["metadata"], name
            for answer in (entry["answer"], *WRONG):
                if answer is not None:
                    answer = answer.strip()
                given.append((completion(answer), row))
                expected.append(asked(dataset, answer, entry))
        scores = scores_of(ReasoningGymReward(name), given)
        for i, (status, value) in enumerate(expected):
            assert Status(int(scores.status[i])).name.lower() == status, (name, given[i])
            if status == "scored":
                assert float(scores.values[i]) == pytest.approx(value, abs=1e-6), name
                assert 0.0 <= value <= 1.0
                between |= {name} if 0 < value < 1 else set()
            else:
                assert scores.errors[i][1] == value
                wrong += 1
        gold_of[name] = float(scores.values[0])
    assert len(gold_of) > 100
    assert {name for name, score in gold_of.items() if score < 1.0} == WITHOUT_GOLD
    assert wrong > 0
    assert len(between) > 10


def test_json_alone_would_take_a_right_answer_for_a_wrong_one() -> None:
    for name in ("arc_agi", "rearc"):
        dataset, (entry, _) = entries(name)
        listed = json.loads(json.dumps(entry))
        assert dataset.score_answer(entry["answer"], entry) == 1.0
        assert dataset.score_answer(entry["answer"], listed) == 0.05
        kept = {**entry, "metadata": json.loads(json.dumps(packed(entry["metadata"])))}
        scores = scores_of(ReasoningGymReward(name), [(completion(entry["answer"]), kept)])
        assert float(scores.values[0]) == 1.0


def test_rows_of_several_data_sets_say_whose_they_are() -> None:
    mixed = [row for name in ("leg_counting", "gcd", "arc_1d") for row in rows(name, 2, 5)]
    reward = ReasoningGymReward()
    assert "without isolation" in reward.cautions[0]
    assert scores_of(reward, [(completion(row["answer"]), row) for row in mixed]).values.sum() == 6
    one = {"entry": entries("gcd")[1][0]}
    right = completion(one["entry"]["answer"])
    assert float(scores_of(ReasoningGymReward(entry="entry"), [(right, one)]).values[0]) == 1.0


def test_a_configuration_reaches_the_scorer() -> None:
    _, (entry, _) = entries("puzzle24")
    given = [(completion(entry["answer"]), entry)]
    assert max(entry["metadata"]["numbers"]) > 5
    for config, score in ((None, 1.0), ({"max_value": 5}, 0.01)):
        scores = scores_of(ReasoningGymReward("puzzle24", config), given)
        assert float(scores.values[0]) == pytest.approx(score)


def test_the_page_is_right_about_scorers() -> None:
    pays = {
        "game_of_life_halting": "banana",
        "complex_arithmetic": "nan",
    }
    for name, answer in pays.items():
        _, found = entries(name, 8)
        given = [(completion(answer), entry) for entry in found]
        assert scores_of(ReasoningGymReward(name), given).values.tolist() == [1.0] * 8
    for name in ("countdown", "fraction_simplification", "puzzle24"):
        _, (entry, _) = entries(name)
        none = scores_of(ReasoningGymReward(name), [("Nothing.", entry)])
        assert float(none.values[0]) == pytest.approx(0.01)
    _, (entry, _) = entries("prime_factorization")
    scores = scores_of(ReasoningGymReward("prime_factorization"), [(completion("two"), entry)])
    assert scores.status.tolist() == [Status.FAILED]
    assert "ValueError" in scores.errors[0][1]
    # An answer is run as Python.
    _, (entry, _) = entries("string_insertion")
    ran = completion("[__import__('os').environ.__setitem__('RAN', '1') or 'A']")
    scores_of(ReasoningGymReward("string_insertion"), [(ran, entry)])
    assert os.environ.pop("RAN") == "1"


def test_it_scores_in_worker_processes_by_the_command(tmp_path: Path) -> None:
    from rewardsmith.cli.score import Options, score_command

    lines = []
    for name in ("leg_counting", "prime_factorization"):
        for row in rows(name, 4, 3):
            for text in (completion(row["answer"]), completion("two"), "Nothing."):
                lines.append(json.dumps({**row, "completion": text}))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "reward.yaml").write_text("reward: {reasoning_gym_reward: {}}", encoding="utf-8")
    options = dict.fromkeys(Options.__dataclass_fields__, None)
    options |= {"on_error": "missing", "timeout": 60.0, "workers": 2, "steps": False, "why": False}
    reward, data, out = (tmp_path / name for name in ("reward.yaml", "rows.jsonl", "out.parquet"))
    score_command(reward, str(data), out, Options(**options))
    found = pq.read_table(out).to_pylist()
    assert [row["reward"] for row in found[:3]] == [1.0, 0.0, 0.0]
    assert [row["status"] for row in found[12:15]] == ["scored", "failed", "scored"]
    assert len(found) == 24


def test_what_cannot_be_used_is_refused() -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"dataset": "leg_countin"}, "did you mean 'leg_counting'"),
        ({"dataset": "composite"}, "leave `dataset` out"),
        ({"dataset": "gcd", "config": {"min_numbers": 0}}, "refuses {'min_numbers': 0}"),
        ({"dataset": "gcd", "config": {"colour": 1}}, "colour"),
        ({"config": {"min_numbers": 3}}, "dataset does not say which"),
    ]
    for arguments, message in bad:
        with pytest.raises(SpecError, match=message):
            ReasoningGymReward(**arguments)
    with pytest.raises(ValueError, match="tag is empty"):
        ReasoningGymReward("gcd", tag=" ")
    with pytest.raises(SpecError, match="did you mean 'simple'"):
        rows("gcd", 1, 1, instruction="simpel")
    with pytest.raises(SpecError, match="did you mean 'leg_counting'"):
        spec.loads("reward: {reasoning_gym_reward: {dataset: leg_countng}}")


def test_it_is_written_and_read_back() -> None:
    reward = ReasoningGymReward("puzzle24", {"max_value": 9}, tag=None)
    again = spec.loads(spec.dumps(reward))
    assert again.arguments() == reward.arguments()
    prompt = rows("gcd", 1, 1)[0]["prompt"]
    assert prompt.startswith("Given a problem")
    assert rows("gcd", 1, 1, instruction=None)[0]["prompt"] == rows("gcd", 1, 1)[0]["question"]
    assert rows("gcd", 3, 1) == rows("gcd", 3, 1)


def test_the_code_on_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs" / "trainers" / "reasoning_gym.md"
    (code,) = re.findall(r"^```py\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "page.py", "exec"), {"__name__": "page"})
    assert len((tmp_path / "problems.jsonl").read_text().splitlines()) == 4

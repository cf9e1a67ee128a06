"""One reward file and 512 rows that end in every status, for the tests of what trainers make of it.

The numbers to compare with are those of the command: :func:`labels` runs ``rewardsmith score``.
"""

import json
import random
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rewardsmith.cli.score import Options, score_command

ROWS, GROUP = 512, 8
TIMEOUT = 1.0
"""Seconds that a row may take; pass it to whatever scores the rows."""
TREE = """\
# The length gate of {house}, over maths and format.
columns: {{group: problem}}
reward:
  gate:
    threshold: 0.5
    condition: {{function: {{call: "{house}:brief"}}}}
    of:
      weighted_sum:
        weights: {{correct: 1.0, format: 0.2}}
        parts:
          correct: {{math_answer: {{gold: answer}}}}
          format: {{tag_format: {{tags: [think, answer]}}}}
"""
SPOILED = {5: "abstain", 77: "hang", 130: "raise", 201: "nan", 202: "abstain", 333: "raise"}
"""Row -> what the gate's condition does there."""


def brief(completion: Any) -> float | None:
    """Whether a completion is short; it does not always say."""
    text = completion if isinstance(completion, str) else completion[-1]["content"]
    if "abstain" in text:
        return None
    if "hang" in text:
        time.sleep(3600)
    if "raise" in text:
        raise RuntimeError("the service is down")
    if "nan" in text:
        return float("nan")
    return float(len(text) < 60)


def rows() -> list[dict[str, Any]]:
    """The rows: 64 problems, each answered 8 times; a third right, some too long, some formless."""
    draw = random.Random(6)
    made = []
    for i in range(ROWS):
        problem = i // GROUP
        a, b = 10 + problem, 3 + problem * 7 % 50
        answer = draw.choice([a + b, a + b, a + b + 1])
        thought = draw.choice(["sum", "carry the one", "count " * 20]) + SPOILED.get(i, "")
        form = draw.choice(["<think>{}</think><answer>{}</answer>", "{} so {}", "<think>{} {}"])
        made.append(
            {
                "prompt": f"What is {a} + {b}?",
                "completion": form.format(thought, answer),
                "answer": str(a + b),
                "problem": f"p{problem}",
            }
        )
    return made


def write(folder: Path) -> tuple[Path, Path]:
    """``reward.yaml`` and ``rows.jsonl`` in a folder."""
    reward, data = folder / "reward.yaml", folder / "rows.jsonl"
    reward.write_text(TREE.format(house=Path(__file__).resolve()), encoding="utf-8")
    data.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    return reward, data


def labels(reward: Path, data: Path) -> list[dict[str, Any]]:
    """What ``rewardsmith score`` says of each row: ``reward`` (None without one), ``status``."""
    out = reward.parent / "labels.parquet"
    options = dict.fromkeys(Options.__dataclass_fields__, None)
    options |= {"on_error": "missing", "timeout": TIMEOUT, "workers": 2}
    options |= {"steps": False, "why": False}
    score_command(reward, str(data), out, Options(**options))
    found: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    return found

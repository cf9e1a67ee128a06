"""A whole reward.yaml: what a trainer gets of it, and where an error points."""

import re
from pathlib import Path

import pytest

from rewardsmith.core.errors import SpecError
from rewardsmith.credit import OutlierTruncation
from rewardsmith.learners.recipe import read_recipe
from rewardsmith.policy.advantages.cumulative import CumulativeAdvantage
from rewardsmith.samplers import DynamicSampling, ThompsonSampling

REWARD = "reward: {tag_format: {tags: [answer]}}\n"


def recipe(folder: Path, text: str):
    file = folder / "reward.yaml"
    file.write_text(REWARD + text)
    return read_recipe(file)


def test_every_key_is_built(tmp_path: Path) -> None:
    made = recipe(
        tmp_path,
        "columns: {answer: solution}\n"
        "advantage: {dcpo_advantage: {ddof: 1}}\n"
        "loss: {dapo: {clip: [0.2, 0.28], aggregation: seq-mean-token-mean}}\n"
        "sampler: {dapo_filter: {of: {vade: {seed: 3}}, max_rounds: 4}}\n"
        "relabel: {dot: {success: {tag_format: {tags: [answer]}}, margin: 8}}\n",
    )
    assert made.columns == {"answer": "solution"}
    assert isinstance(made.advantage, CumulativeAdvantage)
    assert made.advantage.ddof == 1
    assert (made.loss.name, made.loss.mode) == ("dapo", "seq-mean-token-mean")
    assert made.loss.options == {"clip": (0.2, 0.28)}
    assert isinstance(made.sampler, DynamicSampling)
    assert isinstance(made.sampler.of, ThompsonSampling)
    assert (made.sampler.rounds, made.sampler.of.seed) == (4, 3)
    assert isinstance(made.relabel, OutlierTruncation)
    assert made.relabel.margin == 8


def test_what_is_left_out_is_the_trainers(tmp_path: Path) -> None:
    made = recipe(tmp_path, "")
    assert (made.advantage, made.loss, made.sampler, made.relabel) == (None,) * 4


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("advantage: {gprpo: {}}", "2: advantage/gprpo: unknown advantage 'gprpo'; did you mean"),
        ("advantage: {grpo: {scal: batch}}", "2: advantage/grpo: grpo has no option 'scal'"),
        ("advantage: {grpo: {scale: bach}}", "2: advantage/grpo/scale: Input should be"),
        ("advantage: {grpo: {keep: [1]}}", "2: advantage/grpo: grpo has no option 'keep'"),
        ("advantage: {rae: {decay: 2}}", "2: advantage/rae: rae: decay is 2.0"),
        ("loss: {ppo: {clip: wide}}", "2: loss/ppo/clip: Input should be a valid number"),
        ("loss: {dro: {}}", "2: loss/dro: dro needs the option 'beta'"),
        ("loss: {ppo: {weight: 1}}", "2: loss/ppo: ppo has no option 'weight'"),
        ("sampler: {shufled: {}}", "2: sampler/shufled: unknown sampler 'shufled'; did you mean"),
        ("sampler: {vade: {sed: 1}}", "2: sampler/vade/sed: vade has no argument 'sed'"),
        ("relabel: {dot: {}}", "2: relabel/dot: dot needs the argument 'success'"),
    ],
)
def test_an_error_says_the_line_and_what_would_be_right(
    tmp_path: Path, line: str, told: str
) -> None:
    with pytest.raises(SpecError, match=re.escape(told)):
        recipe(tmp_path, line)

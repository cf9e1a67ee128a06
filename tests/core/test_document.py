"""YAML documents against a pydantic model: the first thing wrong, with its line."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from rewardsmith.core.document import Document, parse_document, read_document
from rewardsmith.core.errors import SpecError


class Learner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    algorithm: str
    timesteps: int = 100


class Study(BaseModel):
    model_config = ConfigDict(extra="forbid")
    learner: Learner
    gold: Learner | None = None
    seeds: int = 5


GOOD = "learner:\n  algorithm: PPO\nseeds: 3\n"


def test_a_document_as_a_model(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(GOOD)
    document = read_document(file)
    study = document.validate(Study)
    assert (study.learner.algorithm, study.seeds) == ("PPO", 3)
    assert document.base == tmp_path
    assert parse_document(GOOD).base == Path.cwd()


@pytest.mark.parametrize(
    ("text", "line", "path", "message"),
    [
        (GOOD + "sedes: 1\n", 4, "sedes", "unknown key 'sedes'; did you mean 'seeds'?"),
        (
            GOOD.replace("algorithm: PPO", "algorithm: PPO\n  timestep: 3"),
            3,
            "learner/timestep",
            "unknown key 'timestep'; did you mean 'timesteps'?",
        ),
        (
            GOOD + "gold:\n  algorithm: x\n  zzz: 1\n",
            6,
            "gold/zzz",
            "unknown key 'zzz'; valid names: algorithm, timesteps",
        ),
        (GOOD.replace("3", "many"), 3, "seeds", "unable to parse string as an integer (got 'many'"),
        ("learner:\n  timesteps: 3\n", 1, "learner/algorithm", "Field required"),
        ("seeds: 3\n", 1, "learner", "Field required"),
        ("learner: PPO\n", 1, "learner", "(got 'PPO')"),
    ],
)
def test_the_first_thing_wrong(text: str, line: int, path: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_document(text, file="study.yaml").validate(Study)
    assert message in caught.value.message
    assert (caught.value.line, caught.value.path, caught.value.file) == (line, path, "study.yaml")


def test_a_place_without_a_line_has_none() -> None:
    error = Document(None).error("odd", ("a", 1))
    assert str(error) == "a/1: odd"

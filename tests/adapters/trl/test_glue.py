"""What ``rewardsmith export trl`` writes."""

import ast

from rewardsmith.adapters.trl.glue import glue


def test_the_files() -> None:
    files = glue("../rewards/reward.yaml")
    assert list(files) == ["train.py", "README.md"]
    ast.parse(files["train.py"])
    assert 'Path(__file__).parent / "../rewards/reward.yaml"' in files["train.py"]
    assert len(files["README.md"].splitlines()) == 3
    assert max(map(len, files["train.py"].splitlines())) <= 100

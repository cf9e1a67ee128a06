"""``rewardsmith spec``: check a file, print the schema."""

import json
from pathlib import Path

from ..core import spec
from ..core.document import read_document


def check_command(file: Path) -> None:
    """Build what a reward or study file names and print its trees."""
    data = read_document(file).data
    if isinstance(data, dict) and "rewards" in data:
        from ..studies.spec import read_study

        study = read_study(file)
        for name in study.section.rewards:
            mark = " (reference)" if name == study.reference else ""
            print(f"{name}{mark}\n{study.reward(name)}\n")
        study.gold_function()
        try:
            from ..studies.environments import algorithm, make_env
        except ImportError:
            print("not checked: the environment and the algorithm (needs rewardsmith[control])")
        else:
            algorithm(study)
            make_env(study).close()
    else:
        print(spec.load(file))
    print(f"{file}: ok")


def schema_command() -> None:
    """Print the JSON schema of a reward.yaml."""
    print(json.dumps(spec.schema(), indent=2))

"""``rewardsmith spec``: check a file, print the schema."""

import json
from pathlib import Path

from ..core import spec
from ..core.document import read_document


def check_command(file: Path) -> None:
    """Build what a reward or study file names and print its trees; try a study's first steps."""
    data = read_document(file).data
    if isinstance(data, dict) and {"env", "learner"} & data.keys():
        from ..studies.spec import read_study

        study = read_study(file)
        for name in study.section.rewards:
            mark = " (reference)" if name == study.reference else ""
            print(f"{name}{mark}\n{study.reward(name)}\n")
        try:
            from ..studies.study import check
        except ImportError:
            study.gold_function()
            print(f"not checked: what trains, and on what; for that {study.extra}")
        else:
            check(study)
        if warning := study.doubt():
            print(f"warning: {warning}")
    else:
        print(spec.load(file))
    print(f"{file}: ok")


def schema_command() -> None:
    """Print the JSON schema of a reward.yaml."""
    print(json.dumps(spec.schema(), indent=2))

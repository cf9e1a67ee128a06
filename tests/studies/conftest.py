import shutil
from pathlib import Path

import pytest
from tests.studies.toy import STUDY

from rewardsmith.studies.spec import read_study


@pytest.fixture
def write(tmp_path):
    """Write a variant of the toy study beside the file it names."""

    def made(*changes, name="toy.yaml"):
        shutil.copy(Path(__file__).parent / "toy.py", tmp_path / "toy.py")
        text = STUDY.replace("{WRAPPER}", "./toy.py:Nothing")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return made


@pytest.fixture
def study(write):
    return lambda *changes, **options: read_study(write(*changes), **options)

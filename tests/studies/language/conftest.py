import shutil
from pathlib import Path

import pytest
from tests.studies.language.words import STUDY

from rewardsmith.studies.spec import read_study


@pytest.fixture
def write(tmp_path):
    """Write a variant of the study of words beside the file it names."""

    def made(*changes, name="words.yaml"):
        shutil.copy(Path(__file__).parent / "words.py", tmp_path / "words.py")
        text = STUDY
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return made


@pytest.fixture
def study(write):
    return lambda *changes, **options: read_study(write(*changes), **options)

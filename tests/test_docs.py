"""What the prose shows runs, and nothing was left to be filled in."""

import re
from pathlib import Path

import pytest

from rewardsmith.core.catalog import methods

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
SHORT = 2_000
"""Steps that an agent learns for here; on the page it is more."""
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_method_is_in_the_reference():
    """Pages link there; the build of the site, which would say so, is no part of the tests."""
    text = (ROOT / "docs" / "reference.md").read_text()
    listed = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert {method.module for method in methods()} <= set(listed)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_left_to_be_filled_in(page):
    marks = r"^[A-Z_]{6,}$|\b(?:TO" + r"DO|TB" + r"D)\b"
    assert not re.findall(marks, page.read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if PYTHON.search(page.read_text())], ids=lambda page: page.name
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_code_on_the_page_runs(page, tmp_path, monkeypatch):
    """The blocks of a page one after the other, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    # Functions are fingerprinted by their source, which has to lie in a file.
    source = "\n".join(PYTHON.findall(page.read_text()))
    source = re.sub(r"\.learn\(\d+_000\b", f".learn({SHORT}", source)
    file = tmp_path / "page.py"
    file.write_text(source)
    exec(compile(source, str(file), "exec"), {"__name__": "page"})

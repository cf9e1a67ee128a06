"""The records among the results are of what the code declares, and the page is of the records."""

import pytest
from docs.reproductions_table import PAGE, page
from reproductions.__main__ import declared, files
from reproductions.record import RESULTS
from tests.reproduced import stored

RECORDS = sorted(path.stem for path in RESULTS.glob("*.json"))


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_of_the_settings_that_its_file_declares(name: str) -> None:
    record = stored(declared(files()[name]))
    assert record["verdict"] in {"supported", "refuted", "inconclusive"}


def test_the_page_is_of_the_records() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


# That one is a calculation without seeds, and has values but no effects.
@pytest.mark.parametrize("name", [name for name in RECORDS if name != "kl_estimators"])
def test_the_page_tells_an_effect_of_every_record(name: str) -> None:
    section = page().partition(f"`reproductions/{files()[name]}.py`")[2].partition("\n## ")[0]
    assert "| effect |" in section

"""``study.yaml``: what is trained, under which rewards, and how it is judged."""

from collections.abc import Mapping
from pathlib import Path

from ..core.catalog import nearest
from ..core.document import Document, read_document
from .control.spec import ControlStudy
from .language.spec import LanguageStudy
from .shared import Study

__all__ = ["ControlStudy", "LanguageStudy", "Study", "read_study"]


def read_study(path: Path | str, *, seeds: int | None = None) -> Study:
    """Read and check a study, its rewards included: in an environment, or of a language model.

    Raises:
        SpecError: with file, line, the path in the tree and the nearest valid name.
    """
    document = read_document(path)
    kind = _kind(document)
    section = document.validate(kind.sections)
    if seeds is not None:
        section = section.model_copy(update={"seeds": seeds})
    study = kind(section, document)
    for name in section.rewards:
        if not name.replace("-", "_").isidentifier():
            raise document.error(
                f"reward name {name!r}: use letters, digits, '_' and '-'", ("rewards", name)
            )
        study.reward(name)
    if study.reference not in section.rewards:
        hint = nearest(study.reference, [*section.rewards])
        message = f"reference {study.reference!r} is no reward here{hint}"
        raise document.error(message, ("reference",))
    study.check_trackers()
    return study


def _kind(document: Document) -> type[Study]:
    """Which study a file is; a misspelt key is told by the reading of the kind it looks like."""
    data = document.data if isinstance(document.data, Mapping) else {}
    if "env" in data and "dataset" in data:
        raise document.error("a study has an `env` or a `dataset`, not both", ("dataset",))
    learner = data.get("learner")
    of_language = "dataset" in data or (
        "env" not in data and isinstance(learner, Mapping) and "model" in learner
    )
    return LanguageStudy if of_language else ControlStudy

"""reasoning-gym's problems as rows of text, for ``rewardsmith score`` and trainers' data sets."""

from typing import Any

from ...core.catalog import nearest
from ...core.errors import SpecError
from ..versions import note_version
from .entry import packed


def rows(
    dataset: str, size: int, seed: int, instruction: str | None = "default", **config: Any
) -> list[dict[str, Any]]:
    """Problems of a data set; the same for the same arguments.

    Args:
        dataset: its name in reasoning-gym.
        size: how many.
        seed: where they are drawn from.
        instruction: the name of one of reasoning-gym's system prompts, which ask for an answer in
            ``<answer>`` tags; it stands before the question. None for the question alone.
        config: what else the data set is configured with.

    Returns:
        Dicts with ``prompt``, ``question``, ``answer`` (None where a problem has several),
        ``metadata`` (as text) and ``task``, which names the problem.

    Raises:
        SpecError: there is no such data set or instruction, or the data set refuses ``config``.
        TypeError: a problem's metadata cannot be written as text.
        ImportError: reasoning-gym is not installed.
    """
    source = made(dataset, {**config, "size": size, "seed": seed})
    before = _instruction(instruction)
    found = []
    for i in range(size):
        entry = source[i]
        found.append(
            {
                "prompt": before + entry["question"],
                "question": entry["question"],
                "answer": entry["answer"],
                "metadata": packed(entry["metadata"]),
                "task": f"{dataset}/{seed}/{i}",
            }
        )
    return found


def made(dataset: str, config: dict[str, Any]) -> Any:
    """A data set of reasoning-gym.

    Raises:
        SpecError: there is no such data set, or it refuses ``config``.
        ImportError: reasoning-gym is not installed.
    """
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ModuleNotFoundError as error:
        if error.name != "reasoning_gym":
            raise
        raise ImportError("this needs reasoning-gym: pip install reasoning-gym") from error
    note_version("reasoning-gym")
    if dataset == "composite":
        raise SpecError(
            "composite is made of other data sets: leave `dataset` out, and each row's metadata "
            "says which it is of"
        )
    if dataset not in DATASETS:
        raise SpecError(f"reasoning-gym has no data set {dataset!r}{nearest(dataset, [*DATASETS])}")
    try:
        return reasoning_gym.create_dataset(dataset, **config)
    except (AssertionError, TypeError, ValueError) as error:
        raise SpecError(f"data set {dataset!r} refuses {config}: {error}") from error


def _instruction(name: str | None) -> str:
    if name is None:
        return ""
    from reasoning_gym.utils import SYSTEM_PROMPTS

    if name not in SYSTEM_PROMPTS:
        raise SpecError(f"no instruction {name!r}{nearest(name, [*SYSTEM_PROMPTS])}")
    return f"{SYSTEM_PROMPTS[name].strip()}\n\n"

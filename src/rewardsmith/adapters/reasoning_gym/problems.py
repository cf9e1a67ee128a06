"""reasoning-gym's problems as rows of text, for ``rewardsmith score`` and trainers' data sets."""

from typing import Any

from ...core.catalog import nearest
from ...core.errors import SpecError
from ..versions import TESTED, note_version
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
        SpecError: there is no such data set or instruction, the data set refuses ``config``, or
            reasoning-gym is not installed.
        TypeError: a problem's metadata cannot be written as text.
    """
    source = data_set(dataset, {**config, "size": size, "seed": seed})
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


def need_package() -> None:
    """See that reasoning-gym is there, in a version that was tested.

    Raises:
        SpecError: it is not.
    """
    try:
        import reasoning_gym  # noqa: F401 - whether it can be is the question
    except ModuleNotFoundError as error:
        if error.name != "reasoning_gym":
            raise
        needed = f"reasoning-gym=={TESTED['reasoning-gym'][1]}"
        raise SpecError(f"this needs reasoning-gym: pip install {needed}") from error
    note_version("reasoning-gym")


def data_set(dataset: str, config: dict[str, Any]) -> Any:
    """A data set of reasoning-gym.

    Raises:
        SpecError: there is no such data set, it refuses ``config``, or reasoning-gym is not
            installed.
    """
    need_package()
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

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

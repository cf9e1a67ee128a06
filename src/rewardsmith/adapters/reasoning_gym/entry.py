"""A problem of reasoning-gym and its score, as workers compute it; this file is light.

Metadata travels as text. JSON alone would not do: tuples come back as lists and numbers that are
keys as text, and scorers that compare with ``==`` then take the right answer for a wrong one.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_TUPLE, _KEYED = "__tuple__", "__keyed__"


def packed(metadata: Mapping[str, Any]) -> str:
    """Metadata as JSON text that :func:`unpacked` reads back as it was.

    Raises:
        TypeError: it holds what is neither plain data nor a tuple; with the path.
        ValueError: a number that is not finite.
    """
    try:
        return json.dumps(_plain(metadata, "metadata"), ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise ValueError("metadata holds a number that is not finite, which JSON has not") from None


def unpacked(metadata: Any) -> Any:
    """Metadata from its text; what is no text is taken as it is.

    Raises:
        ValueError: the text is no JSON object.
    """
    if not isinstance(metadata, str):
        return metadata
    try:
        found = _restored(json.loads(metadata))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"metadata is no JSON object: {metadata[:40]!r}")
    return found


def score_problem(
    completion: str,
    question: Any,
    answer: Any,
    metadata: Any,
    *,
    dataset: str | None,
    config: str,
    tag: str | None,
) -> Any:
    """What reasoning-gym says of a completion to a problem.

    Args:
        completion: text.
        question: the problem's; some scorers read it.
        answer: the gold answer; None where a problem has several.
        metadata: the rest, as a dict or the text of :func:`packed`.
        dataset: whose problem it is; None where ``metadata`` says so.
        config: the data set's, as JSON; some scorers read it.
        tag: the last one of this name holds the answer; None for the whole completion.
    """
    entry = {"question": question, "answer": answer, "metadata": unpacked(metadata)}
    return _scored(completion, entry, dataset, config, tag)


def score_entry(
    completion: str, entry: Any, *, dataset: str | None, config: str, tag: str | None
) -> Any:
    """As :func:`score_problem`, of reasoning-gym's entry in one column."""
    if not isinstance(entry, Mapping) or not {"answer", "metadata"} <= entry.keys():
        raise TypeError("the entry is no mapping with question, answer and metadata")
    metadata = unpacked(entry["metadata"])
    return _scored(completion, {**entry, "metadata": metadata}, dataset, config, tag)


def _scored(
    completion: str, entry: dict[str, Any], dataset: str | None, config: str, tag: str | None
) -> Any:
    metadata = entry["metadata"]
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata is {type(metadata).__name__}, neither a dict nor its text")
    name = dataset or metadata.get("source_dataset")
    if not name:
        raise ValueError("metadata has no 'source_dataset': say dataset= to the reward")
    return _data_set(name, config).score_answer(answer_in(completion, tag), entry)


def answer_in(completion: str, tag: str | None) -> str | None:
    """The answer, as reasoning-gym extracts it; None where the tag is not there."""
    if tag is None:
        return completion.strip()
    from reasoning_gym.utils import extract_answer

    found: str | None = extract_answer(completion, tag_name=tag)
    return found


@lru_cache(maxsize=256)
def _data_set(name: str, config: str) -> Any:
    import reasoning_gym

    return reasoning_gym.create_dataset(name, **json.loads(config))


def _plain(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        pairs = [(key, _plain(inner, f"{path}.{key}")) for key, inner in value.items()]
        if all(type(key) is str and key not in (_TUPLE, _KEYED) for key in value):
            return dict(pairs)
        return {_KEYED: [[_plain(key, path), inner] for key, inner in pairs]}
    if isinstance(value, tuple):
        return {_TUPLE: [_plain(inner, f"{path}[{i}]") for i, inner in enumerate(value)]}
    if isinstance(value, list):
        return [_plain(inner, f"{path}[{i}]") for i, inner in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        # A number of numpy that passes as Python's is stored as Python's.
        return value.item() if hasattr(value, "item") else value  # type: ignore[union-attr]
    raise TypeError(
        f"{path} is {type(value).__name__}, which JSON has not: keep the entries in memory, and "
        "give the reward their column with entry="
    )


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_TUPLE}:
        return tuple(_restored(value[_TUPLE]))
    if value.keys() == {_KEYED}:
        return {_restored(key): _restored(inner) for key, inner in value[_KEYED]}
    return {key: _restored(inner) for key, inner in value.items()}

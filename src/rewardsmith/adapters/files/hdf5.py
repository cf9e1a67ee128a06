"""Episodes in HDF5 as Minari keeps them: a group per episode, ``episode_0``, ``episode_1``, ...

A group holds ``observations`` [T + 1, ...], ``actions``, ``rewards``, ``terminations``,
``truncations`` [T, ...] and ``infos``; observations, actions and infos may be groups of such. What
is said once of an episode (``seed``, ...) are the group's attributes. Images that Minari keeps as
JPEG are read as the arrays that they show.
"""

import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import SpecError
from ..episodes import Array, Episode, n_steps

NAMES = {
    "obs": "observations",
    "action": "actions",
    "env_reward": "rewards",
    "terminated": "terminations",
    "truncated": "truncations",
    "info": "infos",
}
"""Our names: theirs."""
# Minari's own account of an episode, which is counted anew here.
_COUNTED = ("id", "total_steps")
_JPEG = (0xFF, 0xD8, 0xFF)


class Hdf5Episodes:
    """The episodes of a file, in the order of their numbers.

    Raises:
        SpecError: the file cannot be read, or holds no episode; also while reading.
    """

    names: Mapping[str, str] = NAMES

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opened() as file:
            found = [match for name in file if (match := re.fullmatch(r"episode_(\d+)", name))]
            there = sorted(file)[:5]
        if not found:
            raise SpecError(
                "it holds no groups named episode_0, episode_1, ...; what is there: "
                f"{', '.join(there) or 'nothing'}",
                file=str(path),
            )
        self._groups = sorted((match.group() for match in found), key=_number)

    def __len__(self) -> int:
        return len(self._groups)

    def episodes(self, paths: Collection[str] | None = None, start: int = 0) -> Iterator[Episode]:
        """The episodes from the ``start``-th on, with the columns at ``paths`` (default: all)."""
        with self._opened() as file:
            for name in self._groups[start:]:
                yield self._episode(file, name, paths)

    def _episode(self, file: Any, name: str, paths: Collection[str] | None) -> Episode:
        try:
            group = file[name]
            steps = {
                path: _array(data)
                for path, data in _leaves(group)
                if data.shape and (paths is None or path in paths)
            }
            rows = {key: _said(value) for key, value in group.attrs.items() if key not in _COUNTED}
        except (OSError, KeyError, RuntimeError) as error:
            raise SpecError(
                f"cannot read it: {error}; the file is broken", path=name, file=str(self.path)
            ) from None
        return Episode(name, steps, {"episode": _number(name), **rows})

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            file = h5py().File(self.path, "r")
        except OSError as error:
            raise SpecError(
                f"cannot read it as HDF5: {error.strerror or error}", file=str(self.path)
            ) from None
        with file:
            yield file


def write_hdf5(path: Path, episodes: Iterable[Episode]) -> int:
    """Write episodes (see :mod:`rewardsmith.adapters.episodes`) and count them.

    Raises:
        ValueError: something is said of an episode that is neither number, text nor array.
    """
    written = 0
    with h5py().File(path, "w") as file:
        for episode in episodes:
            group = file.create_group(f"episode_{written}")
            for name, array in episode.steps.items():
                ours, slash, below = name.partition("/")
                group.create_dataset(f"{NAMES.get(ours, ours)}{slash}{below}", data=array)
            said = {key: value for key, value in episode.rows.items() if key != "episode"}
            counted = dict(zip(_COUNTED, (written, n_steps(episode)), strict=True))
            for key, value in (said | counted).items():
                if not isinstance(value, bool | int | float | str | np.ndarray | None):
                    raise ValueError(
                        f"{episode.name}: {key!r} is {type(value).__name__}; what is said once of "
                        "an episode can be a number, text or an array"
                    )
                if value is not None:
                    group.attrs[key] = value
            written += 1
    return written


def h5py() -> Any:
    """The package, which publishes no types.

    Raises:
        SpecError: it is not installed.
    """
    try:
        return import_module("h5py")
    except ImportError:
        raise SpecError(
            'HDF5 files need the package h5py: pip install "rewardsmith[offline]"'
        ) from None


def _leaves(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in group.items():
        if item is None:
            raise OSError(f"{above}{name} is a link to nothing")
        if hasattr(item, "items"):
            yield from _leaves(item, f"{above}{name}/")
        else:
            yield f"{above}{name}", item


def _array(data: Any) -> Array:
    array: Array = data[()]
    if _is_frames(data, array) and all(tuple(frame[:3]) == _JPEG for frame in array):
        return np.stack([_image(frame) for frame in array])
    # Of this machine's byte order: no tensor can be made of the other.
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _is_frames(data: Any, array: Array) -> bool:
    """Whether it could be encoded images: bytes of any length, a table where all have the same."""
    if array.dtype == np.uint8:
        return array.ndim == 2 and len(array) > 0
    return array.dtype.kind == "O" and h5py().check_vlen_dtype(data.dtype) == np.uint8


def _image(encoded: Array) -> Array:
    try:
        from PIL import Image
    except ImportError:
        raise SpecError(
            'JPEG frames need the package pillow: pip install "rewardsmith[offline]"'
        ) from None
    return np.asarray(Image.open(io.BytesIO(encoded.tobytes())))


def _said(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _number(group: str) -> int:
    return int(group.removeprefix("episode_"))

"""Trajectories in and out: files of episodes as rollouts, a chunk at a time.

>>> data = Trajectories("expert.hdf5")  # doctest: +SKIP
>>> for rollouts in data.chunks(64):  # doctest: +SKIP
...     print(reward(rollouts).total())

Files are HDF5 as Minari keeps it (:mod:`rewardsmith.adapters.files.hdf5`) and Parquet
(:mod:`rewardsmith.adapters.files.parquet`). Their columns become ``obs``, ``next_obs``, ``action``,
``env_reward``, ``terminated``, ``truncated``, and the keys of ``info`` and ``prev_info``. The
reset's info is the ``prev_info`` of an episode's first step.
"""

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from ...core.catalog import nearest
from ...core.errors import SpecError
from ...core.reward import Scope
from ...core.rollouts import Rollouts
from ..episodes import OF_A_STEP, Array, Episode, nested, sides, split, stack
from .label_table import Piece

_HDF5 = (".hdf5", ".h5")
_NUMBERS = "biuf"


class Reader(Protocol):
    """What reads one format."""

    names: Mapping[str, str]
    """Our names: theirs, where the format has its own."""

    def __len__(self) -> int: ...

    def episodes(self, paths: Collection[str] | None = None, start: int = 0) -> Iterator[Episode]:
        """The episodes from the ``start``-th on, with the columns at ``paths`` (default: all)."""
        ...


class Trajectories:
    """The episodes of a file, which is never held whole.

    What holds no numbers (text) is left out, for rollouts keep what they have per step as tensors.
    Every episode has the columns and shapes of the first. What is said once of an episode (its
    number in the file as ``episode``, its ``seed``, ...) is a column per rollout.

    Args:
        path: an ``.hdf5`` or ``.h5`` file, the folder of a Minari data set, or a ``.parquet`` file.
        columns: the names to read, as rewards know them; default all. Actions, rewards and the ends
            of episodes are read in any case.
        names: our names: the file's, where they differ; a path such as ``infos/x`` names a column
            inside a group.

    Raises:
        SpecError: with file and episode: it cannot be read, lengths or shapes that do not agree, a
            name that is not there; also while reading.
    """

    def __init__(
        self,
        path: Path | str,
        columns: Collection[str] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.path = _file_of(Path(path))
        self._reader = _reader(self.path)
        self._names = dict(names or {})
        first = next(self._reader.episodes())
        self._places = self._placed(first)
        # Read once with everything, to know what there is.
        whole = self._renamed(first)
        self.text = sorted(
            p for p, array in whole.steps.items() if array.dtype.kind not in _NUMBERS
        )
        """Columns that hold no numbers, by path."""
        self._shapes = {
            p: array.shape[1:] for p, array in whole.steps.items() if p not in self.text
        }
        tree = self._columns(whole).steps
        self.columns = sorted({*whole.rows, *tree, *nested(tree).get("info", {})})
        """Every name that rollouts of this file could have."""
        self._shapes = {p: s for p, s in self._shapes.items() if _is_wanted(p, columns)}

    def __len__(self) -> int:
        """How many episodes."""
        return len(self._reader)

    def chunks(self, size: int = 64, start: int = 0, stop: int | None = None) -> Iterator[Rollouts]:
        """Rollouts of ``size`` episodes each (the last has what is left), in the file's order.

        Args:
            size: episodes at a time.
            start: the first episode, by its place in the file.
            stop: the first that is left out; default none.
        """
        wanted = {self._places[path] for path in self._shapes}
        stop = len(self) if stop is None else min(stop, len(self))
        episodes = islice(self._reader.episodes(wanted, start), max(0, stop - start))
        while chunk := [self._columns(self._renamed(e)) for e in islice(episodes, size)]:
            try:
                yield stack(chunk)
            except ValueError as error:
                raise self._error(str(error), f"{chunk[0].name} to {chunk[-1].name}") from None

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def resumable(self) -> bool:
        return True

    @property
    def identity(self) -> list[Any]:
        """A file is known by its name, size and time of change."""
        stat = self.path.stat()
        return [self.path.name, stat.st_size, stat.st_mtime_ns]

    def pieces(
        self, size: int, start: int = 0, stop: int | None = None, *, scope: Scope = "row"
    ) -> Iterator[Piece]:
        """As :meth:`chunks`, to be labeled.

        Raises:
            SpecError: several chunks of a reward that compares a group; they are not looked for.
        """
        if scope == "group" and (start or size < len(self)):
            raise SpecError(
                "this reward compares the episodes of a group: score all together with "
                f"--chunk {len(self)}",
                file=self.name,
            )
        for rollouts in self.chunks(size, start, stop):
            yield Piece(rollouts, start)
            start += len(rollouts)

    def _placed(self, first: Episode) -> dict[str, str]:
        """Our path -> the file's, of every column."""
        given = {**self._reader.names, **self._names}
        found: dict[str, str] = {}
        for ours, theirs in given.items():
            below = {p: p[len(theirs) :] for p in first.steps if f"{p}/".startswith(f"{theirs}/")}
            found |= {f"{ours}{rest}": path for path, rest in below.items()}
            if ours in self._names and not below and theirs not in first.rows:
                present = sorted([*first.steps, *first.rows])
                raise self._error(
                    f"there is no column {theirs!r} to be {ours!r}{nearest(theirs, present)}", ""
                )
        named = set(found.values())
        taken = {path.partition("/")[0] for path in found}
        rest = {p: p for p in first.steps if p not in named and p.partition("/")[0] not in taken}
        return found | rest

    def _renamed(self, episode: Episode) -> Episode:
        rows = {**episode.rows}
        rows |= {ours: rows[theirs] for ours, theirs in self._names.items() if theirs in rows}
        there = episode.steps
        steps = {ours: there[p] for ours, p in self._places.items() if p in there}
        return Episode(episode.name, steps, rows)

    def _columns(self, episode: Episode) -> Episode:
        """The columns [T, ...] that are read, after checking them against the first episode's."""
        steps: dict[str, Array] = {}
        for path, shape in self._shapes.items():
            called = self._places[path]
            if path not in episode.steps:
                raise self._error(f"it has no column {called!r}, which the first has", episode.name)
            array = steps[path] = episode.steps[path]
            if array.dtype.kind not in _NUMBERS:
                raise self._error(f"column {called!r} does not hold numbers", episode.name)
            if array.shape[1:] != shape:
                raise self._error(
                    f"column {called!r} has entries of shape {list(array.shape[1:])}, those of the "
                    f"first episode have {list(shape)}",
                    episode.name,
                )
        try:
            columns = sides(Episode(episode.name, steps, episode.rows), self._places)
        except ValueError as error:
            raise self._error(str(error), episode.name) from None
        return Episode(episode.name, columns, episode.rows)

    def _error(self, message: str, where: str) -> SpecError:
        return SpecError(message, path=where, file=str(self.path))


def write_trajectories(path: Path | str, rollouts: Rollouts | Iterable[Rollouts]) -> int:
    """Write rollouts as episodes, and count them; :class:`Trajectories` reads them back.

    Rows that hold several episodes are cut; padding and dummy steps are left out. The file appears
    when it is whole.

    Minari opens an HDF5 file of ours as ``main_data.hdf5`` in a folder whose ``metadata.json`` has
    ``data_format`` (``"hdf5"``), ``dataset_id``, ``minari_version``, ``total_episodes``,
    ``total_steps``, ``observation_space`` and ``action_space`` as its ``serialize_space`` writes
    them, and ``jpeg_encoding`` (false: images are written as they are). Rollouts do not know their
    spaces, so that file is not written here.

    Args:
        path: an ``.hdf5`` or ``.h5`` file, laid out as Minari's ``main_data.hdf5``, or a
            ``.parquet`` file with a row per episode.
        rollouts: all of them, or a chunk at a time.

    Raises:
        SpecError: the file cannot be written.
        ValueError: another suffix, rollouts that are no whole episodes step after step, or no
            episode at all.
    """
    path = Path(path)
    chunks = [rollouts] if isinstance(rollouts, Rollouts) else rollouts
    episodes = (episode for chunk in chunks for episode in split(chunk))
    temporary = path.with_name(path.name + ".part")
    try:
        if path.suffix in _HDF5:
            from .hdf5 import write_hdf5 as write
        elif path.suffix == ".parquet":
            from .parquet import write_parquet as write
        else:
            raise ValueError(f"{path}: trajectories are written to .hdf5, .h5 or .parquet files")
        written = write(temporary, episodes)
        if written == 0:
            raise ValueError(f"{path}: there is no episode to write")
        temporary.replace(path)
    except OSError as error:
        raise SpecError(f"cannot write it: {error.strerror or error}", file=str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)
    return written


def holds_episodes(data: str, names: Mapping[str, str] | None = None) -> bool:
    """Whether a file's rows are episodes; a Parquet file is known by the columns of steps."""
    path = Path(data)
    if path.suffix != ".parquet":
        return path.suffix in _HDF5 or path.is_dir()
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq

        present = set(pq.read_schema(path).names)
    except (ImportError, OSError, pa.ArrowException):
        return False  # whoever reads it tells what is wrong
    actions = (names or {}).get("action", "action")
    return {"episode", "step"} <= present or any(f"{n}/".startswith(f"{actions}/") for n in present)


def _file_of(path: Path) -> Path:
    """The file that holds the episodes; of a Minari data set, the one in its folder."""
    if not path.exists():
        raise SpecError("there is no such file", file=str(path))
    if not path.is_dir():
        return path
    for folder in (path / "data", path):
        if (folder / "main_data.hdf5").is_file():
            return folder / "main_data.hdf5"
        if (folder / "metadata.json").is_file():
            raise SpecError(
                f"this Minari data set is kept as {_format_of(folder / 'metadata.json')}; only "
                "'hdf5' is read: record or copy it with data_format='hdf5'",
                file=str(path),
            )
    raise SpecError("this folder is no Minari data set: no data/main_data.hdf5", file=str(path))


def _format_of(metadata: Path) -> str:
    try:
        told: Any = json.loads(metadata.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "something else"
    return repr(told.get("data_format")) if isinstance(told, dict) else "something else"


def _reader(path: Path) -> Reader:
    if path.suffix in _HDF5:
        from .hdf5 import Hdf5Episodes

        return Hdf5Episodes(path)
    if path.suffix == ".parquet":
        try:
            from .parquet import ParquetEpisodes
        except ImportError:
            raise SpecError(
                'Parquet files need the package pyarrow: pip install "rewardsmith[offline]"',
                file=str(path),
            ) from None
        return ParquetEpisodes(path)
    raise SpecError(
        "trajectories are .hdf5, .h5 or .parquet files, or the folder of a Minari data set",
        file=os.fspath(path),
    )


def _is_wanted(path: str, columns: Collection[str] | None) -> bool:
    if columns is None:
        return True
    name, _, below = path.partition("/")
    if name in (*OF_A_STEP, "first") or name in columns:
        return True
    if name == "obs":
        return "next_obs" in columns
    return name in ("info", "prev_info") and below.partition("/")[0] in columns

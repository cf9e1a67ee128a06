"""What a reproduction declares, and how it is run: keys, runs, record."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from reproductions.effects import shown
from reproductions.record import RESULTS, Sidecar, tries, versions, write
from reproductions.workers import run_all

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
Key = dict[str, Any]
"""The arguments of one run by name, in the order of train's: arm, seed, settings, or alike."""


class Runs:
    """The runs of all keys."""

    def __init__(self, keys: Sequence[Key], runs: Sequence[Any]) -> None:
        self.keyed = list(zip(keys, runs, strict=True))

    def of(self, **fields: Any) -> list[Any]:
        """Those whose keys have these fields, in the order of the keys: seed by seed.

        Raises:
            ValueError: there are none.
        """
        wanted = fields.items()
        found = [run for key, run in self.keyed if all(key[name] == of for name, of in wanted)]
        if not found:
            raise ValueError(f"there is no run with {fields}")
        return found

    def by_arm(self, arms: Sequence[str], **fields: Any) -> dict[str, list[Any]]:
        """Those of each arm."""
        return {arm: self.of(arm=arm, **fields) for arm in arms}


@dataclass(frozen=True)
class Reproduction:
    """A claim, and how it is tried. A file of a reproduction calls its own ``REPRODUCTION``."""

    id: str
    """The method's id in three digits; a name for standard pieces, which have none."""
    method: str
    """Its name in the catalog."""
    claim: str
    unproved: Sequence[str]
    settings: Any
    """A dataclass: everything that the numbers depend on, the seeds apart."""
    seeds: Sequence[int]
    keys: Callable[[Any, Sequence[int]], Sequence[Key]]
    """settings, seeds -> every run, seed by seed, so that what is there after a kill compares all
    arms."""
    train: Callable[..., Any]
    """One run, by the values of its key (and ``data``, if there is some); gives what JSON holds."""
    judge: Callable[[Runs, Any, Sequence[int]], Mapping[str, Any]]
    """runs, settings, seeds -> what the record tells of them, ``verdict`` included."""
    budget: Callable[[Any, Sequence[int]], Mapping[str, Any]]
    """settings, seeds -> what is spent."""
    paper: str | None = None
    """Its arXiv id."""
    packages: Sequence[str] = ()
    """What the numbers depend on besides ours, numpy and torch."""
    data: str = ""
    """A file that has to lie in the folder of data; "" if none is needed."""

    @property
    def out(self) -> Path:
        """Where the record lies."""
        return RESULTS / f"{self.id}.json"


class RunError(Exception):
    """Some runs failed; the others are in the sidecar."""


def reproduce(
    of: Reproduction,
    out: Path | None = None,
    settings: Any = None,
    seeds: Sequence[int] | None = None,
    *,
    workers: int = 1,
    data: Path = DATA,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Run what is missing, write the record and return it.

    Args:
        of: what is tried.
        out: where the record goes, if not among the results.
        settings: others than declared.
        seeds: likewise.
        workers: how many processes run beside each other; 1 for this one.
        data: the folder of data sets.
        tell: called with a line about each run.

    Raises:
        FileNotFoundError: the data are not there.
        RunError: some runs failed; they are tried again the next time, and the others are kept.
    """
    out = out or of.out
    settings = of.settings if settings is None else settings
    seeds = of.seeds if seeds is None else seeds
    if of.data and not (data / of.data).exists():
        raise FileNotFoundError(f"there is no {of.data} in {data}; say where with --data")
    out.parent.mkdir(parents=True, exist_ok=True)
    sidecar = Sidecar(out.with_suffix(".partial.jsonl"))
    keys = of.keys(settings, seeds)
    done = complete(of, keys, sidecar, workers, data, tell)
    found = dict(of.judge(Runs(keys, [entry["run"] for entry in done]), settings, seeds))
    record = {
        **({"id": of.id} if of.id.isdecimal() else {}),
        "method": of.method,
        **({"paper": of.paper} if of.paper else {}),
        "claim": of.claim,
        **found,
        "settings": asdict(settings),
        "seeds": list(seeds),
        "budget": dict(of.budget(settings, seeds)),
        "seconds": round(sum(entry.get("seconds", 0.0) for entry in done), 1),
        "tries": tries(out, asdict(settings), seeds, found["verdict"]),
        "versions": versions(of.packages),
        "unproved": list(of.unproved),
    }
    write(out, record, sidecar.path)
    return record


def complete(
    of: Reproduction,
    keys: Sequence[Key],
    sidecar: Sidecar,
    workers: int,
    data: Path,
    tell: Callable[[str], None],
) -> list[dict[str, Any]]:
    """The sidecar's line of every key, after the runs that it did not hold."""
    named = [plain(key) for key in keys]
    todo = [i for i, name in enumerate(named) if sidecar.find(name) is None]
    more = (data,) if of.data else ()
    failed = 0
    started = run_all(of.train, [(*keys[i].values(), *more) for i in todo], workers)
    for number, (place, outcome) in enumerate(started, start=len(keys) - len(todo) + 1):
        name = named[todo[place]]
        entry = {"key": name, "seconds": round(outcome.seconds, 3)}
        failed += bool(outcome.error)
        sidecar.add(entry | ({"error": outcome.error} if outcome.error else {"run": outcome.run}))
        label = " ".join(str(value) for value in name.values() if not isinstance(value, dict))
        last = outcome.error.splitlines()[-1:] or [f"{outcome.seconds:.1f} s"]
        tell(f"{of.id} {number}/{len(keys)} {label}: {last[0]}")
    if failed:
        raise RunError(f"{of.id}: {failed} of {len(keys)} runs failed; see {sidecar.path}")
    # Not None: whatever was not there was run, and nothing failed.
    return [entry for name in named if (entry := sidecar.find(name)) is not None]


def plain(key: Key) -> dict[str, Any]:
    """A key as the sidecar holds it."""
    return {name: asdict(of) if is_dataclass(of) else of for name, of in key.items()}


def table(record: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """A line for everything in a record that has an interval."""
    for name, told in record.items():
        if not isinstance(told, dict):
            continue
        if {"mean", "low", "high"} <= told.keys():
            yield f"{path}{name}: {shown(told)}"
        else:
            yield from table(told, f"{path}{name} ")

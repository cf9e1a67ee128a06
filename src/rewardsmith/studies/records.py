"""Where a run keeps what it found: one folder per reward, fingerprint and seed.

``records.jsonl`` grows by a line per evaluation; ``done.json`` appears when the run is finished and
not before, so that a run that was killed is known, wiped and repeated. A changed reward has another
fingerprint and so another folder: nothing is overwritten.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training run: a reward and a seed, in its folder."""

    reward: str
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """Reward, fingerprint and seed: the folder below ``runs``."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def done(self) -> bool:
        return (self.folder / "done.json").exists()

    def begin(self) -> None:
        """Start from nothing; what an interrupted attempt left is removed."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def append(self, record: Record) -> None:
        """Add a record; it is on disk when this returns."""
        with (self.folder / "records.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Mark the run as finished."""
        write_json(self.folder / "done.json", facts)

    def fail(self, message: str, details: str) -> None:
        """Leave word of what broke the run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "failed.json", {"error": message, "details": details})

    def records(self) -> list[Record]:
        """Every whole record; a line that a kill cut short is left out."""
        path = self.folder / "records.jsonl"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines]

    @property
    def size(self) -> int:
        """Bytes of records so far."""
        path = self.folder / "records.jsonl"
        return path.stat().st_size if path.exists() else 0

    def note(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the run, if it is there."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    @property
    def error(self) -> str | None:
        """What broke the run, if something did."""
        failed = self.note("failed")
        return None if failed is None or self.done else str(failed["error"])


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file at once or not at all."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)

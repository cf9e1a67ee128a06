"""``rewardsmith export``: the files between a reward.yaml and a trainer."""

import os
from importlib import import_module
from pathlib import Path

from ..adapters.row_scorer import refuse_comparing
from ..core import spec
from ..core.catalog import nearest
from ..core.errors import SpecError

TRAINERS = ("openenv", "openrlhf", "trl", "verifiers", "verl")


def export_command(trainer: str, reward: Path, out: Path) -> None:
    """Write a trainer's glue; a file that is there and says something else is left alone."""
    if trainer not in TRAINERS:
        known = ", ".join(TRAINERS)
        raise SpecError(f"no trainer {trainer!r}{nearest(trainer, TRAINERS)}; there are {known}")
    # What cannot work is better said now than by a trainer, an hour into its start.
    loaded = spec.load(reward)
    if trainer != "trl":
        refuse_comparing(loaded, trainer)
    # As the generated files will resolve it, whatever links lead here.
    place = os.path.relpath(reward.resolve(), out.resolve())
    module = import_module(f"...adapters.{trainer}.glue", __name__)
    files: dict[str, str] = module.glue(Path(place).as_posix())
    for name, text in files.items():
        file = out / name
        if file.exists() and file.read_text(encoding="utf-8") != text:
            raise SpecError(
                "it is there and says something else; give another --out, or remove it",
                file=str(file),
            )
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (out / name).write_text(text, encoding="utf-8")
        print(out / name)

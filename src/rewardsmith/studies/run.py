"""One run: train under one reward with one seed, as a worker process does it.

Everything random follows from the seed, and evaluation does not disturb training, so a run that is
repeated gives the same records. What trains is the study's own: see :mod:`.control` and
:mod:`.language`.
"""

import importlib.metadata
import multiprocessing
import os
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..adapters.trackers import BestEffort, tracker
from ..core.errors import RewardsmithError, SpecError
from ..core.fingerprint import fingerprint
from ..core.spec import dump
from .records import Run, write_json
from .shared import Study


def train_as_planned(study: Study, run: Run) -> None:
    """Carry out a run whose folder says what it is of; a worker may read its files much later."""
    try:
        planned = run.folder.parent.name == study.folder(run.reward)
    except SpecError as error:
        run.fail(f"a file that the study names was edited while it ran: {error}", "")
        return
    if planned:
        train(study, run)
    else:
        told = "a file that the study names was edited while it ran; run the same command again"
        run.fail(told, "")


def train(study: Study, run: Run) -> None:
    """Carry out a run, from nothing to ``done.json``; what breaks it is left in ``failed.json``."""
    try:
        run.begin()
        torch.set_num_threads(1)
        with _tracked(study, run) as trackers:
            work = study.work
            constant = {
                "reward_hash": fingerprint(study.reward(run.reward)),
                "versions": versions(work.PACKAGES),
            }
            run.finish(work.carry_out(study, run, constant, trackers))
    except Exception as error:  # noqa: BLE001 - a seed that crashes must not take the others along
        run.fail(_said(error), traceback.format_exc())


def compare(study: Study, run: Run, reference: Run) -> None:
    """Note what other policies earn under this run's training reward, as it ended.

    These are the reference's final policy and, where the reward learns, this run's initial one: a
    return before training and one after it are of one reward only if its state is one.
    """
    try:
        earned = study.work.earned
        found: dict[str, Any] = {
            "reference": reference.name,
            "proxy": earned(study, run, reference, "policy"),
        }
        if study.reward(run.reward).learns:
            found["initial"] = earned(study, run, run, "initial")
    except Exception as error:  # noqa: BLE001 - one comparison that fails must not take the report
        found = {"reference": reference.name, "error": _said(error)}
    write_json(run.folder / "comparison.json", found)


def show(study: Study, run: Run) -> None:
    """Keep something of a run for the report, such as a film."""
    study.work.show(study, run)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, RewardsmithError) else repr(error)


@contextmanager
def _tracked(study: Study, run: Run) -> Iterator[list[BestEffort]]:
    """A run of every tracker that the study names."""
    reward = study.reward(run.reward)
    config = {
        "reward": run.reward,
        "seed": run.seed,
        "reward_hash": fingerprint(reward),
        "spec": dump(reward, base=study.document.base),
    }
    name = f"{run.reward}/{run.seed}"
    opened = [
        tracker(kind, name=name, group=study.name, config=config, **arguments)
        for kind, arguments in study.section.trackers.items()
    ]
    failed = True
    try:
        yield opened
        failed = False
    finally:
        for each in opened:
            each.close(failed)


def versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of what a run's numbers depend on."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def prepare_worker() -> None:
    """Give a worker process one thread, and let it end with its parent.

    A worker whose parent was killed would go on writing into a run that a resumed study has begun
    anew.
    """
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)

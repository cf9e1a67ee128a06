"""Experiment trackers behind one seam: TensorBoard, W&B, MLflow, trackio.

>>> log = tracker("wandb", name="sparse/0", group="door_key", project="rewards")  # doctest: +SKIP
>>> log.log({"reward/total": 0.7, "evaluation/gold": 0.9}, step=2048)  # doctest: +SKIP
>>> log.close()  # doctest: +SKIP

A tracker that is not installed, or does not take an argument, is an error at once. From there on
tracking is best effort: each tracker works on a thread of its own behind a queue of limited length,
so one that raises, hangs or finds the disk full costs values and not the run. The first loss is
logged as it happens and the sum at the end; ``lost`` counts the values all along.
"""

import atexit
import hashlib
import importlib
import inspect
import logging
import math
import os
import re
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from queue import Full, Queue
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import yaml

from ..core.catalog import nearest
from ..core.errors import SpecError

if TYPE_CHECKING:
    from stable_baselines3.common.logger import KVWriter

_LOGGER = logging.getLogger(__name__)
_OURS = frozenset({"self", "name", "group", "config"})


class Tracker(Protocol):
    """One run of an experiment, as a tracker keeps it."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Keep numbers by name, at a step."""
        ...

    def text(self, name: str, text: str) -> None:
        """Keep a text of the whole run."""
        ...

    def close(self, failed: bool = False) -> None:
        """End the run; ``failed`` says that it broke."""
        ...


def tracker(
    kind: str,
    *,
    name: str,
    group: str = "",
    config: Mapping[str, Any] | None = None,
    patience: float = 30.0,
    **arguments: Any,
) -> "BestEffort":
    """A run of the tracker ``kind``, on a thread of its own.

    Args:
        kind: one of :data:`TRACKERS`.
        name: what the run is called.
        group: what it belongs to, such as the study.
        config: plain data about the run.
        patience: seconds that :meth:`BestEffort.close` waits for what is still on its way.
        arguments: ``folder`` (tensorboard: files lie in ``folder/group/name``, default ``runs``);
            ``tracking_uri`` and ``experiment`` (mlflow); what their ``init`` takes (wandb,
            trackio). Project and experiment are ``rewardsmith`` if not given.

    Raises:
        SpecError: there is no such tracker, it cannot be imported, or it takes no such argument.
    """
    check_tracker(kind, arguments)
    opener = TRACKERS[kind].open
    return BestEffort(kind, lambda: opener(name, group, config or {}, **arguments), patience)


def check_tracker(kind: str, arguments: Mapping[str, Any]) -> None:
    """Import a tracker's package and compare the arguments with what it takes; opens nothing.

    Raises:
        SpecError: as :func:`tracker`.
    """
    if kind not in TRACKERS:
        raise SpecError(f"unknown tracker {kind!r}{nearest(kind, [*TRACKERS])}")
    found = TRACKERS[kind]
    try:
        accepted = [*found.accepts(), "patience"]
    except Exception as error:
        raise SpecError(
            f"tracker {kind!r} cannot be imported ({type(error).__name__}: {error}): "
            f"pip install {found.package}"
        ) from error
    for name in arguments:
        if name not in accepted:
            raise SpecError(f"tracker {kind!r} takes no {name!r}{nearest(name, accepted)}")


class BestEffort:
    """A tracker that never raises, and never blocks for longer than ``patience``.

    What a package loses by itself after it took it is not known here, and not counted.

    Args:
        kind: what messages call it.
        open: starts the run; called on the thread, so that a slow server delays nothing.
        patience: seconds that :meth:`close` waits for what is still on its way.
        room: calls that may wait; while there are as many, what is new is lost.
    """

    def __init__(
        self, kind: str, open: Callable[[], Tracker], patience: float = 30.0, room: int = 1000
    ) -> None:
        self.kind, self.patience = kind, patience
        self.given = 0
        """Finite values that :meth:`log` was given."""
        self.lost = 0
        """Those of them that the tracker did not take."""
        self.not_finite = 0
        """Values kept out because they are NaN or infinite."""
        self._waiting = 0
        self._told = self._closed = self._failed = self._abandoned = False
        self._counts = threading.Lock()
        self._queue: Queue[_Job | None] = Queue(room)
        self._thread = threading.Thread(
            target=self._work, args=(open,), name=f"tracker {kind}", daemon=True
        )
        atexit.register(self.close)
        self._thread.start()

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Hand over numbers; what is not finite is kept out and counted."""
        kept = {}
        for name, value in values.items():
            try:
                number = float(value)
            except (TypeError, ValueError, OverflowError, RuntimeError) as error:
                self.given += 1
                self._lose(1, name, str(error))
                continue
            if math.isfinite(number):
                kept[name] = number
            else:
                self.not_finite += 1
        if kept:
            self.given += len(kept)
            what = f"{len(kept)} values of step {step}"
            self._give(_Job(lambda to: to.log(kept, int(step)), len(kept), what))

    def text(self, name: str, text: str) -> None:
        """Hand over a text."""
        self._give(_Job(lambda to: to.text(name, text), 0, f"the text {name!r}"))

    def close(self, failed: bool = False) -> None:
        """End the run; waits ``patience`` seconds at most, and says how much was lost."""
        if self._closed:
            return
        self._closed, self._failed = True, failed
        atexit.unregister(self.close)
        deadline = time.monotonic() + self.patience
        with suppress(Full):
            self._queue.put(None, timeout=self.patience)
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            with self._counts:
                self._abandoned, left = True, self._waiting
            self._lose(left, "the end of the run", f"it was not done after {self.patience:g} s")
        if self.lost:
            _LOGGER.warning("tracker %r lost %d of %d values", self.kind, self.lost, self.given)

    def _give(self, job: "_Job") -> None:
        if self._closed:
            self._lose(job.values, job.what, "it is closed")
            return
        with self._counts:
            self._waiting += job.values
        try:
            self._queue.put_nowait(job)
        except Full:
            self._settle(job, f"{self._queue.maxsize} calls before it are still waiting")

    def _work(self, open: Callable[[], Tracker]) -> None:
        to, broken = None, ""
        try:
            to = open()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - nothing may end the training
            broken = f"it could not be opened: {type(error).__name__}: {error}"
            self._lose(0, "the run", broken)
        # Once more: what was registered last runs first at exit, before the package's own.
        atexit.register(self.close)
        while (job := self._queue.get()) is not None and not self._abandoned:
            self._settle(job, broken if to is None else _tried(job, to))
        if to is not None:
            end = _Job(lambda to: to.close(self._failed), 0, "the end of the run")
            self._settle(end, _tried(end, to))

    def _settle(self, job: "_Job", why: str) -> None:
        with self._counts:
            if self._abandoned:  # then all that waited was counted as lost
                return
            self._waiting -= job.values
        if why:
            self._lose(job.values, job.what, why)

    def _lose(self, values: int, what: str, why: str) -> None:
        with self._counts:
            self.lost += values
            first, self._told = not self._told, True
        if first:
            more = "the run goes on, and what else is lost is only counted"
            _LOGGER.warning("tracker %r lost %s: %s (%s)", self.kind, what, why, more)


class _Job(NamedTuple):
    """What is on its way to a tracker."""

    act: Callable[[Tracker], None]
    values: int
    what: str


def _tried(job: _Job, to: Tracker) -> str:
    """Why the tracker did not take it; empty if it did."""
    try:
        job.act(to)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - nothing may end the training
        return f"{type(error).__name__}: {error}"
    return ""


def TrackerWriter(tracker: Tracker) -> "KVWriter":  # noqa: N802 - it reads as what it makes
    """An output of Stable-Baselines3's logger that forwards its numbers to a tracker.

    ``model.set_logger(Logger(folder, [TrackerWriter(tracker)]))``. What SB3 keeps out of
    TensorBoard, because it repeats the step, is kept out here as well.
    """
    from stable_baselines3.common.logger import KVWriter

    class Writer(KVWriter):
        def write(
            self,
            key_values: dict[str, Any],
            key_excluded: dict[str, tuple[str, ...]],
            step: int = 0,
        ) -> None:
            numbers = {
                name: value
                for name, value in key_values.items()
                if isinstance(value, Real) and "tensorboard" not in (key_excluded.get(name) or ())
            }
            tracker.log(numbers, step)  # type: ignore[arg-type]

        def close(self) -> None:
            tracker.close()

    return Writer()


class _TensorBoard:
    def __init__(
        self, name: str, group: str, config: Mapping[str, Any], *, folder: str = "runs"
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(Path(folder, group, name)))
        if config:
            self.text("config", yaml.safe_dump(dict(config), sort_keys=False))

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        # What cannot be written is known now, and not with some later value.
        self.writer.flush()

    def text(self, name: str, text: str) -> None:
        # TensorBoard shows Markdown; indented, the text stays as it is.
        self.writer.add_text(name, textwrap.indent(text, "    "))

    def close(self, failed: bool = False) -> None:
        self.writer.close()


class _Wandb:
    def __init__(self, name: str, group: str, config: Mapping[str, Any], **arguments: Any) -> None:
        # A run of its own, even if the one before it in this process never ended.
        arguments = {"project": "rewardsmith", "reinit": "create_new", **arguments}
        wandb = importlib.import_module("wandb")
        self.run = wandb.init(name=name, group=group or None, config=dict(config), **arguments)
        self.step = 0

    def log(self, values: Mapping[str, float], step: int) -> None:
        if step < self.step:
            # W&B would leave them out and say so only on its own output.
            raise ValueError(f"W&B takes no step before its last one, {self.step}")
        self.step = step
        self.run.log(dict(values), step=step)

    def text(self, name: str, text: str) -> None:
        self.run.config.update({name: text}, allow_val_change=True)

    def close(self, failed: bool = False) -> None:
        self.run.finish(exit_code=int(failed))


class _MLflow:
    def __init__(
        self,
        name: str,
        group: str,
        config: Mapping[str, Any],
        *,
        tracking_uri: str | None = None,
        experiment: str = "rewardsmith",
    ) -> None:
        # Its retries would draw from Python's global generator, which training may use too.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
        self.mlflow = importlib.import_module("mlflow")
        with _alone(tracking_uri or self.mlflow.get_tracking_uri()):
            self.client = self.mlflow.MlflowClient(tracking_uri)
        tags = {"group": group} if group else {}
        made = self.client.create_run(self._experiment(experiment), run_name=name, tags=tags)
        self.run = made.info.run_id
        params = [self.mlflow.entities.Param(*item) for item in _flat(config)]
        for i in range(0, len(params), 100):  # the most that MLflow takes at once
            self.client.log_batch(self.run, params=params[i : i + 100])

    def _experiment(self, name: str) -> str:
        try:
            return str(self.client.create_experiment(name))
        except Exception:
            # It is there already, as for every run but the first.
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def log(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metric = self.mlflow.entities.Metric
        metrics = [metric(_plain(name), value, now, step) for name, value in values.items()]
        self.client.log_batch(self.run, metrics=metrics)

    def text(self, name: str, text: str) -> None:
        self.client.log_text(self.run, text, f"{_plain(name)}.txt")

    def close(self, failed: bool = False) -> None:
        self.client.set_terminated(self.run, status="FAILED" if failed else "FINISHED")


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Keep other processes out while MLflow may be making a database in a file.

    Workers that begin together would break it for each other, and none of them could use it.
    """
    if not uri.startswith("sqlite"):
        yield
        return
    import fcntl

    name = f"rewardsmith-{os.getuid()}-{hashlib.sha256(uri.encode()).hexdigest()[:16]}.lock"
    with Path(tempfile.gettempdir(), name).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _plain(name: str) -> str:
    """A name that MLflow takes; one that it does not would cost its whole batch."""
    return re.sub(r"[^\w/.\- :]", "_", name)


def _flat(data: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested mappings as ``a.b.c`` and text."""
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from _flat(value, f"{path}.{_plain(str(key))}" if path else _plain(str(key)))
    elif path:
        yield path, str(data)


class _Trackio:
    def __init__(self, name: str, group: str, config: Mapping[str, Any], **arguments: Any) -> None:
        self.trackio = importlib.import_module("trackio")
        arguments = {"project": "rewardsmith", "embed": False, **arguments}
        self.run = self.trackio.init(
            name=name, group=group or None, config=dict(config), **arguments
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def text(self, name: str, text: str) -> None:
        self.run.log({name: self.trackio.Markdown(text)})

    def close(self, failed: bool = False) -> None:
        self.run.finish()


@dataclass(frozen=True)
class Backend:
    """What is known of a tracker before it is used."""

    open: Callable[..., Tracker]
    module: str
    package: str
    passes_to: str = ""
    """The function of ``module`` that gets the arguments, where ``open`` only passes them on."""

    def accepts(self) -> list[str]:
        """The arguments that a user may give; imports the module."""
        module = importlib.import_module(self.module)
        taker = getattr(module, self.passes_to) if self.passes_to else self.open
        return [name for name in inspect.signature(taker).parameters if name not in _OURS]


TRACKERS: dict[str, Backend] = {
    "tensorboard": Backend(_TensorBoard, "torch.utils.tensorboard", "tensorboard"),
    "wandb": Backend(_Wandb, "wandb", "wandb", "init"),
    "mlflow": Backend(_MLflow, "mlflow", "mlflow"),
    "trackio": Backend(_Trackio, "trackio", "trackio", "init"),
}
"""The trackers by name; another one with the same interface may be added."""

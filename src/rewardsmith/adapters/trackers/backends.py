"""The trackers themselves; none of their packages is imported before it is asked for."""

import hashlib
import importlib
import inspect
import os
import re
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .best_effort import Tracker

_OURS = frozenset({"self", "name", "group", "config"})


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
        except Exception:  # what a server raises for a name it has differs between versions
            # It is there already, as for every run but the first; anything else is raised again.
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

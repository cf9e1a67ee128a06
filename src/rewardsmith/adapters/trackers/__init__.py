"""Experiment trackers behind one seam: TensorBoard, W&B, MLflow, trackio.

>>> log = tracker("wandb", name="sparse/0", group="door_key", project="rewards")  # doctest: +SKIP
>>> log.log({"reward/total": 0.7, "evaluation/gold": 0.9}, step=2048)  # doctest: +SKIP
>>> log.close()  # doctest: +SKIP

A tracker that is not installed, or does not take an argument, is an error at once. From there on
tracking is best effort: each tracker works on a thread of its own behind a queue of limited length,
so one that raises, hangs or finds the disk full costs values and not the run. The first loss is
logged as it happens and the sum at the end; ``lost`` counts the values all along.
"""

from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

from ...core.catalog import nearest
from ...core.errors import SpecError
from .backends import TRACKERS
from .best_effort import BestEffort, Tracker

if TYPE_CHECKING:
    from stable_baselines3.common.logger import KVWriter

__all__ = ["TRACKERS", "BestEffort", "Tracker", "TrackerWriter", "check_tracker", "tracker"]


def tracker(
    kind: str,
    *,
    name: str,
    group: str = "",
    config: Mapping[str, Any] | None = None,
    patience: float = 30.0,
    **arguments: Any,
) -> BestEffort:
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

"""The executor of a Ray cluster: batches of rows go through Ray Data.

Each of Ray's actors runs its rows in a worker process of its own, so that deadlines hold there too.
Ray starts actors again that die, and gives their batches to others.
"""

import pickle
from collections.abc import Sequence
from typing import Any

from ..core.execution import Row
from ..core.outcome import Outcomes
from ..core.rowcall import RowCall
from .processes import Processes

_BATCH = 256


class Ray:
    """Runs rows on the cluster that ``ray.init`` joined; if none was, a local one is started.

    A data set and its actors are set up for every call, which takes seconds where rows may take
    microseconds: give it tens of thousands of rows at a time (``rewardsmith score --chunk``). How
    Ray is set up otherwise is left as it is.

    Args:
        workers: how many actors; default one for each CPU of the cluster.
        timeout: seconds that each row may take.
        preload: modules that their worker processes start with.
    """

    def __init__(
        self,
        workers: int | None = None,
        timeout: float | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"{workers} workers: at least 1")
        self.workers, self.timeout, self.preload = workers, timeout, tuple(preload)

    def run(self, call: RowCall, rows: Sequence[Row]) -> Outcomes:
        """Score rows; see :meth:`rewardsmith.engine.processes.Processes.run`."""
        if not rows:
            return Outcomes()
        import ray

        if not ray.is_initialized():
            # Another thread may be first.
            ray.init(log_to_driver=False, ignore_reinit_error=True)
        workers = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        size = max(1, min(_BATCH, -(-len(rows) // (4 * workers))))
        batches = [
            {"at": i, "rows": pickle.dumps(rows[i : i + size])} for i in range(0, len(rows), size)
        ]
        source = ray.data.from_items(batches, override_num_blocks=len(batches))
        # Its own copy: the caller's other data sets keep their bars.
        source.context.enable_progress_bars = False
        found = source.map_batches(
            _Scorer,
            fn_constructor_args=(pickle.dumps(call), self.timeout, self.preload),
            batch_size=1,
            concurrency=workers,
        )
        outcomes = Outcomes()
        for batch in sorted(found.take_all(), key=lambda batch: int(batch["at"])):
            outcomes.extend(pickle.loads(batch["outcomes"]))
        return outcomes


class _Scorer:
    """An actor: one worker process and its deadline."""

    def __init__(self, call: bytes, timeout: float | None, preload: tuple[str, ...]) -> None:
        self.call: RowCall = pickle.loads(call)
        self.processes = Processes(1, timeout, preload)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        found = [
            pickle.dumps(self.processes.run(self.call, pickle.loads(rows)))
            for rows in batch["rows"]
        ]
        return {"at": list(batch["at"]), "outcomes": found}

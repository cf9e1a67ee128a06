"""``with rs.executor(...)``: say how the rows of every reward inside are run."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from ..core.catalog import nearest
from ..core.execution import Execution, Executor, Inline, using

Kind: TypeAlias = Literal["inline", "processes", "ray"]
_TIMEOUT = 10.0


@contextmanager
def executor(
    kind: Kind = "processes",
    *,
    workers: int | None = None,
    timeout: float | Literal["default"] | None = "default",
    cache: Path | str | None = None,
    dedupe: bool = True,
    preload: Sequence[str] = (),
) -> Iterator[Execution]:
    """Run the rows of every reward inside this way.

    It is set by a context variable: tasks of an event loop and ``asyncio.to_thread`` take it over,
    a thread that is started plainly does not. There, start
    ``threading.Thread(target=contextvars.copy_context().run, args=(work,))``, or submit
    ``contextvars.copy_context().run`` to a pool of threads, a new copy each time. What threads
    still score when this ends is given up: there, a ScoreError says that it was closed.

    Args:
        kind: ``"inline"``: here, one after the other. ``"processes"``: in worker processes, which
            are killed and replaced where a row hangs. ``"ray"``: on a Ray cluster.
        workers: how many; default the number of cores.
        timeout: seconds that a row may take; it then has the status ``timeout``. The default is 10;
            None waits for ever. Inline, nothing could end a row.
        cache: a folder that remembers what rows were worth; None remembers nothing.
        dedupe: whether equal rows are run once.
        preload: modules to import before the first row; see :class:`~.processes.Processes`.

    Raises:
        ValueError: another kind, or arguments that do not go together.
        SpecError: ``cache`` is no folder of a cache.
        ImportError: a package is missing, with the extra that brings it.

    Example:
        >>> import rewardsmith as rs
        >>> with rs.executor("processes", workers=2, timeout=1.0):  # doctest: +SKIP
        ...     scores = reward(rollouts)
    """
    if kind not in get_args(Kind):
        raise ValueError(f"no executor {kind!r}{nearest(kind, get_args(Kind))}")
    with ExitStack() as stack:
        runs = _made(kind, workers, timeout, preload, stack)
        known = None
        if cache is not None:
            from .cache import DiskCache

            known = DiskCache(cache)
            stack.callback(known.close)
        yield stack.enter_context(using(Execution(runs, known, dedupe)))


def _made(
    kind: Kind,
    workers: int | None,
    timeout: float | Literal["default"] | None,
    preload: Sequence[str],
    stack: ExitStack,
) -> Executor:
    if kind == "inline":
        if workers is not None or timeout not in (None, "default"):
            raise ValueError(
                "inline, rows run one after the other and nothing ends one that hangs: "
                "workers and timeout need the executor 'processes' or 'ray'"
            )
        return Inline()
    seconds = _TIMEOUT if timeout == "default" else timeout
    if kind == "processes":
        from .processes import Processes

        return stack.enter_context(Processes(workers, seconds, preload))
    from .ray import Ray

    return Ray(workers, seconds, preload)

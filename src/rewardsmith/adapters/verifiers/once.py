"""One scoring for several functions that ask about the same rollout.

A trainer calls its reward and its metrics one by one, on the same object; a judge should be paid
once.
"""

import asyncio
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

R = TypeVar("R")


@dataclass
class _Entry(Generic[R]):
    owner: "weakref.ref[Any]"
    seen: Any
    result: "Future[R]"
    askers: set[str] = field(default_factory=set)


class Once(Generic[R]):
    """Shares a result among those who ask about one object; from any thread or event loop.

    It is asked for anew where an asker comes back (the rollout is scored again) or what was seen of
    the object has changed; it is forgotten with the object.

    Args:
        submit: begins to score an item.
    """

    def __init__(self, submit: "Callable[[Any], Future[R]]") -> None:
        self.submit = submit
        self._entries: dict[int, _Entry[R]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Once, (self.submit,)

    async def ask(self, owner: Any, asker: str, item: Any, seen: Any) -> R:
        """The result for ``item``.

        Args:
            owner: the object that the item was read from.
            asker: the name of the function that asks.
            item: what is scored, if nobody did yet.
            seen: what tells whether the object is still the same.
        """
        result = asyncio.wrap_future(self._result(owner, asker, item, seen))
        # Shielded: a function that is cancelled must not take the result from the others.
        return await asyncio.shield(result)

    def _result(self, owner: Any, asker: str, item: Any, seen: Any) -> "Future[R]":
        key = id(owner)
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or asker in entry.askers or entry.seen != seen:
                # Without the lock: it may be collected while this thread holds it.
                gone = weakref.ref(owner, lambda _: self._entries.pop(key, None))
                entry = self._entries[key] = _Entry(gone, seen, self.submit(item))
            entry.askers.add(asker)
            return entry.result

"""What worker processes run in these tests: functions that they import by name, and no torch."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rewardsmith.core.outcome import Outcome, Outcomes, Status
from rewardsmith.core.rowcall import RowCall
from rewardsmith.rules.verdict import Verdict


def score(value: Any) -> Any:
    """Does what its argument says: a number is returned, a word is a way to break."""
    if isinstance(value, str):
        return BREAKS[value]()
    return value


def _raise() -> float:
    raise ValueError("no such answer")


def _late() -> float:
    raise TimeoutError("its own")


def _sleep() -> float:
    time.sleep(60)
    return 1.0


def _spin() -> float:
    while True:
        pass


def _stubborn() -> float:
    """A hang that does not mind being asked to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return _sleep()


def _in_c() -> float:
    """A hang inside one instruction, which holds the interpreter's lock."""
    return float(len(str(9 ** (9**9))))


def _exit() -> float:
    os._exit(0)


def _exit_with_code() -> float:
    os._exit(3)


def _kill() -> float:
    os.kill(os.getpid(), signal.SIGKILL)
    return 1.0


def _crash() -> float:
    ctypes.string_at(0)
    return 1.0


def _quit() -> float:
    sys.exit("enough")


def _interrupt() -> float:
    raise KeyboardInterrupt


def _unprintable() -> float:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    raise SilentError


def _deep() -> float:
    return _deep() + 1.0


def _why() -> Verdict:
    return Verdict(0.5, "half of it")


def _late_death() -> float:
    """Scores well, and takes its process down a moment later."""
    threading.Timer(0.3, os._exit, (4,)).start()
    return 1.0


class Unwilling:
    """Does not pickle."""

    def __init__(self, why: str) -> None:
        self.why = why

    def __reduce__(self) -> Any:
        raise ValueError(self.why)


class Homesick:
    """Unpickles in the process with this number, and nowhere else."""

    def __init__(self, home: int) -> None:
        self.home = home

    def __setstate__(self, state: dict[str, int]) -> None:
        if os.getpid() != state["home"]:
            raise OSError("only at home")


def beget(folder: str, kind: str) -> float:
    """Starts a process, notes its number, and hangs."""
    ignore = "trap '' TERM;" if kind == "stubborn child" else ""
    child = subprocess.Popen(["sh", "-c", f"{ignore} sleep 600; true"])
    (Path(folder) / "child").write_text(str(child.pid))
    return _sleep()


BREAKS = {
    "raise": _raise,
    "late": _late,
    "sleep": _sleep,
    "spin": _spin,
    "stubborn": _stubborn,
    "in C": _in_c,
    "exit 0": _exit,
    "exit 3": _exit_with_code,
    "kill": _kill,
    "crash": _crash,
    "SystemExit": _quit,
    "KeyboardInterrupt": _interrupt,
    "unprintable": _unprintable,
    "deep": _deep,
    "why": _why,
    "late death": _late_death,
    "none": lambda: None,
    "nan": lambda: float("nan"),
    "text": lambda: "1.0",
    "huge": lambda: 10**400,
    "torch": lambda: "torch" in sys.modules,
    "pid": lambda: time.sleep(0.005) or float(os.getpid()),
    "longer": lambda: time.sleep(0.33) or 1.0,
    "short": lambda: time.sleep(0.02) or 1.0,
}


def length(text: str) -> float:
    return float(len(text))


def weighed(completion: str, answer: Any, weight: float = 1.0) -> float:
    return weight * (completion == answer)


def told(value: Any) -> float:
    """A number that tells apart what differs in any way."""
    return float(sum(map(ord, repr(value))))


def imported(name: str) -> bool:
    return name in sys.modules


def workers_of(processes: Any) -> set[int]:
    """The processes that score rows just now; on a busy machine one takes seconds to start."""
    rows = [("pid",) for _ in range(30 * processes.workers)]
    end = time.monotonic() + 20.0
    while True:
        found = {int(value) for value in processes.run(RowCall(score, ("value",)), rows).values}
        if len(found) == processes.workers or time.monotonic() > end:
            return found


def verdicts(outcomes: Outcomes) -> list[Outcome]:
    return [outcomes.outcome(i) for i in range(len(outcomes))]


def broken(outcomes: Outcomes) -> dict[int, Status]:
    """The rows that were not scored."""
    return {i: Status(s) for i, s in enumerate(outcomes.status) if s != Status.SCORED}

"""Processors, memory, processes and output: what a program takes is bounded and given back."""

import time
from typing import Any

import pytest
from tests.escapes.inside import (
    MIB,
    PATIENT,
    SHORT,
    TOOLS,
    calls,
    honest_program_passes,
    inside,
    offspring,
    scripts,
    statuses,
)

from rewardsmith.engine.sandbox import Call, Limits, run_asserts, run_calls, run_script

SMALL = Limits(test=3.0, program=9.0, memory=160 * MIB)
"""For attacks on memory: enough for one that eats, and not for two."""
ENDED = {"failed", "crashed", "timeout"}

EAT = """
import mmap
told, tell = os.pipe()

def touch(memory):
    for k in range(0, len(memory), 4096):
        memory[k] = 1

def eaters(n, eat, mib=64):
    # How many of n processes hold so much memory, all at the same time.
    for _ in range(n):
        if not os.fork():
            kept = eat(mib << 20)
            os.write(tell, b".")
            time.sleep(30)
            os._exit(len(kept))

def fed(n, within=1.2):
    os.set_blocking(told, False)
    end, count = time.monotonic() + within, 0
    while count < n and time.monotonic() < end:
        try:
            count += len(os.read(told, n))
        except BlockingIOError:
            time.sleep(0.01)
    return count

def heap(size):
    memory = bytearray(size)
    touch(memory)
    return memory
"""


def eats_less_than(n: int, source: str, limits: Limits = SMALL) -> None:
    """``attack`` returns how many processes of 64 MiB each there were."""
    found: list[Any] = []

    def keep(got: Any, _: Any) -> bool:
        found.append(got)
        return False

    results = calls(EAT + source, same=keep, limits=limits)
    assert statuses(results)[0] in ENDED
    assert not found or found[0] < n, found


def test_all_are_fed_where_memory_is_enough() -> None:
    """What the tests below rely on: it is the limit that ends them."""
    source = EAT + "def attack():\n    eaters(5, heap)\n    return fed(5, within=25)"
    enough = Limits(test=30.0, program=40.0, memory=1024 * MIB)
    assert statuses(calls(source, expected=5, limits=enough)) == ["passed"]


def test_bombs_with_forks() -> None:
    source = "def attack():\n    while True:\n        tried(os.fork)"
    before = len(offspring())
    assert statuses(calls(source, 2)) == ["timeout", "timeout"]
    assert honest_program_passes()
    assert len(offspring()) <= before + 3


def test_counts_processes_of_a_fork_bomb() -> None:
    source = """
def attack():
    made = 0
    for _ in range(200):
        outcome = tried(os.fork)
        if outcome == ["got", 0]:
            time.sleep(20)
        made += outcome[0] == "got"
    return made
"""
    before = len(offspring())
    seen: list[int] = []

    def look(made: int, _: Any) -> bool:
        seen.extend([made, len(offspring())])
        return True

    assert statuses(calls(source, same=look)) == ["passed"]
    made, alive = seen
    assert 0 < made <= SHORT.processes
    assert alive <= before + SHORT.processes + 3


def test_bombs_with_threads() -> None:
    source = """
def attack():
    made = 0
    try:
        for _ in range(500):
            threading.Thread(target=time.sleep, args=(20,), daemon=True).start()
            made += 1
    except RuntimeError:
        pass
    return made
"""
    assert 0 < inside(source) <= SHORT.processes
    assert honest_program_passes()


def test_bombs_where_it_is_loaded_again_and_again() -> None:
    source = (
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    )
    assert statuses(calls(source, 2)) == ["timeout", "timeout"]
    assert honest_program_passes()


def test_takes_all_memory_by_one_object() -> None:
    (result,) = calls("def attack(): return len(bytearray(8 << 30))", same=lambda got, _: True)
    assert result.status == "failed"
    assert "MemoryError" in result.why


def test_takes_all_memory_by_many_objects() -> None:
    source = """
def attack():
    kept = []
    while True:
        kept.append(bytearray(1 << 20))
"""
    (result,) = calls(source, limits=SMALL)
    assert result.status in ("failed", "crashed")


def test_takes_all_memory_by_maps() -> None:
    source = """
import mmap
def attack():
    kept = []
    try:
        while len(kept) < 1024:
            kept.append(mmap.mmap(-1, 16 << 20))
    except (OSError, ValueError):
        pass
    return len(kept)
"""
    assert inside(source) * 16 <= 256


def test_takes_memory_in_many_processes() -> None:
    eats_less_than(5, "def attack():\n    eaters(5, heap)\n    return fed(5)")


def test_takes_memory_in_many_processes_of_a_script() -> None:
    source = EAT + "eaters(5, heap)\nprint('fed', fed(5))"
    (result,) = scripts(source, expected="fed 5", limits=SMALL)
    assert result.status in ENDED


def test_takes_memory_while_it_answers() -> None:
    """A frame that has begun, and goes on once the memory is eaten."""
    source = """
def attack():
    raw(struct.pack(">I", 10))
    time.sleep(0.1)
    eaters(5, heap)
    raw(b"=[%d, null]" % fed(5))
    time.sleep(9)
"""
    eats_less_than(5, source)


def test_takes_memory_behind_a_flood_of_complaints() -> None:
    """Whoever reads what is printed has to look at the memory as well."""
    source = (
        EAT
        + """
if not os.fork():
    while True:
        os.write(2, bytes(65536))
eaters(5, heap)
print("fed", fed(5))
"""
    )
    (result,) = scripts(source, expected="fed 5", limits=SMALL)
    assert result.status in ENDED


def test_takes_memory_between_two_tests() -> None:
    """While the host compares, and nobody has asked the program for anything."""
    source = (
        TOOLS
        + EAT
        + """
def attack(first):
    if first:
        eaters(5, heap)
        return 0
    return fed(5)
"""
    )
    found: list[int] = []

    def slowly(got: int, _: Any) -> bool:
        found.append(got)
        time.sleep(0.6)
        return True

    tests = [Call([True], {}, None), Call([False], {}, None)]
    results = run_calls(source, "attack", tests, slowly, limits=SMALL)
    assert results[1].status in ENDED or found[1] < 5, (results, found)


def test_takes_memory_while_its_tests_compute() -> None:
    source = (
        TOOLS
        + EAT
        + """
def attack(first):
    if first:
        eaters(5, heap)
        return 0
    return fed(5)
"""
    )
    tests = """
import time
def check(candidate):
    candidate(True)
    time.sleep(0.6)
    assert candidate(False) == 5
"""
    (result,) = run_asserts(source, tests, "attack", limits=SMALL)
    assert result.status in ENDED


def test_takes_memory_that_no_process_has_mapped() -> None:
    """Shared memory stays where its pages are dropped from the map of the process."""
    source = """
def shared(size):
    memory = mmap.mmap(-1, size)
    for at in range(0, size, 4 << 20):
        for k in range(at, at + (4 << 20), 4096):
            memory[k] = 1
        memory.madvise(mmap.MADV_DONTNEED)
    return memory

def attack():
    eaters(5, shared)
    return fed(5)
"""
    eats_less_than(5, source)


def test_takes_memory_by_shared_maps_of_a_device() -> None:
    source = """
def shared(size):
    memory = mmap.mmap(os.open("/dev/zero", os.O_RDWR), size)
    for at in range(0, size, 4 << 20):
        for k in range(at, at + (4 << 20), 4096):
            memory[k] = 1
        memory.madvise(mmap.MADV_DONTNEED)
    return memory

def attack():
    eaters(5, shared)
    return fed(5)
"""
    eats_less_than(5, source)


def test_takes_memory_without_a_main_thread() -> None:
    """A process whose first thread has ended looks as if it had none."""
    source = """
def attack():
    for _ in range(5):
        if not os.fork():
            def eat():
                time.sleep(0.1)
                kept = heap(64 << 20)
                os.write(tell, b".")
                time.sleep(30)
            threading.Thread(target=eat).start()
            libc.syscall(60, 0)
    return fed(5)
"""
    eats_less_than(5, source)


def test_takes_memory_under_a_confusing_name() -> None:
    """What follows the name of a process is read from its end."""
    source = """
def named(size):
    libc.prctl(15, b") R 1 1 1 1 0", 0, 0, 0)
    return heap(size)

def attack():
    eaters(5, named)
    return fed(5)
"""
    eats_less_than(5, source)


def test_takes_memory_in_pipes() -> None:
    source = """
def attack():
    held = 0
    for _ in range(60):
        try:
            a, b = os.pipe()
            os.set_blocking(b, False)
            tried(fcntl.fcntl, b, 1031, 1 << 20)  # F_SETPIPE_SZ
            while True:
                held += os.write(b, bytes(65536))
        except OSError:
            pass
    return held
"""
    assert 0 < inside(source) <= 70 * MIB


def test_takes_memory_in_sockets() -> None:
    source = """
def attack():
    held, kept = 0, []
    for _ in range(60):
        try:
            pair = socket.socketpair()
            kept.append(pair)
            for end in pair:
                end.setblocking(False)
                try:
                    while True:
                        held += end.send(bytes(4096))
                except OSError:
                    pass
        except OSError:
            pass
    return held
"""
    assert 0 < inside(source) <= 64 * MIB


def test_takes_all_descriptors() -> None:
    source = """
def attack():
    kept = []
    while True:
        outcome = tried(os.open, "/dev/null", os.O_RDONLY)
        if outcome[0] == "refused":
            return len(kept)
        kept.append(outcome)
"""
    assert inside(source) <= SHORT.files
    loaded = "import os\ntry:\n    while True:\n        os.dup(1)\nexcept OSError:\n    pass\n"
    assert statuses(calls(loaded + "def attack(): return 1", 3, expected=1)) == ["passed"] * 3


def test_floods_the_standard_output() -> None:
    (result,) = scripts("while True:\n    print('x' * 10_000)")
    assert result.status == "failed"
    assert "printed more than" in result.why


def test_floods_the_standard_error() -> None:
    began = time.monotonic()
    (result,) = scripts("while True:\n    os.write(2, bytes(65536))")
    assert result.status == "timeout"
    assert time.monotonic() - began < SHORT.test + 1.5


def test_floods_the_output_that_nobody_reads() -> None:
    source = "def attack():\n    for _ in range(1000):\n        print('x' * 65536)\n    return 1"
    assert statuses(calls(source, expected=1)) == ["passed"]


def test_floods_from_many_processes() -> None:
    source = """
for _ in range(10):
    if not os.fork():
        break
while True:
    os.write(1, bytes(65536))
    os.write(2, bytes(65536))
"""
    (result,) = scripts(source)
    assert result.status in ("failed", "timeout")


@pytest.mark.parametrize(
    "value",
    ["'x' * 5_000_000", "list(range(1_000_000))", "b'x' * 5_000_000", "'\\0' * 500_000"],
    ids=["text", "list", "bytes", "escapes"],
)
def test_returns_giant_values(value: str) -> None:
    (result,) = calls(f"def attack(): return {value}", limits=Limits(test=3.0))
    assert result.status == "failed"
    assert len(result.why) < 1000


def test_raises_a_giant_error() -> None:
    for source in (
        "def attack(): raise ValueError('x' * 5_000_000)",
        "def attack(): raise type('E' * 5_000_000, (Exception,), {})()",
    ):
        (result,) = calls(source)
        assert result.status == "failed"
        assert len(result.why) < 1000


def test_computes_without_end() -> None:
    began = time.monotonic()
    for source in (
        "def attack():\n    while True: pass",
        "def attack(): return 7 ** (10 ** 8) % 3 and sum(range(10 ** 12))",
        "import re\ndef attack(): re.match('(a+)+$', 'a' * 60 + 'b')",
    ):
        assert statuses(calls(source)) == ["timeout"]
    assert time.monotonic() - began < 5


def test_sleeps_without_end() -> None:
    assert statuses(calls("def attack():\n    while True: time.sleep(100)")) == ["timeout"]


def test_uses_the_time_of_all_tests_for_one() -> None:
    limits = Limits(test=0.4, program=1.0)
    began = time.monotonic()
    found = statuses(calls("def attack(): time.sleep(9)", 50, limits=limits))
    assert found == ["timeout"] * 50
    assert time.monotonic() - began < 3


def test_ignores_the_limit_of_processor_time() -> None:
    source = """
import resource
def attack():
    for number in signal.valid_signals() - {9, 19}:
        signal.signal(number, signal.SIG_IGN)
    tried(resource.setrlimit, resource.RLIMIT_CPU, (1000, 1000))
    while True: pass
"""
    assert statuses(calls(source)) == ["timeout"]


@pytest.mark.slow
def test_eats_for_as_long_as_it_may() -> None:
    for _ in range(3):
        eats_less_than(12, "def attack():\n    eaters(12, heap)\n    return fed(12)")
    assert honest_program_passes()


def test_compiles_a_bomb() -> None:
    bombs = {
        "x = " + "(" * 100_000 + ")" * 100_000: {"failed", "crashed"},
        "x = 1" + "+1" * 200_000: {"failed", "crashed"},
        "x = " + "-" * 500_000 + "1": {"failed", "crashed"},
        "x = 1 ** 10 ** 9\ny = 10 ** 10 ** 10": {"failed", "crashed", "timeout"},
        "x = 'a' * (1 << 40)": {"failed"},
        "x = [0] * (1 << 40)": {"failed"},
        "def attack(): return 1\n" * 400_000: ENDED,
        "\0": {"failed"},
        "\ud800": {"failed"},
        "x = " + "[" * 90 + "]" * 90 + "\nclass A" + "(A" * 50: {"failed"},
    }
    for source, allowed in bombs.items():
        limits = SHORT if "timeout" in allowed else PATIENT
        (result,) = run_calls(
            source, "attack", [Call([], {}, "a secret")], lambda a, b: a == b, limits=limits
        )
        assert result.status in allowed, (source[:40], result)


def test_runs_a_script_for_too_long() -> None:
    ran = run_script("while True: pass", limits=SHORT)
    assert (ran.status, ran.output) == ("timeout", b"")

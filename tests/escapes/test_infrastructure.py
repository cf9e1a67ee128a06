"""Faults of the sandbox are never scored, so a program would like to cause one: none can.

Whatever a program does, its tests have a status of its own, the sandbox lives on, and honest
programs beside it and after it pass.
"""

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.escapes.inside import (
    HASTY,
    TOOLS,
    asserts,
    calls,
    honest_program_passes,
    in_new_box,
    inside,
    meanwhile,
    scripts,
    statuses,
)

from rewardsmith.engine.sandbox import (
    Call,
    Command,
    Limits,
    Run,
    SandboxError,
    run_calls,
    run_scripts,
)
from rewardsmith.engine.sandbox.box import Program, Setting, box_of

OWN = {"passed", "failed", "crashed", "timeout"}


@pytest.fixture(autouse=True)
def one_box(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No question is left without an answer, and the sandbox is the same before and after."""
    if "without_bubblewrap" in request.fixturenames:
        yield
        return
    faults: list[str] = []
    ask = Program.ask

    # Work is done once more where the sandbox broke, so a single fault would go unseen.
    def asked(self: Program, *args: Any) -> tuple[str, bytes]:
        try:
            return ask(self, *args)
        except SandboxError as error:
            faults.append(str(error))
            raise

    monkeypatch.setattr(Program, "ask", asked)
    box = box_of(Setting())
    yield
    assert honest_program_passes()
    assert not faults
    assert box_of(Setting()) is box
    assert box.alive


def scored(source: str, n: int = 2, limits: Limits = HASTY) -> set[str]:
    """The statuses of a program that does something when its function is called, in both forms."""
    program = f"{source}\ndef attack():\n    do()\n    return 1"
    found = set(statuses(calls(program, n, limits=limits)))
    script = f"{source}\ndo()"
    found |= set(statuses(scripts(script, n, limits=limits)))
    tests = "def check(candidate):\n    assert candidate() == 7\n"
    found |= set(statuses(asserts(program, tests, limits=limits)))
    assert found <= OWN - {"passed"}
    return found


def test_closes_all_its_files() -> None:
    assert scored("def do(): os.closerange(0, 4096)")


def test_closes_all_its_files_and_lives() -> None:
    assert scored("def do():\n    os.closerange(0, 4096)\n    time.sleep(9)")


def test_closes_all_its_files_while_it_is_loaded() -> None:
    found = calls("os.closerange(0, 4096)\ndef attack(): return 1", 2)
    assert statuses(found) == ["crashed", "crashed"]


def test_closes_half_of_its_socket() -> None:
    for how in (0, 1):
        scored(f"def do():\n    called(48, channel(), {how})\n    time.sleep(9)", 1)


def test_replaces_its_socket() -> None:
    for path in ("/dev/null", "/dev/zero", "/dev/full"):
        scored(f"def do(): os.dup2(os.open({path!r}, os.O_RDWR), channel())", 1)


def test_never_reads_its_socket() -> None:
    """What it is asked stays where it is."""
    source = "say(b'=')\nwhile True: time.sleep(1)\ndef attack(x): return 1"
    large = Call(["x" * 5_000_000], {}, 7)
    found = run_calls(TOOLS + source, "attack", [large] * 2, lambda a, b: a == b, limits=HASTY)
    assert statuses(found) == ["timeout", "timeout"]


def test_fills_the_socket_of_its_supervisor() -> None:
    source = "def do():\n    while True: say(bytes(60_000))"
    assert scored(source)


def test_trickles_an_answer() -> None:
    """A byte now and then, as if the answer would come."""
    source = """
def do():
    raw(struct.pack(">I", 100_000))
    while True:
        raw(b" ")
        time.sleep(0.05)
"""
    began = time.monotonic()
    assert scored(source, 1) == {"timeout"}
    assert time.monotonic() - began < 4


def test_trickles_the_length_of_an_answer() -> None:
    source = """
def do():
    for _ in range(3):
        raw(bytes(1))
        time.sleep(0.3)
    time.sleep(9)
"""
    assert scored(source, 1) == {"timeout"}


def test_begins_an_answer_and_hangs() -> None:
    source = "def do():\n    raw(struct.pack('>I', 1000) + b'=')\n    while True: time.sleep(1)"
    assert scored(source, 1) == {"timeout"}


def test_begins_an_answer_and_ends() -> None:
    source = "def do():\n    raw(struct.pack('>I', 1000) + b'=')\n    os._exit(0)"
    assert scored(source) <= {"crashed", "failed"}


def test_announces_an_answer_that_is_too_long() -> None:
    for length in (1 << 17, (1 << 32) - 1):
        scored(f"def do():\n    raw(struct.pack('>I', {length}))\n    time.sleep(9)", 1)


def test_answers_with_noise() -> None:
    noise = """
import random
def do():
    raw(struct.pack(">I", 5000) + random.randbytes(5000))
    time.sleep(9)
"""
    scored(noise)


def test_writes_noise_without_frames() -> None:
    scored("import random\ndef do():\n    while True: raw(random.randbytes(4096))")


def test_exhausts_processes() -> None:
    source = "def do():\n    while True: tried(os.fork)"
    assert scored(source, 1) == {"timeout"}


def test_exhausts_processes_and_dies() -> None:
    """The next test needs a process, too."""
    source = """
def do():
    for _ in range(64):
        if tried(os.fork) == ["got", 0]:
            os.close(channel())
            time.sleep(9)
    os.close(channel())
    os._exit(1)
"""
    scored(source, 3)


def test_exhausts_threads() -> None:
    scored("def do():\n    while True: threading.Thread(target=time.sleep, args=(9,)).start()")


def test_exhausts_descriptors() -> None:
    scored("def do():\n    while True: os.dup(0)", 3)


def test_exhausts_descriptors_in_flight() -> None:
    scored(
        """
def do():
    a, b = socket.socketpair()
    while True:
        socket.send_fds(a, [b"x"], [b.fileno()] * 100)
""",
        3,
    )


def test_keeps_descriptors_in_flight_beside_an_honest_script() -> None:
    """The kernel counts them for a user, and all programs are the same user."""
    hog = """
def attack():
    a, b = socket.socketpair()
    sent = 0
    try:
        while sent < 5000:
            socket.send_fds(a, [b"x"], [b.fileno()] * 100)
            sent += 100
    except OSError:
        pass
    time.sleep(1)
    return sent
"""
    with meanwhile(lambda: calls(hog, same=lambda got, _: got > 0, limits=Limits(test=5))) as found:
        time.sleep(0.4)
        honest = scripts("print('a secret')", 3, limits=Limits(test=5))
    assert statuses(honest) == ["passed"] * 3
    assert set(statuses(found[0])) <= OWN


def test_exhausts_processes_beside_an_honest_program() -> None:
    bomb = "def attack():\n    while True: tried(os.fork)"
    with meanwhile(lambda: calls(bomb, limits=Limits(test=1.0))):
        time.sleep(0.3)
        honest = calls(
            "def attack():\n    pid = os.fork()\n    if not pid: os._exit(0)\n"
            "    threading.Thread(target=print).start()\n    return os.waitpid(pid, 0)[1]",
            expected=0,
            limits=Limits(test=5),
        )
    assert statuses(honest) == ["passed"]


def test_fills_pipes_and_signals_beside_an_honest_program() -> None:
    hog = """
def attack():
    signal.pthread_sigmask(signal.SIG_BLOCK, range(34, 64))
    for _ in range(50):
        a, b = os.pipe()
        os.set_blocking(b, False)
        tried(fcntl.fcntl, b, 1031, 1 << 20)
        while tried(os.write, b, bytes(65536))[0] == "got":
            pass
    info = struct.pack("iiii", 40, 0, -1, 0) + bytes(112)
    for _ in range(20_000):
        if called(129, os.getpid(), 40, info)[0] == "refused":
            break
    time.sleep(0.8)
    return 1
"""
    with meanwhile(lambda: calls(hog, expected=1, limits=Limits(test=5))) as found:
        time.sleep(0.4)
        honest = scripts("sys.stdout.write('a secret')", 3, limits=Limits(test=5))
    assert statuses(honest) == ["passed"] * 3
    assert set(statuses(found[0])) <= OWN


def test_fills_the_disk_before_the_next_test() -> None:
    source = """
def do():
    for folder in ("/tmp", "/dev/shm"):
        try:
            with open(folder + "/full", "wb", 0) as file:
                while file.write(bytes(1 << 20)): pass
        except OSError:
            pass
        try:
            for k in range(10_000): os.mkdir(f"{folder}/{k}")
        except OSError:
            pass
    os._exit(1)
"""
    scored(source, 3)


def test_fills_the_disk_of_a_compiler() -> None:
    setting = Setting(system=True)
    shell = "dd if=/dev/zero of=full bs=1M count=100\nrm -f main.sh\nkill -9 $PPID\nkill -INT 1\n"
    found = run_scripts(
        shell,
        [Run("", "a secret")] * 2,
        lambda a, b: a == b,
        command=Command("main.sh", ("/bin/sh", "main.sh")),
        limits=HASTY,
        setting=setting,
    )
    assert set(statuses(found)) <= {"failed", "crashed"}


def test_stops_itself() -> None:
    scored("def do():\n    os.kill(os.getpid(), signal.SIGSTOP)\n    time.sleep(9)", 1)


@pytest.mark.parametrize("number", [1, 2, 9, 15, 19])
def test_ends_its_process_group(number: int) -> None:
    """A group of processes may reach into other namespaces than one's own."""
    scored(f"def do(): os.kill(0, {number})", 1)


def test_looks_for_groups_of_others() -> None:
    group, session = inside("def attack(): return [os.getpgrp(), os.getsid(0)]")
    assert 0 not in (group, session)


def test_stops_and_ends_everybody() -> None:
    source = """
def do():
    for number in range(1, 65):
        for process in (1, 0, -1, os.getppid()):
            if number not in (9, 19) or process == 1:
                tried(os.kill, process, number)
    while True: pass
"""
    scored(source, 1)


def test_takes_the_memory_of_its_supervisor() -> None:
    """It keeps what is printed and complained until the end."""
    flood = "def do():\n    while True: os.write(2, bytes(65536))"
    assert scored(flood, 1) == {"timeout"}
    lines = "def do():\n    while True: os.write(2, b'\\xff\\n' * 30_000)"
    assert scored(lines, 1) == {"timeout"}


def test_is_read_for_ever() -> None:
    """Something is always ready, so that nobody looks at the clock."""
    source = """
def do():
    for _ in range(3): os.fork()
    while True:
        os.write(2, b"x")
"""
    began = time.monotonic()
    assert scored(source, 1) == {"timeout"}
    assert time.monotonic() - began < 4


def test_holds_the_pipes_of_an_earlier_test() -> None:
    source = """
def do():
    if not os.fork():
        while True:
            tried(os.write, 1, b"x")
            time.sleep(0.01)
"""
    scored(source, 3)


def test_recurses_without_end() -> None:
    scored("def f(x): return f(x)\ndef do():\n    sys.setrecursionlimit(10 ** 9)\n    f(1)", 1)


def test_follows_a_deep_object() -> None:
    scored(
        "def do():\n    x = []\n    for _ in range(10 ** 5): x = [x]\n    repr(x)\n    hash((x,))",
        1,
    )


def test_overflows_the_stack_in_c() -> None:
    source = """
def do():
    sys.setrecursionlimit(10 ** 9)
    class A: pass
    A.__getattr__ = lambda self, name: getattr(self, name + "x")
    A.__call__ = A()
    A()()
"""
    scored(source)


def test_crashes_the_interpreter() -> None:
    assert scored("def do(): ctypes.string_at(0)") == {"crashed"}
    assert scored("def do(): os.abort()") == {"crashed"}
    assert scored("def do(): ctypes.memset(id(None), 255, 64)") <= {"crashed", "timeout", "failed"}
    assert scored("import faulthandler\ndef do(): faulthandler._stack_overflow()") == {"crashed"}


def test_crashes_while_it_is_loaded() -> None:
    for source in ("ctypes.string_at(0)", "os.abort()", "os._exit(3)", "os.kill(os.getpid(), 15)"):
        assert statuses(calls(f"{source}\ndef attack(): return 1", 2)) == ["crashed"] * 2


def test_reads_its_standard_input_while_it_is_loaded() -> None:
    assert statuses(calls("input()\ndef attack(): return 1")) == ["failed"]
    assert statuses(
        calls("sys.stdin.read(); os.read(0, 9)\ndef attack(): return 1", expected=1)
    ) in (
        ["passed"],
        ["failed"],
    )


@pytest.mark.parametrize(
    "value",
    [
        "10 ** 4300",
        "10 ** 5000",
        "-(10 ** 100_000)",
        "float('nan')",
        "float('-inf')",
        "'\\ud800'",
        "'\\0' * 1000",
        "b'\\xff' * 1000",
        "{'\\ud800': '\\udfff'}",
        "[[[[[]]]]] * 1000",
        "{i * ((1 << 61) - 1) for i in range(2000)}",
        "{float('nan') for _ in range(100)}",
        "{(): {}, frozenset({()}): set()}",
        "'x' * 5_000_000",
        "range(10)",
        "...",
        "NotImplemented",
        "type",
        "(i for i in [1])",
        "memoryview(b'x')",
        "bytearray(b'x')",
        "open('/dev/null')",
        "lambda: 1",
    ],
)
def test_returns_what_is_hard_to_send(value: str) -> None:
    source = f"def attack(): return {value}"
    (result,) = calls(source, limits=Limits(test=3.0))
    assert result.status in {"failed", "timeout"}
    assert result.why.isprintable() or "\n" in result.why
    result.why.encode()  # whoever writes it down needs it as UTF-8
    tests = "def check(candidate):\n    assert candidate() == 'a secret'\n"
    (result,) = asserts(source, tests, limits=Limits(test=3.0))
    assert result.status in {"failed", "timeout"}
    result.why.encode()


def test_says_what_cannot_be_written_down() -> None:
    """Reasons travel into tables and reports."""
    for source in (
        "def do(): raise ValueError('\\ud800')",
        "def do(): raise type('\\ud800', (Exception,), {})('x')",
        "def do(): raise SystemExit('\\ud800')",
        'def do():\n    say(b\'r["\\\\ud800", "\\\\ud800"]\')\n    time.sleep(9)',
        'def do():\n    say(b\'n["\\\\ud800", "\\\\ud800"]\')\n    time.sleep(9)',
        "def do():\n    say(b'u\\xed\\xa0\\x80')\n    time.sleep(9)",
    ):
        program = f"{source}\ndef attack():\n    do()\n    return 1"
        tests = "def check(candidate):\n    assert candidate() == 7\n"
        for result in (*calls(program), *scripts(f"{source}\ndo()"), *asserts(program, tests)):
            result.why.encode()
            assert len(result.why) < 2000


def test_has_no_such_function() -> None:
    for source in ("", "attack = None", "x = 1", "class attack: pass"):
        assert set(statuses(calls(source))) <= {"failed"}


def test_redefines_itself_between_tests() -> None:
    source = "def attack():\n    global attack\n    del attack\n    return 1"
    assert statuses(calls(source, 2, expected=1)) == ["passed", "failed"]


def test_hangs_in_every_second_test() -> None:
    source = """
def attack():
    write("/tmp/count", "x")
    if len(read("/tmp/count")) % 2:
        time.sleep(9)
    return 1
"""
    found = statuses(calls(source, 4, expected=1, limits=Limits(test=0.4, program=8.0)))
    assert found == ["timeout", "passed"] * 2


def test_loads_only_once() -> None:
    """Loaded again after it hung, it is in the way of itself; that is its own fault."""
    source = "os.mkdir('/tmp/x')\ndef attack(): time.sleep(9)"
    assert statuses(calls(source, 2)) == ["timeout", "failed"]


def test_hangs_where_it_is_loaded_again() -> None:
    source = """
if os.path.exists("/tmp/x"):
    raw(b"\\0\\0")
    time.sleep(99)
os.mkdir("/tmp/x")
def attack(): os._exit(1)
"""
    assert statuses(calls(source, 2)) == ["crashed", "timeout"]


def test_breaks_many_sandboxes_at_once() -> None:
    found: list[Any] = []

    def work() -> None:
        try:
            found.extend(statuses(calls("def attack():\n    while True: tried(os.fork)", 2)))
        except SandboxError as error:
            found.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["timeout"] * 8


def test_the_refusal_says_how_to_install_bubblewrap(without_bubblewrap: None) -> None:
    with pytest.raises(SandboxError, match="apt-get install bubblewrap") as refusal:
        in_new_box(lambda: inside("def attack(): return os.getpid()"))
    assert "unsafe" in str(refusal.value)
    assert os.environ["PATH"]

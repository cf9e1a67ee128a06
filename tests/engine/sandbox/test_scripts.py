"""Programs that read and print: each test finds a fresh main module and standard files."""

from collections.abc import Sequence

import pytest

from rewardsmith.engine.sandbox import Limits, Result, Run, run_script, run_scripts

pytestmark = pytest.mark.usefixtures("sandbox")
QUICK = Limits(test=0.4)


def same(printed: str, expected: str) -> bool:
    return printed == expected


def run(source: str, *tests: tuple[str, str], limits: Limits = Limits()) -> list[Result]:  # noqa: B008
    return run_scripts(source, [Run(*test) for test in tests], same, limits=limits)


def twice(source: str, stdin: str, stdout: str, limits: Limits = Limits()) -> list[Result]:  # noqa: B008
    """The same test again finds what the first one found."""
    first, second = run(source, (stdin, stdout), (stdin, stdout), limits=limits)
    assert first == second
    return [first]


# --- what is read and printed ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "read",
    [
        "input()",
        "sys.stdin.readline().strip()",
        "sys.stdin.read().strip()",
        "next(iter(sys.stdin)).strip()",
        "[line for line in sys.stdin][0].strip()",
        "sys.stdin.buffer.readline().decode().strip()",
        "sys.__stdin__.read().strip()",
        "open(0).read().strip()",
        "open('/dev/stdin').read().strip()",
        "os.read(0, 100).decode().strip()",
        "os.fdopen(0).readline().strip()",
    ],
)
def test_standard_input_is_read_in_all_the_usual_ways(read: str) -> None:
    source = f"import os, sys\nprint({read})\n"
    assert run(source, ("eins\n", "eins\n"), ("zwei\n", "zwei\n")) == [Result("passed")] * 2


@pytest.mark.parametrize(
    "write",
    [
        "print('x')",
        "print('x', file=sys.stdout, flush=True)",
        "sys.stdout.write('x\\n')",
        "sys.stdout.buffer.write(b'x\\n')",
        "sys.__stdout__.write('x\\n')",
        "os.write(1, b'x\\n')",
        "open(1, 'w', closefd=False).write('x\\n')",
        "os.fdopen(1, 'w').write('x\\n')",
        "print('x'); sys.exit()",
        "print('x'); sys.exit(0)",
        "print('x'); exit()",
        "print('x'); quit()",
        "print('x'); raise SystemExit",
        "print('x', flush=True); os._exit(0)",
        "print('x'); sys.stdout.close()",
        "print('x'); sys.stdout.detach()",
        "print('x', flush=True); sys.stdout = None",
        "kept = sys.stdout; print('x'); sys.stdout = io.StringIO(); print('y')",
        "atexit.register(print, 'x')",
        "b = io.StringIO(); sys.stdout = b; print('x');"
        " atexit.register(lambda: sys.__stdout__.write(b.getvalue()))",
        "threading.Thread(target=lambda: (time.sleep(0.05), print('x'))).start()",
        "print('x'); print('y', file=sys.stderr)",
        "sys.stdin.close(); print('x')",
        "[os.close(file) for file in (0, 2)]; print('x')",
    ],
)
def test_standard_output_is_written_in_all_the_usual_ways(write: str) -> None:
    source = f"import atexit, io, os, sys, threading, time\n{write}\n"
    assert twice(source, "", "x\n") == [Result("passed")]


def test_no_newline_is_added() -> None:
    assert run("print('x', end='')", ("", "x"), ("", "x\n"))[0].status == "passed"
    assert run("print('x', end='')", ("", "x\n"))[0] == Result(
        "failed", "printed 'x', expected 'x\\n'"
    )


def test_nothing_is_printed_and_nothing_is_read() -> None:
    assert twice("", "", "") == [Result("passed")]
    (result,) = twice("input()", "", "")
    assert result.status == "failed"
    assert "EOFError" in result.why
    assert twice("print(1)", "never read\n" * 300_000, "1\n") == [Result("passed")]


def test_much_is_read_and_printed() -> None:
    lines = "".join(f"{k}\n" for k in range(100_000))
    assert twice("import sys\nfor line in sys.stdin:\n    print(line, end='')", lines, lines) == [
        Result("passed")
    ]


def test_text_is_utf_8_both_ways() -> None:
    assert twice("print(input()[::-1])", "a\u20ac\U0001f600\n", "\U0001f600\u20aca\n") == [
        Result("passed")
    ]


def test_each_test_has_its_outcome() -> None:
    passed, failed = run("print(int(input()) + 1)", ("1\n", "2\n"), ("1\n", "3\n"))
    assert passed == Result("passed")
    assert failed == Result("failed", "printed '2\\n', expected '3\\n'")
    assert run("print(1)") == []


def test_long_outputs_are_told_in_short() -> None:
    (result,) = run("print('x' * 100_000)", ("", "y" * 100_000))
    assert len(result.why) < 200


# --- what fails -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "status", "why"),
    [
        ("print('x'\n", "failed", "it does not load: SyntaxError"),
        ("\0", "failed", "null bytes"),
        ("print('\ud800')", "failed", "UnicodeEncodeError"),
        ("print(chr(0xD800))", "failed", "UnicodeEncodeError"),
        ("1 / 0", "failed", "it raised ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)", "failed", "code 3"),
        ("import sys\nsys.exit(-1)", "failed", "code"),
        ("import sys\nsys.exit('bad')", "failed", "code 1"),
        ("raise SystemExit(True)", "failed", "code"),
        ("raise KeyboardInterrupt", "failed", "KeyboardInterrupt"),
        ("import os\nos._exit(3)", "failed", "code 3"),
        ("import os\nos.kill(os.getpid(), 9)", "crashed", "SIGKILL"),
        ("import ctypes\nctypes.string_at(0)", "crashed", "SIGSEGV"),
        ("import sys\nsys.stdout.buffer.write(b'ab\\xff')", "failed", "not UTF-8: byte 2"),
        ("while True: print('x' * 1000)", "failed", "printed more than 1,048,576 bytes"),
        ("import os\nos.close(1)\nprint(1)", "failed", "printed ''"),
        ("x = bytearray(1 << 34)", "failed", "MemoryError"),
        ("import os\nos.closerange(0, 1 << 10)", "failed", ""),
    ],
)
def test_a_script_that_fails_says_how(source: str, status: str, why: str) -> None:
    (result,) = twice(source, "", "1\n")
    assert result.status == status
    assert why in result.why


def test_a_success_that_is_forged_before_the_end_counts_for_nothing() -> None:
    (result,) = twice("import os\nprint(2, flush=True)\nos._exit(0)", "", "1\n")
    assert result.status in ("failed", "crashed")


@pytest.mark.parametrize("body", ["while True: pass", "import time; time.sleep(60)", "input()"])
def test_a_test_that_hangs_is_out_of_time_and_the_next_one_runs(body: str) -> None:
    source = (
        "if input() == 'hang':\n"
        "    while True:\n"
        "        try:\n"
        f"            {body}\n"
        "        except EOFError: pass\n"
        "print(1)\n"
    )
    found = run(source, ("ok", "1\n"), ("hang", "1\n"), ("ok", "1\n"), limits=QUICK)
    assert found == [
        Result("passed"),
        Result("timeout", "took longer than 0.4 s"),
        Result("passed"),
    ]


def test_a_crash_ends_its_test_only() -> None:
    source = "import os\nif input() == 'crash': os.abort()\nprint(1)\n"
    found = run(source, ("ok", "1\n"), ("crash", "1\n"), ("ok", "1\n"))
    assert [result.status for result in found] == ["passed", "crashed", "passed"]


def test_all_tests_together_have_a_time() -> None:
    source = "import time\nif input() == 'hang': time.sleep(60)\nprint(1)\n"
    tests = [("ok", "1\n"), *[("hang", "1\n")] * 4, ("ok", "1\n")]
    found = run(source, *tests, limits=Limits(test=0.25, program=0.6))
    assert [result.status for result in found] == ["passed", *["timeout"] * 5]
    assert "all tests together took longer than 0.6 s" in found[-1].why


def test_much_that_is_complained_is_no_output() -> None:
    source = "import sys\nfor _ in range(50_000): print('x' * 100, file=sys.stderr)\nprint(1)\n"
    assert twice(source, "", "1\n") == [Result("passed")]


# --- what one test leaves for the next ------------------------------------------------------------


@pytest.mark.parametrize(
    "leave",
    [
        "n = 1",
        "import sys; sys.argv.append('x')",
        "import sys, io; sys.stdin = io.StringIO('other')",
        "import sys, io; sys.stdout = io.StringIO()",
        "import sys; sys.stdout.close(); sys.stdin.close()",
        "import sys; sys.stdin = sys.stdout = sys.stderr = None",
        "import sys; del sys.stdin, sys.stdout",
        "import os; os.close(0); os.close(1); os.close(2)",
        "import os; os.dup2(2, 1)",
        "import random; random.seed(5)",
        "import atexit; atexit.register(print, 'late')",
        "import sys; sys.modules['__main__'] = None",
        "import threading as t, time; t.Thread(target=time.sleep, args=(9,), daemon=True).start()",
    ],
)
def test_scripts_find_a_fresh_start(leave: str) -> None:
    source = (
        "import random, sys\n"
        "print('n' in globals(), __name__, len(sys.argv), random.random(), input(), flush=True)\n"
        "assert sys.modules['__main__'].__dict__ is globals()\n"
    )
    said = "False __main__ 1 0.8444218515250481 {}\n"
    ends = "late\n" if "late" in leave else ""
    found = run(source + leave, *[(str(k), said.format(k) + ends) for k in range(3)])
    assert found == [Result("passed")] * 3


def test_a_text_file_that_is_kept_is_not_flushed_into_the_next_test() -> None:
    source = (
        "import io, sys\nsys.kept = kept = sys.stdout\nprint(input())\nsys.stdout = io.StringIO()\n"
    )
    tests = [(str(k), f"{k}\n") for k in range(4)]
    assert run(source, *tests) == [Result("passed")] * 4


def test_sets_of_text_have_the_same_order_in_every_run() -> None:
    source = "import random\nprint(list({'a', 'b', 'c', 'd', 'e'}), random.random())\n"
    outputs = {run_script(source).output for _ in range(3)}
    assert len(outputs) == 1


def test_classes_of_the_main_module_are_found() -> None:
    source = (
        "from __future__ import annotations\nimport pickle\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass A:\n    x: int\n"
        "print(pickle.loads(pickle.dumps(A(1))).x)\n"
    )
    assert twice(source, "", "1\n") == [Result("passed")]


# --- processes and threads ------------------------------------------------------------------------


def test_a_forked_process_prints_too() -> None:
    source = (
        "import os\n"
        "if not os.fork():\n    print('child', flush=True)\n"
        "else:\n    os.wait()\n    print('parent')\n"
    )
    assert twice(source, "", "child\nparent\n") == [Result("passed")]


def test_a_process_that_outlives_its_test_is_not_waited_for() -> None:
    source = "import os, time\nif not os.fork():\n    time.sleep(60)\nprint(1)\n"
    assert twice(source, "", "1\n") == [Result("passed")]


@pytest.mark.parametrize("end", ["t.join()", ""])
def test_threads_with_a_large_stack_go_deep(end: str) -> None:
    source = (
        "import sys, threading\n"
        "sys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 27)\n"
        "def deep(n): return 0 if n == 0 else 1 + deep(n - 1)\n"
        f"t = threading.Thread(target=lambda: print(deep(20_000)))\nt.start()\n{end}\n"
    )
    assert twice(source, "", "20000\n") == [Result("passed")]


def test_a_thread_that_never_ends_is_out_of_time() -> None:
    source = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"
    (result,) = twice(source, "", "", QUICK)
    assert result.status == "timeout"


def test_a_pool_of_processes_works() -> None:
    source = (
        "import multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.Pool(2) as pool:\n"
        "        print(sum(pool.map(abs, [1, -2])))\n"
    )
    assert twice(source, "", "3\n") == [Result("passed")]


# --- once -----------------------------------------------------------------------------------------


def test_running_once_tells_output_time_and_status() -> None:
    ran = run_script("import sys, time\ntime.sleep(0.1)\nsys.stdout.buffer.write(b'\\xff')", b"")
    assert (ran.status, ran.output, ran.why) == ("passed", b"\xff", "")
    assert 0.1 <= ran.seconds < 5.0
    assert run_script("print(input())", b"a\n").output == b"a\n"


@pytest.mark.parametrize(
    ("source", "status", "why"),
    [
        ("import sys\nprint(1)\nsys.exit(2)", "failed", "code 2"),
        ("print(1)\n1 / 0", "failed", "ZeroDivisionError"),
        ("print(1", "failed", "does not load"),
        ("import os\nos.abort()", "crashed", "SIGABRT"),
        ("while True: pass", "timeout", "took longer"),
    ],
)
def test_running_once_tells_how_it_failed(source: str, status: str, why: str) -> None:
    ran = run_script(source, limits=QUICK)
    assert ran.status == status
    assert why in ran.why


def test_what_is_printed_before_a_failure_is_kept() -> None:
    assert run_script("print(1)\n1 / 0").output == b"1\n"


# --- the channel ----------------------------------------------------------------------------------


def forged(kind: str) -> str:
    return (
        "import json, os, stat, struct, time\n"
        "for file in range(3, 64):\n"
        "    try:\n"
        "        if not stat.S_ISSOCK(os.fstat(file).st_mode): continue\n"
        "    except OSError: continue\n"
        f"    kind, told = {kind!r}, json.dumps([0, '']).encode()\n"
        "    if kind == 'told': os.write(file, struct.pack('>I', len(told)) + told)\n"
        "    elif kind == 'junk': os.write(file, struct.pack('>I', 4) + b'junk')\n"
        "    elif kind == 'huge': os.write(file, struct.pack('>I', 1 << 30))\n"
        "    else: os.write(file, struct.pack('>I', 1000))\n"
        "    while kind == 'drip':\n"
        "        os.write(file, b'x')\n"
        "        time.sleep(0.1)\n"
        "    if kind == 'hang': time.sleep(60)\n"
        "print(2)\n"
    )


@pytest.mark.parametrize("kind", ["told", "junk", "huge", "drip", "partial", "hang"])
def test_forged_messages_are_the_programs_own_fault(kind: str) -> None:
    limits = Limits(test=0.4, program=10.0)
    found: Sequence[Result] = run(forged(kind), ("", "1\n"), ("", "1\n"), limits=limits)
    assert not {"passed", "infrastructure"} & {result.status for result in found}

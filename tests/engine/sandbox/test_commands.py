"""Programs in other languages: a command that is compiled, run and fed."""

import shutil

import pytest

from rewardsmith.engine.sandbox import (
    Command,
    Limits,
    Result,
    Run,
    SandboxError,
    Setting,
    run_scripts,
)

pytestmark = pytest.mark.usefixtures("sandbox")
SYSTEM = Setting(system=True)
SHELL = Command("main.sh", ("sh", "main.sh"))
CPP = Command("main.cpp", ("./main",), ("g++", "-O1", "-o", "main", "main.cpp"))
NODE = Command("main.js", ("node", "main.js"))
LONG = Limits(test=20.0, program=60.0)
QUICK = Limits(test=0.4)


def same(printed: str, expected: str) -> bool:
    return printed == expected


def run(
    source: str,
    *tests: tuple[str, str],
    command: Command = SHELL,
    limits: Limits = Limits(),  # noqa: B008
    setting: Setting = SYSTEM,
) -> list[Result]:
    runs = [Run(*test) for test in tests]
    return run_scripts(source, runs, same, command=command, limits=limits, setting=setting)


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


# --- the shell ------------------------------------------------------------------------------------


def test_each_test_has_its_outcome() -> None:
    found = run("read x; echo $((x + 1))", ("1\n", "2\n"), ("2\n", "4\n"))
    assert found == [Result("passed"), Result("failed", "printed '3\\n', expected '4\\n'")]
    assert run("echo 1") == []


def test_input_and_output_may_be_large_or_none() -> None:
    text = "x" * 300_000
    assert run("cat", (text, text), ("", "")) == [Result("passed")] * 2
    assert run("echo 1", (text * 10, "1\n")) == [Result("passed")]
    assert run("wc -c", (text * 10, f"{len(text) * 10}\n")) == [Result("passed")]


def test_dev_stdin_is_what_it_reads() -> None:
    assert run("cat /dev/stdin", ("a\n", "a\n"), ("b\n", "b\n")) == [Result("passed")] * 2


@pytest.mark.parametrize(
    ("source", "status", "why"),
    [
        ("echo hi; exit 3", "failed", "code 3"),
        ("echo what is wrong >&2; exit 3", "failed", "what is wrong"),
        ("kill -9 $$", "crashed", "SIGKILL"),
        ("kill -11 $$", "crashed", "SIGSEGV"),
        ("printf 'ab\\377'", "failed", "not UTF-8: byte 2"),
        ("yes", "failed", "printed more than 1,048,576 bytes"),
        ("nonesuch", "failed", "code 127"),
        ("if", "failed", "code 2"),
        ("sleep 60", "timeout", "took longer than 0.4 s"),
        ("while :; do :; done", "timeout", "took longer than 0.4 s"),
        ("sleep 60 | sleep 60", "timeout", "took longer than 0.4 s"),
    ],
)
def test_a_command_that_fails_says_how(source: str, status: str, why: str) -> None:
    first, second = run(source, ("", "1\n"), ("", "1\n"), limits=QUICK)
    assert first == second
    assert first.status == status
    assert why in first.why


def test_after_a_bad_end_the_next_test_runs() -> None:
    source = "read x; case $x in hang) sleep 60;; crash) kill -9 $$;; esac; echo 1"
    tests = [(line, "1\n") for line in ("ok\n", "hang\n", "ok\n", "crash\n", "ok\n")]
    found = run(source, *tests, limits=QUICK)
    wanted = ["passed", "timeout", "passed", "crashed", "passed"]
    assert [result.status for result in found] == wanted


def test_all_tests_together_have_a_time() -> None:
    tests = [("", "")] * 5
    found = run("sleep 60", *tests, limits=Limits(test=0.25, program=0.6))
    assert [result.status for result in found] == ["timeout"] * 5
    assert "all tests together took longer than 0.6 s" in found[-1].why


def test_a_process_that_outlives_its_test_is_ended() -> None:
    source = "(sleep 0.1; echo late >> file) & cat file 2>/dev/null; echo 1"
    assert run("sleep 60 & echo 1", ("", "1\n"), ("", "1\n")) == [Result("passed")] * 2
    wait = source + "; read x; sleep $x"
    assert run(wait, ("0\n", "1\n"), ("0.2\n", "1\n"), ("0\n", "late\n1\n"))[1].status == "passed"


def test_processes_are_counted() -> None:
    source = "for k in 1 2 3 4 5 6 7 8; do sleep 60 & done; echo 1"
    (result,) = run(source, ("", "1\n"), limits=Limits(processes=4))
    assert result.status == "failed"
    assert "fork" in result.why.lower()
    assert run(source, ("", "1\n"), limits=Limits(processes=12)) == [Result("passed")]


def test_memory_is_limited() -> None:
    # Without a newline, all of it may be the last line that tail is to keep.
    source = "yes | tr -d '\\n' | head -c 200000000 | tail > /dev/null && echo 1"
    (result,) = run(source, ("", "1\n"), limits=Limits(memory=60 << 20, test=10.0, program=20.0))
    assert result.status in ("failed", "crashed")
    assert "memory" in result.why.lower() or "space" in result.why.lower()


def test_commands_find_nothing_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    (result,) = run("env | grep -c SECRET; pwd; ls", ("", "0\n/tmp\nmain.sh\n"))
    assert result == Result("passed")


# --- what is no program's fault -------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [Command("a", ("nonesuch", "a")), Command("a", ("./a",), ("nonesuch", "-o", "a"))],
    ids=["interpreter", "compiler"],
)
def test_a_language_that_is_not_installed_is_no_programs_fault(command: Command) -> None:
    with pytest.raises((SandboxError, ValueError), match="nonesuch"):
        run("echo 1", ("", "1\n"), command=command)


def test_commands_find_the_system_whatever_the_setting() -> None:
    assert run("ls -d /usr/bin", ("", "/usr/bin\n"), setting=Setting()) == [Result("passed")]


# --- compiled -------------------------------------------------------------------------------------

SUM = (
    '#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b << "\\n"; }'
)


@needs("g++")
def test_cpp_is_compiled_once_and_run() -> None:
    found = run(SUM, ("1 2", "3\n"), ("2 2", "5\n"), command=CPP, limits=LONG)
    assert found == [Result("passed"), Result("failed", "printed '4\\n', expected '5\\n'")]


@needs("g++")
@pytest.mark.parametrize(
    ("source", "status", "why"),
    [
        ("int main( {", "failed", "error"),
        ("int main() { volatile int *p = 0; *p = 1; }", "crashed", "SIGSEGV"),
        ("int main() { return 3; }", "failed", "code 3"),
        ("int main() { __builtin_trap(); }", "crashed", "SIG"),
    ],
)
def test_cpp_that_fails_says_how(source: str, status: str, why: str) -> None:
    first, second = run(source, ("", "1\n"), ("", "1\n"), command=CPP, limits=LONG)
    assert first == second
    assert first.status == status
    assert why in first.why


@needs("g++")
def test_cpp_that_loops_is_out_of_time() -> None:
    source = "int main() { for (volatile int x = 0;; x = 1) {} }"
    limits = Limits(test=0.4, program=30.0)
    (result,) = run(source, ("", ""), command=CPP, limits=limits)
    assert result == Result("timeout", "took longer than 0.4 s")


def test_a_compiler_that_hangs_has_the_programs_time() -> None:
    command = Command("a", ("./a",), ("sleep", "60"))
    first, second = run("", ("", ""), ("", ""), command=command, limits=Limits(program=0.5))
    assert first == second
    assert first.status == "timeout"
    assert "compile" in first.why


# --- node -----------------------------------------------------------------------------------------


@needs("node")
@pytest.mark.parametrize(
    "read",
    [
        "require('fs').readFileSync(0, 'utf8')",
        "require('fs').readFileSync('/dev/stdin', 'utf8')",
    ],
)
def test_javascript_reads_and_prints(read: str) -> None:
    source = f"const [a, b] = {read}.split(' ').map(Number); console.log(a + b)"
    found = run(source, ("1 2", "3\n"), ("2 2", "5\n"), command=NODE, limits=LONG)
    assert found == [Result("passed"), Result("failed", "printed '4\\n', expected '5\\n'")]


@needs("node")
@pytest.mark.parametrize(
    ("source", "status", "why"),
    [
        ("let x = ;", "failed", "code 1"),
        ("throw new Error('bad')", "failed", "code 1"),
        ("process.exit(4)", "failed", "code 4"),
        ("for (;;) {}", "timeout", "took longer than 2 s"),
    ],
)
def test_javascript_that_fails_says_how(source: str, status: str, why: str) -> None:
    (result,) = run(source, ("", "1\n"), command=NODE, limits=Limits(test=2.0, program=20.0))
    assert result.status == status
    assert why in result.why

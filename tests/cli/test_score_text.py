import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewardsmith.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
SOLUTIONS = ROOT.parent / "shared" / "data" / "gsm8k_solutions.jsonl"

FUNCTIONS = """
import time

SHARE = 0.5

def right(completion: str, answer: str) -> float:
    return 1.0 if completion == answer else 0.0

def words(completion: str) -> float:
    if completion == "hang":
        time.sleep(60)
    if completion == "break":
        raise RuntimeError("no words for it")
    return SHARE * len(completion.split())

def hasty(completion: str) -> float:
    time.sleep(0.002)
    return float(len(completion))
"""
REWARD = """
columns: {group: prompt_id}
reward:
  weighted_sum:
    parts:
      right: {function: {call: ./functions.py:right}}
      words: {function: {call: ./functions.py:words}}
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with a reward and six rows in two groups."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reward.yaml").write_text(REWARD)
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    write("data.jsonl", ["4", "5 or so", "4", "7", "7", "7"])
    return tmp_path


def write(name, completions, **more):
    rows = [
        {"prompt_id": i // 3, "completion": c, "answer": "4" if i < 3 else "7", **more}
        for i, c in enumerate(completions)
    ]
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


@pytest.fixture
def score(command):
    """Run the command, inline unless told otherwise: exit status, output, complaint."""

    def run(*arguments, executor="inline"):
        given = [*map(str, arguments), "--executor", executor]
        if "--out" not in given:
            given += ["--out", "out.parquet"]
        done = command("score", *given)
        return done.returncode, done.stdout, done.stderr

    return run


def column(name, path="out.parquet"):
    return pq.read_table(path)[name].to_pylist()


# --- what it does ---------------------------------------------------------------------------------


def test_a_row_per_row(work, score):
    code, said, _ = score("reward.yaml", "data.jsonl")
    assert code == 0
    assert pq.read_schema("out.parquet").names == [
        "row",
        "reward",
        "status",
        "error",
        "reward/right",
        "status/right",
        "reward/words",
        "status/words",
    ]
    assert column("row") == list(range(6))
    assert column("reward/right") == [1.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    assert column("reward") == [1.5, 1.5, 1.5, 1.5, 1.5, 1.5]
    assert "6 scored" in said


def test_the_closing_table(work, score):
    _, said, _ = score("reward.yaml", "data.jsonl")
    cells = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.strip()}
    # 5 of 6 right; two drawn from the first group miss with probability 0, as only one is wrong.
    means = next(line.split() for line in said.splitlines() if line.strip().startswith("right"))
    assert means == ["right", "6", "0.8333", "0.8333", "1.0000"]
    # Of six rows three differ; the others are not run.
    assert cells["right"][:3] == ["3", "3", "0"]
    assert "pass@2" in said
    assert "slowest: row " in said


@pytest.mark.parametrize("form", ["jsonl.gz", "parquet", "-"])
def test_other_forms_of_the_same_rows(work, score, monkeypatch, form):
    text = Path("data.jsonl").read_bytes()
    name = form if form == "-" else f"other.{form}"
    if form == "jsonl.gz":
        Path(name).write_bytes(gzip.compress(text))
    elif form == "parquet":
        rows = [json.loads(line) for line in text.splitlines()]
        pq.write_table(pa.Table.from_pylist(rows), name)
    else:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert score("reward.yaml", name)[0] == 0
    assert column("reward/right") == [1.0, 0.0, 1.0, 1.0, 1.0, 1.0]


def test_columns_group_and_limit(work, score):
    Path("plain.yaml").write_text("reward: {function: {call: ./functions.py:right}}")
    arguments = ("--columns", "answer,prompt_id", "--group", "prompt_id", "--limit", 4)
    code, said, _ = score("plain.yaml", "data.jsonl", *arguments)
    assert code == 0
    assert column("answer") == ["4", "4", "4", "7"]
    assert column("prompt_id") == [0, 0, 0, 1]
    assert "pass@2" in said


def test_the_default_file_is_named_after_reward_and_data(work, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["rewardsmith", "score", "reward.yaml", "data.jsonl", "--executor", "inline"]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert Path("runs", f"{work.name}-data.parquet").exists()


def test_nested_columns_and_chat_messages(work, score):
    rows = [
        {
            "completion": [{"role": "assistant", "content": f"It is \\boxed{{{n}}}"}],
            "reward_model": {"ground_truth": "7"},
        }
        for n in (7, 8)
    ]
    Path("chat.jsonl").write_text("\n".join(map(json.dumps, rows)))
    Path("chat.yaml").write_text("reward: {math_answer: {gold: reward_model.ground_truth}}")
    assert score("chat.yaml", "chat.jsonl")[0] == 0
    assert column("reward") == [1.0, 0.0]
    Path("named.yaml").write_text(
        "columns: {answer: reward_model.ground_truth}\nreward: {math_answer: {}}"
    )
    assert score("named.yaml", "chat.jsonl", "--out", "named.parquet")[0] == 0
    assert column("reward", "named.parquet") == [1.0, 0.0]


def test_rows_that_hang_or_break_are_told_with_their_line(work, score):
    write("data.jsonl", ["4", "hang", "break", "7", "7", "7"])
    arguments = ("--timeout", 1, "--workers", 2)
    code, said, _ = score("reward.yaml", "data.jsonl", *arguments, executor="processes")
    assert code == 0
    assert column("status") == ["scored", "timeout", "failed", "scored", "scored", "scored"]
    assert column("error")[1] == "data.jsonl:2: words: took longer than 1 s"
    assert column("error")[2] == "data.jsonl:3: words: raised RuntimeError: no words for it"
    assert "1 failed, 4 scored, 1 timeout" in said
    code, _, complaint = score(
        "reward.yaml",
        "data.jsonl",
        *arguments,
        "--on-error",
        "raise",
        "--out",
        "b.parquet",
        executor="processes",
    )
    assert code == 1
    assert "part 'words', row 1: data.jsonl:2: timeout: took longer than 1 s" in complaint


def test_all_solutions_of_gsm8k(work, score):
    if not SOLUTIONS.exists():
        pytest.skip(f"there is no {SOLUTIONS}")
    example = ROOT / "examples" / "gsm8k" / "reward.yaml"
    code, said, _ = score(example, SOLUTIONS, "--columns", "is_correct", executor="processes")
    assert code == 0
    assert len(column("row")) == 3957
    assert column("reward/correct") == [float(right) for right in column("is_correct")]
    assert "3,957 scored" in said


def test_reasons_and_errors_are_told(work, score):
    write("data.jsonl", ["I do not know", "break", "break", "\\boxed{7}"])
    Path("told.yaml").write_text(
        "reward: {weighted_sum: {parts: {maths: {math_answer: {}}, "
        "words: {function: {call: ./functions.py:words}}}}}"
    )
    code, said, _ = score("told.yaml", "data.jsonl", "--why")
    assert code == 0
    assert "2 x words: raised RuntimeError: no words for it" in said
    assert column("why/maths")[0]
    assert column("why/maths")[3] is None
    assert "_error" not in pq.read_schema("out.parquet").names
    # Asked again, the summary comes from the file.
    code, said, _ = score("told.yaml", "data.jsonl", "--why")
    assert "done already" in said
    assert "2 failed, 2 scored" in said


def test_a_router_reads_the_columns_of_the_rows_that_it_has(work, score):
    Path("routed.yaml").write_text(
        "reward: {router: {parts: {maths: {math_answer: {}}, "
        "letters: {choice: {options: choices}}}}}"
    )
    rows = [{"completion": "\\boxed{4}", "answer": "4", "task": "maths"}]
    Path("shard.jsonl").write_text(json.dumps(rows[0]))
    assert score("routed.yaml", "shard.jsonl")[0] == 0
    assert column("reward") == [1.0]
    rows += [{"completion": "(B)", "answer": "B", "task": "letters"}]
    Path("both.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert score("routed.yaml", "both.jsonl", "--out", "both.parquet")[0] == 0
    assert column("status", "both.parquet") == ["scored", "failed"]
    assert column("error", "both.parquet")[1].endswith("this row has no column 'choices'")


def test_a_column_that_is_called_something_that_is_not_there(work, score):
    Path("alias.yaml").write_text("columns: {answer: answr}\nreward: {math_answer: {}}")
    code, _, complaint = score("alias.yaml", "data.jsonl")
    assert code == 2
    assert "no column 'answr' to be 'answer'; did you mean 'answer'?" in complaint


# --- diff and cache -------------------------------------------------------------------------------


def test_diff_shows_what_changed(work, score):
    score("reward.yaml", "data.jsonl", "--out", "old.parquet")
    Path("functions.py").write_text(FUNCTIONS.replace("== answer", "!= answer"))
    Path("again.yaml").write_text(REWARD.replace("functions.py:right", "changed.py:right"))
    Path("changed.py").write_text(FUNCTIONS.replace("== answer", "!= answer"))
    code, said, _ = score("again.yaml", "data.jsonl", "--diff", "old.parquet")
    assert code == 0
    assert "against old.parquet: 6 of 6 rows changed" in said
    assert any(line.split() == ["right", "1", "0", "1"] for line in said.splitlines())
    # Done already, it can still be asked.
    code, said, _ = score("again.yaml", "data.jsonl", "--diff", "old.parquet")
    assert code == 0
    assert "6 of 6 rows changed" in said


def run(*arguments):
    program = "from rewardsmith.cli import main; main()"
    command = [sys.executable, "-c", program, "score", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def cached(said, part):
    """How many rows of a part were run, and how many the cache had."""
    rows = [line.split() for line in said.splitlines() if line.strip().startswith(part)]
    return int(rows[-1][1]), int(rows[-1][3])


def test_editing_a_function_invalidates_its_cache_and_renaming_does_not(work, score):
    def arguments(n):
        return "reward.yaml", "data.jsonl", "--out", f"{n}.parquet", "--cache", "cache"

    def scored(n):
        """By a process that has not read the functions before."""
        ended = run(*arguments(n), "--executor", "inline")
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    assert cached(score(*arguments(0))[1], "words") == (3, 0)
    assert cached(score(*arguments(1))[1], "words") == (0, 3)
    functions, spec = Path("functions.py"), Path("reward.yaml")
    functions.write_text(FUNCTIONS.replace("def words", "# renamed\ndef tokens"))
    spec.write_text(REWARD.replace("functions.py:words", "functions.py:tokens"))
    assert cached(scored(2), "words") == (0, 3)
    # A constant that it reads is a part of it; the other function does not use it.
    functions.write_text(FUNCTIONS.replace("SHARE = 0.5", "SHARE = 0.25"))
    spec.write_text(REWARD)
    said = scored(3)
    assert cached(said, "words") == (3, 0)
    assert cached(said, "right") == (0, 3)
    assert column("reward/words", "3.parquet")[1] == 0.75


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"completion": "4", "answer": "4"}\n{"completion": \n', "data.jsonl:2: no JSON: "),
        ('{"completion": "4", "answer": "4"}\n[1]\n', "data.jsonl:2: a row is a JSON object"),
        ("", "data.jsonl: it holds no rows"),
        ("\n\n", "data.jsonl: it holds no rows"),
        ('{"completion": "4"}\n', "data.jsonl: no column 'answer', needed by function(call=right)"),
        (b"\xff\xfe{}", "data.jsonl:1: no JSON"),
    ],
)
def test_bad_data_is_one_line(work, score, data, message):
    Path("plain.yaml").write_text("reward: {function: {call: ./functions.py:right}}")
    Path("data.jsonl").write_bytes(data if isinstance(data, bytes) else data.encode())
    code, _, complaint = score("plain.yaml", "data.jsonl")
    assert code == 2
    assert message in complaint
    assert complaint.startswith("error: ")
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.jsonl"], "nothing.jsonl: there is no such file"),
        (["dat.jsonl"], "there is no such file; did you mean 'data.jsonl'?"),
        (["functions.py"], "rows of text are .jsonl"),
        (["data.jsonl", "--group", "promt_id"], "no column 'promt_id'; did you mean 'prompt_id'?"),
        (["data.jsonl", "--columns", "nope"], "there is no column 'nope'"),
        (["data.jsonl", "--diff", "none.parquet"], "none.parquet: cannot read it"),
        (["data.jsonl", "--diff", "rows.parquet"], "rows.parquet: it holds no labels"),
        (["own.jsonl", "--columns", "reward"], "the labels have a column 'reward' of their own"),
        (["data.jsonl", "--diff", "short.parquet"], "--diff: it has 1 rows, the data has 6"),
        (["data.jsonl", "--diff", "six.parquet", "--out", "six.parquet"], "it is the file that is"),
        (["data.jsonl", "--workers", "2"], "--executor: inline, rows run one after"),
        (["data.jsonl", "--executor", "threads"], "no executor 'threads'"),
        (["data.jsonl", "--out", "functions.py/x.parquet"], "cannot write it: Not a directory"),
    ],
)
def test_bad_arguments_are_one_line(work, score, arguments, message):
    pq.write_table(pa.table({"a": [1]}), "rows.parquet")
    Path("own.jsonl").write_text('{"completion": "4", "answer": "4", "reward": 1, "prompt_id": 0}')
    for name, n in (("short", 1), ("six", 6)):
        labels = {"row": list(range(n)), "reward": [0.0] * n, "status": ["scored"] * n}
        pq.write_table(pa.table(labels), f"{name}.parquet")
    if "--executor" in arguments:
        code, _, complaint = score("reward.yaml", arguments[0], executor=arguments[2])
    else:
        code, _, complaint = score("reward.yaml", *arguments)
    assert code == 2
    assert message in complaint
    assert complaint.count("\n") == 1


def test_a_broken_line_is_told_before_anything_is_scored(work, score):
    rows = [json.dumps({"completion": "4", "answer": "4"})] * 200
    Path("plain.yaml").write_text("reward: {function: {call: ./functions.py:right}}")
    Path("data.jsonl").write_text("\n".join([*rows, "{"]))
    code, _, complaint = score("plain.yaml", "data.jsonl", "--chunk", 50)
    assert code == 2
    assert "data.jsonl:201: no JSON" in complaint
    assert not Path("out.parquet.parts").exists()


def test_a_broken_line_on_standard_input_keeps_what_came_before(work, score, monkeypatch):
    rows = [json.dumps({"completion": "4", "answer": "4"})] * 200
    Path("plain.yaml").write_text("reward: {function: {call: ./functions.py:right}}")
    text = "\n".join([*rows, "{"]).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    code, _, complaint = score("plain.yaml", "-", "--chunk", 50, executor="processes")
    assert code == 2
    assert "standard input:201: no JSON" in complaint
    done = sorted(Path("out.parquet.parts").glob("*.parquet"))
    assert [pq.read_metadata(path).num_rows for path in done] == [50] * 4


def test_strange_rows_have_a_status_each(work, score):
    rows = [
        {"completion": "", "answer": "4"},
        {"completion": "a" * 5_000_000, "answer": "4"},
        {"completion": "\x00\x00", "answer": "4"},
        {"completion": "\ud800", "answer": "\ud800"},
        {"completion": None, "answer": "4"},
        {"completion": 4, "answer": "4"},
        {"answer": "4"},
        {"completion": "4", "answer": "4", "id": 1},
        {"completion": "4", "answer": "4", "id": 1},
    ]
    Path("data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    Path("strange.yaml").write_text(
        "reward: {weighted_sum: {parts: {right: {function: {call: ./functions.py:right}}, "
        "maths: {math_answer: {}}, words: {function: {call: ./functions.py:words}}}}}"
    )
    arguments = ("--columns", "completion,id")
    code, _, complaint = score("strange.yaml", "data.jsonl", *arguments, executor="processes")
    assert code == 0, complaint
    # A row without the column fails; null is a value like others.
    assert column("status/right") == ["scored"] * 6 + ["failed"] + ["scored"] * 2
    assert column("reward/right") == [0, 0, 0, 1, 0, 0, None, 1, 1]
    assert column("error")[6].endswith("this row has no column 'completion'")
    assert column("status/words") == ["scored"] * 4 + ["failed"] * 3 + ["scored"] * 2
    assert column("status/maths")[4:7] == ["failed"] * 3
    assert column("error")[4].startswith("data.jsonl:5: maths: ")
    assert column("row") == list(range(9))


GROUPS = """
import torch
from rewardsmith.core.catalog import method
from rewardsmith.core.reward import Reward
from rewardsmith.core.scores import Scores

@method("shares_its_group", kind="signal")
class Share(Reward):
    def __init__(self, wide: str) -> None:
        super().__init__()
        self.wide = wide
        self.declare(needs=["completion"], scope=wide)
        self.rows = 0

    def survey(self, rollouts):
        self.rows += len(rollouts)

    def forward(self, rollouts):
        if self.scope == "dataset":
            return Scores.outcome(torch.full((len(rollouts),), float(self.rows)))
        return Scores.outcome(rollouts.group.bincount()[rollouts.group].float())
"""


@pytest.fixture
def shared(work, monkeypatch):
    """Rewards of wider scopes, which are no part of the catalog: made here, read by the command."""
    Path("groups.py").write_text(GROUPS)
    from rewardsmith.core import spec
    from rewardsmith.core.reference import Reference, resolve

    Path("shared.yaml").write_text("columns: {group: prompt_id}\nreward: {env_reward: {}}\n")
    kind = resolve(Reference.parse("./groups.py:Share", Path.cwd()))

    def use(scope):
        monkeypatch.setattr(spec, "load", lambda file: kind(scope))
        monkeypatch.setattr("rewardsmith.adapters.files.labeling.fingerprint", lambda reward: scope)

    return use


def test_groups_stay_together_and_are_refused_where_they_do_not(work, shared, score):
    shared("group")
    assert score("shared.yaml", "data.jsonl", "--chunk", 2)[0] == 0
    assert column("reward") == [3.0] * 6
    rows = [{"completion": "x", "prompt_id": i} for i in (0, 0, 1, 1, 0, 0)]
    Path("mixed.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for _ in range(2):  # also where it goes on
        code, _, complaint = score("shared.yaml", "mixed.jsonl", "--chunk", 2, "--out", "m.parquet")
        assert code == 2
        assert "mixed.jsonl:5: group 0 began earlier in the file" in complaint
        assert complaint.endswith("sort the file by 'prompt_id'\n")


def test_a_whole_data_set_is_read_twice(work, shared, score, monkeypatch):
    shared("dataset")
    assert score("shared.yaml", "data.jsonl", "--chunk", 4)[0] == 0
    assert column("reward") == [6.0] * 6
    # What decides all rows is part of what they are labels of.
    assert "starting anew" not in score("shared.yaml", "data.jsonl", "--chunk", 4)[1]
    _, said, _ = score("shared.yaml", "data.jsonl", "--chunk", 4, "--limit", 5)
    assert "is replaced" in said
    assert column("reward") == [5.0] * 5
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"completion": "x", "prompt_id": 0}'))
    )
    code, _, complaint = score("shared.yaml", "-")
    assert code == 2
    assert "standard input comes once" in complaint


def test_only_one_run_writes_a_file(work, score):
    from rewardsmith.adapters.files.labels import Labels

    holder = """
import time
from pathlib import Path
from rewardsmith.adapters.files.labels import Labels
labels = Labels(Path("out.parquet"), 6, "other")
print("there", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "there\n"
        code, _, complaint = score("reward.yaml", "data.jsonl")
        assert code == 2
        assert "out.parquet: another run is writing it" in complaint
    finally:
        process.kill()
        process.wait()
    assert Labels(Path("out.parquet"), 6, "mine").done == 0


def test_what_is_done_outlives_a_command_that_cannot_run(work, score):
    from rewardsmith.adapters.files.labels import Labels

    full = {"chunks": 0}
    append = Labels.append

    def failing(self, table):
        full["chunks"] += 1
        if full["chunks"] > 2:
            raise KeyboardInterrupt
        append(self, table)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Labels, "append", failing)
        assert score("reward.yaml", "data.jsonl", "--chunk", 2)[0] == 1
    assert score("reward.yaml", "data.jsonl", "--chunk", 2, "--workers", 3)[0] == 2
    # Other ways to run it or to show what broke do not change what rows are worth.
    code, said, _ = score(
        "reward.yaml",
        "data.jsonl",
        "--chunk",
        2,
        "--timeout",
        5,
        "--on-error",
        0,
        "--workers",
        2,
        executor="processes",
    )
    assert code == 0
    assert "going on after 4 rows" in said


def test_a_full_disk_keeps_what_is_done(work, score, monkeypatch):
    written = pq.ParquetWriter.write_table
    full = {"after": 2}

    def write_table(self, *arguments, **options):
        full["after"] -= 1
        if full["after"] < 0:
            raise OSError(28, "No space left on device")
        return written(self, *arguments, **options)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", write_table)
    code, _, complaint = score("reward.yaml", "data.jsonl", "--chunk", 2)
    assert code == 2
    assert (
        "out.parquet: cannot write it: No space left on device; what is done is kept" in complaint
    )
    full["after"] = 99
    code, said, _ = score("reward.yaml", "data.jsonl", "--chunk", 2)
    assert code == 0
    assert "going on after 4 rows" in said
    assert column("row") == list(range(6))


# --- a kill ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_after_kills_the_file_is_that_of_an_undisturbed_run(work):
    rng = random.Random(0)
    texts = [f"{rng.random()}" for _ in range(6000)]
    write("many.jsonl", texts)
    Path("slow.yaml").write_text("reward: {function: {call: ./functions.py:hasty}}")
    arguments = ["slow.yaml", "many.jsonl", "--chunk", "100", "--workers", "2"]
    assert run(*arguments, "--out", "whole.parquet").returncode == 0
    program = "from rewardsmith.cli import main; main()"
    command = [sys.executable, "-c", program, "score", *arguments, "--out", "killed.parquet"]
    kept = []
    for _ in range(5):
        process = subprocess.Popen(command, start_new_session=True)
        time.sleep(rng.uniform(2.5, 4.0))
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kept.append(len(list(Path("killed.parquet.parts").glob("0*.parquet"))))
    assert kept == sorted(kept)
    assert 0 < kept[-1] < 60
    assert run(*arguments, "--out", "killed.parquet").returncode == 0
    assert Path("killed.parquet").read_bytes() == Path("whole.parquet").read_bytes()

"""The generated files, and the server and the executor that they start."""

import ast
import asyncio
import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from rewardsmith.adapters.openrlhf import RewardFunction, agent_executor, app
from rewardsmith.adapters.openrlhf.glue import glue
from rewardsmith.core.function import Function

YAML = "reward: {math_answer: {answer: last number}}\n"


def function(**options: Any) -> RewardFunction:
    from rewardsmith.core import spec

    return RewardFunction(spec.loads(YAML), **({"missing": 0.0, "executor": "inline"} | options))


def posted(server: Any, payload: Any, path: str = "/get_reward") -> tuple[int, Any]:
    """What a server answers, asked without a network."""
    sent: list[Any] = []
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST" if path == "/get_reward" else "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "server": ("here", 80),
        "client": ("here", 1),
        "scheme": "http",
        "root_path": "",
    }
    asyncio.run(server(scope, receive, send))
    text = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(text)


def test_the_server() -> None:
    pytest.importorskip("fastapi")
    server = app(function(missing="raise"))
    one = {"query": ["Q? 4<|im_end|>", "Q? 5"], "prompts": ["Q?", "Q?"], "labels": ["4", "4"]}
    status, found = posted(server, one)
    assert status == 200
    assert found["rewards"] == found["scores"] == [1.0, 0.0]
    assert found["extra_logs"]["status/scored"] == [1.0, 1.0]
    assert posted(server, None, "/health") == (
        200,
        {"status": "ok", "reward": "math_answer(answer='last number')"},
    )
    bad = {
        "1 queries, 2 prompts, 2 labels": one | {"query": ["Q? 4"]},
        "queries, row 1: int, not text": one | {"query": ["Q? 4", 1]},
        "no 'prompts' and no 'labels'": {"query": ["Q? 4"]},
        "the payload is list": [one],
        "no column 'answer', needed by math_answer": one | {"labels": ["", ""]},
    }
    for message, payload in bad.items():
        status, found = posted(app(function()), payload)
        assert (status, message in found["detail"]) == (422, True)
    assert posted(server, b"{")[0] == 422
    status, found = posted(server, one | {"query": ["other", "Q? 5"]})
    assert status == 500
    assert "the query does not begin with its prompt" in found["detail"]


def test_without_fastapi_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(ImportError, match=r"pip install 'rewardsmith\[server\]'"):
        app(function())


class SingleTurn:
    """OpenRLHF's executor of single turns, as far as ours builds on it."""

    def __init__(self, remote_rm_url: Any = None) -> None:
        assert remote_rm_url is None

    async def execute(self, prompt: str, *rest: Any) -> dict[str, Any]:
        made = [ord(letter) for letter in "it is 4[FIN]</s>[FIN]"]
        ids = [ord(letter) for letter in prompt]
        ranges = [(len(ids), len(ids) + len(made))]
        return {"prompt": prompt, "observation_tokens": ids + made, "action_ranges": ranges}


class Letters:
    all_special_tokens = ("[FIN]",)

    def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        return "".join(map(chr, tokens))


@pytest.fixture
def openrlhf(monkeypatch: pytest.MonkeyPatch) -> None:
    agent: Any = types.ModuleType("openrlhf.utils.agent")
    agent.SingleTurnAgentExecutor = SingleTurn
    for name in ("openrlhf", "openrlhf.utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, agent.__name__, agent)


@pytest.mark.usefixtures("openrlhf")
def test_the_executor() -> None:
    said: list[str] = []

    def said_so(completion: str) -> float:
        said.append(completion)
        return 1.0

    executor = agent_executor(RewardFunction(Function(said_so), missing=0.0, executor="inline"))()
    assert isinstance(executor, SingleTurn)
    found = asyncio.run(executor.execute("Q?", "4", None, 10, Letters(), None))
    assert (found["reward"], found["scores"], found["prompt"]) == (1.0, 1.0, "Q?")
    assert found["extra_logs"]["status/scored"] == 1.0
    # The tokenizer's ends and no others, for what is left is the model's text.
    assert said == ["it is 4[FIN]</s>"]
    named = RewardFunction(
        Function(said_so), missing=0.0, executor="inline", special_tokens=["</s>"]
    )
    asyncio.run(agent_executor(named)().execute("Q?", "4", None, 10, Letters(), None))
    assert said[1:] == ["it is 4"]


def loaded(path: Path) -> Any:
    """A file as OpenRLHF loads it."""
    spec: Any = importlib.util.spec_from_file_location("somewhere", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("openrlhf")
@pytest.mark.parametrize("place", ["reward.yaml", "../it's one/reward.yaml", 'a "b" é.yaml'])
def test_the_generated_files(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "glue"
    folder.mkdir()
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / place).write_text(YAML)
    files = glue(place)
    assert sorted(files) == ["README.md", "agent_func.py", "reward_func.py", "serve.py"]
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        if name.endswith(".py"):
            assert ast.get_docstring(ast.parse(text))
    assert len(files["README.md"].splitlines()) == 3
    function = loaded(folder / "reward_func.py").reward_func
    assert function(["Q? 4"], ["Q?"], ["4"])["rewards"].tolist() == [1.0]
    assert function.by_row.missing == "raise"
    assert issubclass(loaded(folder / "agent_func.py").AgentExecutor, SingleTurn)


def test_the_generated_files_are_formatted(tmp_path: Path) -> None:
    for name, text in glue("reward.yaml").items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["format", "--check", "--line-length=100"], ["check", "--line-length=100"]):
        found = subprocess.run([*ruff, *command, "--isolated", str(tmp_path)], check=False)
        assert found.returncode == 0


def test_importing_it_imports_no_trainer() -> None:
    code = (
        "import sys, rewardsmith.adapters.openrlhf as adapter; dir(adapter);"
        "adapter.RewardFunction, adapter.app, adapter.agent_executor;"
        "bad = {'openrlhf', 'fastapi', 'uvicorn', 'transformers', 'ray'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

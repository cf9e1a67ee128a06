"""Rows and failures across ranks, on two processes of torch.distributed."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tests.adapters.trl.test_trl_function import AboveMean, Log, made, tree

import rewardsmith as rs
from rewardsmith.adapters.scorer import Scorer
from rewardsmith.adapters.trl.groups import window
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.ops.ranks import everybody, share


def test_alone_nothing_is_caught_or_copied() -> None:
    thing = object()
    assert everybody() is None
    assert share(lambda: thing, id, None) == (thing, [id(thing)])
    with pytest.raises(ZeroDivisionError):
        share(lambda: 1 // 0, id, None)


def test_a_rank_scores_the_groups_that_it_has_a_row_of() -> None:
    prompts = ["p"] * 4 + ["q"] * 4 + ["r"] * 4
    rows = [{"prompt": prompt, "completion": "a"} for prompt in prompts]
    by_rank = [rows[:6], rows[6:7], rows[7:]]
    scorer = Scorer(AboveMean(), executor="inline")
    found = [window(by_rank, rank, scorer, None) for rank in range(3)]
    assert [(w.group, w.start, w.n) for w in found] == [
        ([0] * 4 + [1] * 4, 0, 6),
        ([1] * 4, 2, 1),
        ([1] * 4 + [2] * 4, 3, 5),
    ]


class Exits(Reward):
    """Ends the program on rank 0."""

    def __init__(self) -> None:
        super().__init__()
        self.declare(needs={"completion"})

    def forward(self, rollouts: Rollouts) -> Scores:
        if dist.get_rank() == 0:
            raise SystemExit(3)
        return Scores.outcome(torch.ones(len(rollouts)))


def rank_main(rank: int, port: int, out: Path) -> None:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    found: dict[str, Any] = {}
    # One group of four, of which each rank has two.
    found["above"] = made(AboveMean(), num_generations=4)(
        ["p"] * 2, [["a", "aaa"], ["aa", "aaaaaa"]][rank]
    )
    log = Log()
    texts = [["nan", "nan"], ["no", "three"]][rank]
    found["values"] = [part(["p"] * 2, texts, **log.given()) for part in made(split=True)]
    found["metrics"], found["extra"] = log.metrics, log.extra
    failing = {
        "raise": lambda: made(missing="raise")(["p"] * 2, texts),
        "column": lambda: made(rs.signals.MathAnswer())(
            ["p"], ["4"], **({"answer": ["4"]} if rank == 0 else {})
        ),
        "partial": lambda: made(AboveMean())(["p", "p", "q"], ["a"] * 3),
        "untold": lambda: made(AboveMean())(["p"] * 2, ["a"] * 2),
        "exit": lambda: made(Exits())(["p"], ["a"]),
        "pickle": lambda: made(AboveMean(), columns={"group": "task"})(
            ["p"], ["a"], task=[found if rank == 0 else lambda: None]
        ),
    }
    for name, fail in failing.items():
        try:
            fail()
        except BaseException as error:  # noqa: BLE001 - what is raised is what is tested
            found[name] = f"{type(error).__name__}: {error}"
            found[f"{name} notes"] = getattr(error, "__notes__", [])
    (out / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(rank_main, args=(port, out), nprocs=2)
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(2)]


def test_a_group_is_scored_whole(two: list[dict[str, Any]]) -> None:
    # The mean length is 3.
    assert [found["above"] for found in two] == [[-2.0, 0.0], [-1.0, 3.0]]


def test_each_rank_has_its_own_rows_and_the_same_means(two: list[dict[str, Any]]) -> None:
    assert [found["values"] for found in two] == [
        [[None, None], [None, None]],
        [[1.0, 2.5], [None, 4.0]],
    ]
    assert list(two[0]["metrics"]) == list(two[1]["metrics"])
    assert two[0]["metrics"] == two[1]["metrics"]
    assert two[0]["metrics"]["reward/length"] == 3.5
    assert two[0]["metrics"]["reward/vowels"] == pytest.approx((1 + 1 + 2) / 3)
    assert two[0]["metrics"]["scored/length"] == 0.5
    assert two[0]["extra"]["status"] == ["bad_value"] * 2
    assert list(two[0]["extra"]) == list(two[1]["extra"])


def test_what_fails_on_one_rank_fails_on_both(two: list[dict[str, Any]]) -> None:
    own, other = (found["raise"] for found in two)
    assert own.startswith("ScoreError: part 'length', row 0: bad_value")
    assert "rank 0 of 2 raised ScoreError: part 'length', row 0" in other
    assert two[0]["raise notes"] == ["on rank 0 of 2"]
    own, other = two[1]["column"], two[0]["column"]
    assert own.startswith("MissingColumn: no column 'answer'")
    assert "rank 1 of 2 raised MissingColumn: no column 'answer'" in other
    assert all("partial groups" in found["partial"] for found in two)
    # Each rank's two rows are equal, and so are all four: it is not known how many groups they are.
    assert all("all 4 rows of the batch have the same prompt" in found["untold"] for found in two)
    assert two[0]["exit"] == "SystemExit: 3"
    assert "rank 0 of 2 raised SystemExit: 3" in two[1]["exit"]
    assert "rank 1 of 2 raised" in two[0]["pickle"]
    assert "pickle" in two[1]["pickle"]


def test_the_tree_is_what_the_other_tests_have() -> None:
    assert tree().coefficients() == {"length": 0.5, "vowels": 2.0}

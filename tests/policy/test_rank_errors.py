"""What one rank refuses, all refuse: none waits for one that raised."""

import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing

from rewardsmith.policy.advantages.components import gdpo
from rewardsmith.policy.advantages.consistency import consistency_bonus
from rewardsmith.policy.advantages.group_relative import grpo
from rewardsmith.policy.advantages.thoughts import thought_advantages
from rewardsmith.policy.advantages.token_weights import perplexity_weighted

NAN = float("nan")
GROUP = ["a", "a"]
MASK = torch.ones(2, 1, dtype=torch.bool)

Case = Callable[[bool, Any], object]

# Each of the rank that is wrong, or is not.
CASES: dict[str, tuple[Case, str]] = {
    "lengths": (
        lambda wrong, ranks: grpo(torch.ones(3 if wrong else 2), GROUP, ranks=ranks),
        "grpo: 3 rewards, group has 2 rows (on rank 1)",
    ),
    "NaN": (
        lambda wrong, ranks: grpo(torch.tensor([1.0, NAN if wrong else 0.0]), GROUP, ranks=ranks),
        "grpo: row 1 of rank 1 (group 'a') has nan in rewards; "
        "leave rows without a score out: keep=scores.scored",
    ),
    "a part": (
        lambda wrong, ranks: gdpo({"x": torch.ones(3 if wrong else 2)}, GROUP, ranks=ranks),
        "gdpo: part 'x' must be a tensor [N], this is [3], group has 2 rows (on rank 1)",
    ),
    "names": (
        lambda wrong, ranks: gdpo({"y" if wrong else "x": torch.ones(2)}, GROUP, ranks=ranks),
        "gdpo: rank 0 has the columns rewards, part 'x', keep of 'x'; all have rewards, "
        "part 'x', keep of 'x', part 'y', keep of 'y'",
    ),
    "perplexity": (
        lambda wrong, ranks: perplexity_weighted(
            torch.ones(2), torch.full((2, 1), NAN if wrong else -1.0), MASK, ranks=ranks
        ),
        "perplexity_weighted: row 0, token 0 has the log-probability nan; "
        "a token that was sampled has a finite one (on rank 1)",
    ),
    "labels": (
        lambda wrong, ranks: thought_advantages(
            torch.tensor([1.0, 0.0]),
            torch.full((2, 1), 0 if wrong else 1),
            torch.zeros(2, 1, dtype=torch.int64),
            GROUP,
            MASK,
            alpha=0.5,
            ranks=ranks,
        ),
        "thought_level: the last step of row 0, step 0, has the label 0; it holds the answer, and "
        "goes with it: its label is 1 (on rank 1)",
    ),
    "likelihoods": (
        lambda wrong, ranks: consistency_bonus(
            torch.ones(2), torch.ones(3 if wrong else 2), GROUP, ranks=ranks
        ),
        "consistency_bonus: 2 rows of accuracy, likelihood has the shape [3] (on rank 1)",
    ),
}


def on_a_rank(rank: int, port: int, results: "multiprocessing.Queue") -> None:
    distributed.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=10),
    )
    told = {}
    for name, (case, _) in CASES.items():
        try:
            case(rank == 1, distributed.group.WORLD)
        except ValueError as error:
            told[name] = str(error)
    # They are still in step.
    told["after"] = str(grpo(torch.tensor([1.0, 0.0]), GROUP, ranks=distributed.group.WORLD).keep)
    results.put((rank, told))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def told() -> list[dict[str, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=on_a_rank, args=(rank, port, results)) for rank in (0, 1)]
    for process in processes:
        process.start()
    by_rank = dict(results.get(timeout=90) for _ in processes)
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    return [by_rank[0], by_rank[1]]


@pytest.mark.parametrize("name", CASES)
def test_what_one_rank_refuses_all_refuse_and_name_it(told, name):
    assert [of_rank[name] for of_rank in told] == [CASES[name][1]] * 2


def test_all_go_on_together(told):
    assert [of_rank["after"] for of_rank in told] == ["tensor([True, True])"] * 2

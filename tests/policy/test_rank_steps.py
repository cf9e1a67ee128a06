"""Two processes that hold halves of a batch of steps: moments of all, and errors of all."""

import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from rewardsmith.ops.ranks import Ranks
from rewardsmith.policy.advantages.global_and_local import verpo_advantages
from rewardsmith.policy.advantages.returns import gae, reinforce_plus_plus
from rewardsmith.policy.advantages.whitening import whiten

N, T = 5, 4
HALVES = [slice(0, 2), slice(2, N)]
_G = torch.Generator().manual_seed(0)
REWARDS, VALUES = torch.randn(2, N, T, generator=_G, dtype=torch.float64)
MASK = torch.arange(T) < torch.tensor([[4], [1], [3], [2], [4]])
GROUP = ["a", "b", "a", "b", "c"]
FIRST = torch.tensor([True, True, False, False, False])
NONE = FIRST & False


def broken(value: float, row: int) -> Tensor:
    rewards = REWARDS.clone()
    rewards[row, 0] = value
    return rewards


def plus_plus(rewards: Tensor, rows: slice, ranks: Ranks, keep: Tensor | None = None) -> Tensor:
    kept = None if keep is None else keep[rows]
    return reinforce_plus_plus(rewards[rows], MASK[rows], eps=0.0, keep=kept, ranks=ranks).values


def critic(rewards: Tensor, rows: slice, ranks: Ranks) -> Tensor:
    return gae(rewards[rows], VALUES[rows], MASK[rows], ranks=ranks).values


def verpo(rewards: Tensor, rows: slice, ranks: Ranks) -> Tensor:
    outcome, local, mask = VALUES[rows, 0], rewards[rows], MASK[rows]
    return verpo_advantages(outcome, local, GROUP[rows], mask=mask, ranks=ranks).values


Case = Callable[[slice, Ranks], Tensor]
NAN, SAME = float("nan"), torch.full((N, T), 0.1, dtype=torch.float64)
GOOD: dict[str, Case] = {
    "reinforce_plus_plus": lambda rows, ranks: plus_plus(REWARDS, rows, ranks),
    "one rank has no row": lambda rows, ranks: plus_plus(REWARDS, rows, ranks, FIRST),
    "no rank has a row": lambda rows, ranks: plus_plus(REWARDS, rows, ranks, NONE),
    "gae": lambda rows, ranks: critic(REWARDS, rows, ranks),
    "verpo": lambda rows, ranks: verpo(REWARDS, rows, ranks),
    "all the same": lambda rows, ranks: whiten(SAME[rows], MASK[rows], eps=0.0, ranks=ranks),
}
BAD: dict[str, Case] = {
    "reinforce_plus_plus": lambda rows, ranks: plus_plus(broken(NAN, 3), rows, ranks),
    "gae": lambda rows, ranks: critic(broken(float("inf"), 3), rows, ranks),
    "whiten": lambda rows, ranks: whiten(broken(NAN, 3)[rows], MASK[rows], ranks=ranks),
    "verpo": lambda rows, ranks: verpo(broken(NAN, 3), rows, ranks),
}


def on_a_rank(rank: int, store: str, results: "multiprocessing.Queue") -> None:
    warnings.simplefilter("ignore")
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=20),
    )
    rows, ranks = HALVES[rank], distributed.group.WORLD
    values, errors = {}, {}
    for name, case in BAD.items():
        try:
            case(rows, ranks)
        except ValueError as error:
            errors[name] = str(error)
    for name, case in GOOD.items():
        values[name] = case(rows, ranks).numpy()
    results.put((rank, values, errors))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory):
    store: Path = tmp_path_factory.mktemp("ranks") / "store"
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    given = [(rank, str(store), results) for rank in (0, 1)]
    processes = [context.Process(target=on_a_rank, args=args, daemon=True) for args in given]
    for process in processes:
        process.start()
    try:
        told = {rank: both for rank, *both in (results.get(timeout=60) for _ in processes)}
    finally:
        for process in processes:
            process.join(5)
            process.kill()
    return [told[0], told[1]]


@pytest.mark.filterwarnings("ignore:.* alone in their group", "ignore:.* no row of the batch")
@pytest.mark.parametrize("name", GOOD)
def test_numbers_are_those_of_the_whole_batch(halves, name: str) -> None:
    whole = GOOD[name](slice(0, N), None).numpy()
    told = [values[name] for values, _ in halves]
    assert whole == pytest.approx(torch.cat([*map(torch.from_numpy, told)]).numpy(), abs=1e-12)
    assert bool(whole.any()) == (name not in ("no rank has a row", "all the same"))


@pytest.mark.parametrize("name", BAD)
def test_a_number_that_is_not_finite_is_an_error_on_every_rank(halves, name: str) -> None:
    (_, first), (_, second) = halves
    assert first[name] == f"{name}: numbers of another rank are not finite"
    assert second[name].startswith(f"{name}: row 1 has {'inf' if name == 'gae' else 'nan'} in ")

"""Two processes that hold halves of a batch, of unequal size, with a group that lies on both."""

import socket
from datetime import timedelta

import pytest
import torch
from torch import distributed, multiprocessing

from rewardsmith.policy.advantages.components import gdpo
from rewardsmith.policy.advantages.group_relative import grpo
from rewardsmith.policy.advantages.whitening import whiten
from rewardsmith.policy.losses.aggregation import Aggregation, Mode
from rewardsmith.policy.losses.clipping import ppo

REWARDS = torch.tensor([1.0, 0.0, 3.0, float("nan"), 5.0, 2.0, 2.0], dtype=torch.float64)
KEEP = torch.tensor([True, True, True, False, True, True, True])
GROUP = ["a", "b", "b", "a", "a", "b", "a"]
MASK = (
    torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1]]) > 0
)
LOGPROB = torch.linspace(-2.0, -0.5, 21, dtype=torch.float64).view(7, 3)
MODES = Mode.__args__
HALVES = [slice(0, 3), slice(3, 7)]


def batch(rows: slice, ranks: distributed.ProcessGroup | None) -> dict[str, torch.Tensor]:
    """What these rows get, and the gradient of their share of the loss."""
    rewards, keep, group = REWARDS[rows], KEEP[rows], GROUP[rows]
    mask, logprob = MASK[rows], LOGPROB[rows].clone().requires_grad_()
    outcome = grpo(rewards, group, keep=keep, ranks=ranks)
    scaled = grpo(rewards, group, keep=keep, scale="batch", ranks=ranks)
    parts = {"x": rewards, "y": torch.where(keep, rewards**2, 0.0)}
    both = gdpo(parts, group, keep={"x": keep, "y": keep}, ranks=ranks)
    white = whiten(LOGPROB[rows], mask, ranks=ranks)
    told = {"grpo": outcome.values, "batch": scaled.values, "gdpo": both.values, "white": white}
    for mode in MODES:
        length = 3.0 if mode.endswith("norm") else None
        how = Aggregation.of_batch(mode, outcome.masked(mask), length=length, ranks=ranks)
        ppo(logprob, LOGPROB[rows] - 0.1, outcome, mask, aggregation=how).loss.backward()
        assert logprob.grad is not None
        told[mode] = logprob.grad.clone()
        logprob.grad = None
    return told


def on_a_rank(rank: int, port: int, results: "multiprocessing.Queue") -> None:
    distributed.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    told = batch(HALVES[rank], distributed.group.WORLD)
    results.put((rank, {name: value.numpy() for name, value in told.items()}))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def halves():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=on_a_rank, args=(rank, port, results)) for rank in (0, 1)]
    for process in processes:
        process.start()
    told = dict(results.get(timeout=90) for _ in processes)
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    return [{name: torch.from_numpy(v) for name, v in told[rank].items()} for rank in (0, 1)]


@pytest.mark.parametrize("name", ["grpo", "batch", "gdpo"])
def test_a_group_on_two_ranks_is_one_group(halves, name):
    whole = batch(slice(0, 7), None)[name]
    assert torch.equal(torch.cat([half[name] for half in halves]), whole)
    assert whole.abs().max() > 0.1


def test_moments_are_those_of_all_ranks(halves):
    whole = batch(slice(0, 7), None)["white"]
    told = torch.cat([half["white"] for half in halves])
    assert told.numpy() == pytest.approx(whole.numpy(), rel=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_the_mean_gradient_of_ranks_is_that_of_the_batch(halves, mode):
    # Each row is on one rank: the mean over two ranks of its gradient is half of it.
    whole = batch(slice(0, 7), None)[mode]
    told = torch.cat([half[mode] for half in halves]) / 2
    assert told.numpy() == pytest.approx(whole.numpy(), rel=1e-12)
    assert whole.abs().max() > 0.01


@pytest.mark.parametrize("mode", MODES)
def test_one_process_has_the_gradient_of_the_mode_itself(mode):
    logprob = LOGPROB.clone().requires_grad_()
    how = Aggregation(mode, length=3.0) if mode.endswith("norm") else mode
    made = grpo(REWARDS, GROUP, keep=KEEP)
    ppo(logprob, LOGPROB - 0.1, made, MASK, aggregation=how).loss.backward()
    whole = batch(slice(0, 7), None)[mode]
    assert whole.numpy() == pytest.approx(logprob.grad.numpy(), rel=1e-12)

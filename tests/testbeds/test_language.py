"""The enumerable language model against brute force over token strings, in plain Python."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.testbeds import EnumerableLM
from rewardsmith.testbeds.language import nodes


def strings(vocabulary: int, longest: int) -> list[tuple[int, ...]]:
    """Every answer, as the definition says."""
    found = []
    for length in range(1, longest + 1):
        for tokens in itertools.product(range(vocabulary), repeat=length):
            ends = 0 in tokens
            if (ends and tokens.index(0) == length - 1) or (not ends and length == longest):
                found.append(tokens)
    return found


def chance(lm: EnumerableLM, prompt: int, tokens: tuple[int, ...]) -> float:
    """pi(tokens), walked along the tree by hand."""
    at, total = 0, 1.0
    for token in tokens:
        odds = lm.logits[prompt, at].detach().exp()
        total *= float(odds[token] / odds.sum())
        at = at * (lm.logits.shape[2] - 1) + token
    return total


def written(lm: EnumerableLM) -> list[tuple[int, ...]]:
    """The answers of its tables."""
    rows = zip(lm.tokens.tolist(), lm.lengths.tolist(), strict=True)
    return [tuple(tokens[:length]) for tokens, length in rows]


@settings(max_examples=12)
@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 1000))
def test_every_answer_is_there_once_with_its_probability(
    vocabulary: int, longest: int, seed: int
) -> None:
    lm = EnumerableLM.random(2, vocabulary, longest, spread=2.0, seed=seed)
    answers = written(lm)
    assert sorted(answers) == sorted(strings(vocabulary, longest))
    assert len(answers) == nodes(vocabulary, longest)
    probability = lm.probability().detach()
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(2, dtype=torch.float64))
    for number in range(0, len(answers), max(len(answers) // 20, 1)):
        for prompt in range(2):
            told = float(probability[prompt, number])
            assert told == pytest.approx(chance(lm, prompt, answers[number]), rel=1e-12)
    assert lm.number(lm.tokens).tolist() == list(range(len(answers)))
    behind = torch.where(lm.mask, lm.tokens, 1)
    assert torch.equal(lm.number(behind), lm.number(lm.tokens))
    unread = torch.cat([torch.where(lm.mask, lm.tokens, -1), torch.full((len(answers), 2), 1)], 1)
    assert torch.equal(lm.number(unread), lm.number(lm.tokens))


def test_prefixes_with_one_beginning_have_one_number() -> None:
    lm = EnumerableLM.random(1, 4, 3)
    seen: dict[int, set[tuple[int, ...]]] = {}
    for answer, prefix in zip(written(lm), lm.prefix.tolist(), strict=True):
        for t in range(len(answer)):
            seen.setdefault(prefix[t], set()).add(answer[:t])
    assert sorted(seen) == list(range(nodes(4, 2)))
    assert all(len(beginnings) == 1 for beginnings in seen.values())
    assert not lm.logprob().detach()[:, ~lm.mask].any()


@pytest.fixture
def world() -> tuple[EnumerableLM, EnumerableLM, torch.Tensor]:
    lm, other = (EnumerableLM.random(2, 3, 3, seed=seed) for seed in (1, 2))
    return lm, other, lm.draw_rewards(torch.Generator().manual_seed(3))


def test_what_is_summed_over_answers(
    world: tuple[EnumerableLM, EnumerableLM, torch.Tensor],
) -> None:
    lm, other, rewards = world
    answers = written(lm)
    objective = kl = entropy = 0.0
    for prompt in range(2):
        for number, answer in enumerate(answers):
            p, q = chance(lm, prompt, answer), chance(other, prompt, answer)
            objective += p * float(rewards[prompt, number]) / 2
            kl += p * math.log(p / q) / 2
            entropy -= p * math.log(p) / 2
    assert lm.objective(rewards).item() == pytest.approx(objective, rel=1e-12)
    assert lm.kl(other).item() == pytest.approx(kl, rel=1e-12)
    assert lm.entropy().item() == pytest.approx(entropy, rel=1e-12)
    assert lm.kl(lm).item() == 0.0


def test_gradients_are_those_of_differences(
    world: tuple[EnumerableLM, EnumerableLM, torch.Tensor],
) -> None:
    lm, other, rewards = world
    for what in (
        lambda model: model.objective(rewards),
        lambda model: model.kl(other),
        lambda model: model.entropy(),
        lambda model: model.pass_at_k(rewards > 0.5, 4),
        lambda model: model.partition(rewards, 0.5)[0].sum(),
        lambda model: (model.partition(rewards, 0.5)[1] * rewards).sum(),
    ):
        found = lm.gradient(what(lm))
        for place in itertools.product(range(2), range(0, nodes(3, 2), 2), range(3)):
            moved = [EnumerableLM(lm.logits, 3) for _ in range(2)]
            for model, step in zip(moved, (1e-5, -1e-5), strict=True):
                model.logits.data[place] += step
            up, down = (what(model).item() for model in moved)
            assert float(found[place]) == pytest.approx((up - down) / 2e-5, abs=1e-9)


def test_the_tilted_distribution_is_the_best_one(
    world: tuple[EnumerableLM, EnumerableLM, torch.Tensor],
) -> None:
    lm, other, rewards = world
    beta = 0.3
    log_partition, target = lm.partition(rewards, beta)
    own = lm.probability()
    z = (own * (rewards / beta).exp()).sum(dim=1)
    torch.testing.assert_close(log_partition, z.log())
    torch.testing.assert_close(target, own * (rewards / beta).exp() / z[:, None])

    def value(policy: torch.Tensor) -> torch.Tensor:
        return (policy * (rewards - beta * (policy / own).log())).sum(dim=1)

    torch.testing.assert_close(value(target), beta * log_partition)
    assert bool((value(other.probability()) < value(target)).all())


def test_pass_at_k_is_that_of_k_independent_answers() -> None:
    lm = EnumerableLM.random(2, 2, 2, seed=5)
    right = torch.tensor([[False, True, False], [True, False, True]])
    wanted = {1: 0.0, 2: 0.0}
    for k in wanted:
        for prompt, p in enumerate(lm.probability().tolist()):
            for drawn in itertools.product(range(3), repeat=k):
                hit = any(right[prompt, i] for i in drawn)
                wanted[k] += hit * math.prod(p[i] for i in drawn) / 2
    for k, value in wanted.items():
        assert lm.pass_at_k(right, k).item() == pytest.approx(value)
    with pytest.raises(ValueError, match="k is 0"):
        lm.pass_at_k(right, 0)


def test_where_nothing_is_right_pass_at_k_is_nothing() -> None:
    lm = EnumerableLM.random(8, 5, 4, spread=2.0)
    nothing = torch.zeros(8, len(lm.tokens), dtype=torch.bool)
    for k in (1, 64):
        assert lm.pass_at_k(nothing, k).item() == 0.0
        assert lm.pass_at_k(~nothing, k).item() == pytest.approx(1.0, abs=1e-15)


def test_samples_are_drawn_from_it_and_from_the_generator_alone() -> None:
    lm = EnumerableLM.random(2, 3, 2, seed=1)
    sample = lm.sample(20_000, torch.Generator().manual_seed(0))
    assert sample.prompt.tolist() == [0] * 20_000 + [1] * 20_000
    for prompt in range(2):
        counts = sample.answer[sample.prompt == prompt].bincount(minlength=7)
        p = lm.probability()[prompt].detach()
        error = (p * (1 - p) / 20_000).sqrt()
        assert bool(((counts / 20_000 - p).abs() < 4 * error).all())
    assert torch.equal(lm.number(sample.tokens), sample.answer)
    assert torch.equal(sample.mask, lm.mask[sample.answer])
    rows = lm.logprob().detach()[sample.prompt, sample.answer]
    assert torch.equal(sample.logprob, rows)
    assert not sample.logprob.requires_grad
    again = lm.sample(20_000, torch.Generator().manual_seed(0))
    assert torch.equal(again.answer, sample.answer)


def test_the_greedy_answer_takes_the_likeliest_token_each_time() -> None:
    # 2 is likeliest first; after it the end. The likeliest whole answer is the end alone.
    logits = torch.tensor([[0.42, 0.05, 0.53], [0.2, 0.4, 0.4], [0.4, 0.3, 0.3]]).double().log()
    lm = EnumerableLM(logits[None], 2)
    assert lm.tokens[lm.greedy()].tolist() == [[2, 0]]
    assert int(lm.probability().argmax()) == 0
    last = EnumerableLM(torch.tensor([[[0.0, 0.0, 1.0], [0.0] * 3, [0.0, 1.0, 0.0]]]), 2)
    assert last.tokens[last.greedy()].tolist() == [[2, 1]]


def test_rewards_correlate_with_length_as_asked() -> None:
    lm = EnumerableLM.random(8, 5, 4)
    for length in (-0.6, 0.0, 0.6, 1.0):
        rewards = lm.draw_rewards(torch.Generator().manual_seed(0), length=length)
        lengths = lm.lengths.double().expand_as(rewards)
        found = torch.corrcoef(torch.stack([rewards.flatten(), lengths.flatten()]))[0, 1]
        assert float(found) == pytest.approx(length, abs=0.05)
        assert float(rewards.var()) == pytest.approx(1.0, abs=0.1)
        if length == 1.0:  # Exactly: the standard deviation is that of all answers.
            assert float(rewards[0].var(correction=0)) == pytest.approx(1.0, abs=1e-12)
    with pytest.raises(ValueError, match="length is 2"):
        lm.draw_rewards(torch.Generator(), length=2.0)


def test_it_trains_and_saves_like_any_module() -> None:
    lm = EnumerableLM.random(1, 3, 2, seed=4)
    rewards = lm.draw_rewards(torch.Generator().manual_seed(1))
    optimizer = torch.optim.SGD(lm.parameters(), lr=20.0)
    for _ in range(300):
        optimizer.zero_grad()
        (-lm.objective(rewards)).backward()
        optimizer.step()
    assert float(lm.objective(rewards).detach()) == pytest.approx(float(rewards.max()), abs=0.01)
    other = EnumerableLM.random(1, 3, 2)
    other.load_state_dict(lm.state_dict())
    assert torch.equal(other.probability(), lm.probability())


@pytest.mark.parametrize(
    ("shape", "longest", "told"),
    [
        ((2, 3), 2, r"have the shape \[2, 3\]"),
        ((1, 3, 1), 2, "2 tokens or more"),
        ((1, 1, 3), 0, "at most 0 tokens"),
        ((1, 4, 3), 2, "of 4 prefixes; 3 tokens and answers of at most 2 have 3"),
        ((1, 3, 102), 3, "are too many to list"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    shape: tuple[int, ...], longest: int, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        EnumerableLM(torch.zeros(shape, dtype=torch.float64), longest)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        EnumerableLM(torch.full((1, 1, 3), float("nan"), dtype=torch.float64), 1)
    lm = EnumerableLM.random(1, 3, 2)
    with pytest.raises(ValueError, match="beta is 0"):
        lm.partition(torch.zeros(1, 7, dtype=torch.float64), 0.0)
    with pytest.raises(ValueError, match="tokens are 0 to 2"):
        lm.number(torch.tensor([[1, 3]]))
    with pytest.raises(ValueError, match=r"row 1 has 1 tokens and no end \(0\)"):
        lm.number(torch.tensor([[0], [1]]))
    assert lm.number(torch.tensor([[0]])).tolist() == [0]


def test_what_would_be_too_many_is_refused_before_it_is_drawn() -> None:
    with pytest.raises(ValueError, match="are too many to list"):
        EnumerableLM.random(1, 30, 8)


def test_nothing_is_stretched_to_the_models_shape() -> None:
    lm = EnumerableLM.random(2, 3, 2)
    for table in (torch.zeros(2, 1), torch.zeros(1, 7)):
        told = r"the table has the shape .* prompts and answers are \[2, 7\]"
        with pytest.raises(ValueError, match=f"objective: {told}"):
            lm.objective(table.double())
        with pytest.raises(ValueError, match=f"partition: {told}"):
            lm.partition(table.double(), 1.0)
        with pytest.raises(ValueError, match=f"pass_at_k: {told}"):
            lm.pass_at_k(table.bool(), 1)
    with pytest.raises(ValueError, match=r"kl: logits have the shapes \[2, 3, 3\] and \[1, 3, 3\]"):
        lm.kl(EnumerableLM.random(1, 3, 2))

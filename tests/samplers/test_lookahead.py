"""Rollouts from trees: what they are made of, that they are biased, and the sampler around it."""

from collections import Counter
from collections.abc import Sequence
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rewardsmith.core.document import parse_document
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.core.spec import build, dump
from rewardsmith.samplers.lookahead import Lookahead, lookahead_rollouts
from rewardsmith.samplers.prompts import PromptSampler, Shuffled
from rewardsmith.samplers.tree import Branch, Branching, edit_distance

END = 0


class Cache:
    """What a model remembers of each row: all tokens and which of them are real."""

    def __init__(self) -> None:
        self.seen: Tensor | None = None

    def reorder_cache(self, index: Tensor) -> None:
        assert self.seen is not None
        self.seen = self.seen.index_select(0, index)


class Table:
    """A model of the last ``order`` tokens, which checks that it is called as it must be.

    ``logits`` [V ** order, V]; tokens before the first count as 0.
    """

    def __init__(self, logits: Tensor, order: int = 1) -> None:
        self.logits, self.order, self.rows = logits, order, 0
        self.size = logits.shape[1]

    def __call__(
        self,
        *,
        input_ids: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor,
        past_key_values: Cache | None,
        use_cache: bool,
    ) -> Any:
        assert use_cache
        cache = past_key_values or Cache()
        ids = input_ids if cache.seen is None else torch.cat([cache.seen, input_ids], dim=1)
        cache.seen = ids
        assert attention_mask.shape == ids.shape
        real = (attention_mask.cumsum(1) - 1).clamp(min=0)
        assert torch.equal(position_ids, real[:, -input_ids.shape[1] :])
        self.rows += len(ids)
        last = (ids * attention_mask)[:, -self.order :]
        weight = self.size ** torch.arange(self.order - 1, -1, -1)[-last.shape[1] :]
        out = self.logits[(last * weight).sum(1)]
        return SimpleNamespace(logits=out[:, None], past_key_values=cache)


def random_model(seed: int, size: int = 5, order: int = 2, spread: float = 1.0) -> Table:
    generator = torch.Generator().manual_seed(seed)
    return Table(torch.randn(size**order, size, generator=generator) * spread, order)


def grow(
    model: Any, prompts: Sequence[Sequence[int]] = ((1,),), seed: int = 0, **options: Any
) -> list[list[Branch]]:
    tree = {name: options.pop(name) for name in list(options) if name in Branching.__annotations__}
    given: dict[str, Any] = {
        "group_size": 8,
        "max_new_tokens": 8,
        "eos_ids": [END],
        "pad_id": 0,
    } | options
    generator = torch.Generator().manual_seed(seed)
    tree = {"lookahead": (2,)} | tree
    return lookahead_rollouts(
        model, prompts, generator=generator, branching=Branching(**tree), **given
    )


def open_everywhere(**options: Any) -> dict[str, Any]:
    """Each second candidate opens a branch, and none is pruned."""
    return {"min_probability": 0.0, "max_gap": 1.0, "distance": 0.0, **options}


def tokens_of(group: Sequence[Branch]) -> list[list[int]]:
    return [branch.tokens for branch in group]


# --- the tree -------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 10_000),
    share=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    group_size=st.integers(1, 6),
    longest=st.integers(2, 7),
    candidates=st.integers(2, 5),
    distance=st.sampled_from([0.0, 0.6, 1.0]),
    until=st.sampled_from([None, 1, 3]),
)
@settings(max_examples=40)
def test_what_holds_of_every_tree(
    seed: int,
    share: float,
    group_size: int,
    longest: int,
    candidates: int,
    distance: float,
    until: int | None,
) -> None:
    """G answers; children share their parent's tokens up to their birth, and then differ."""
    groups = grow(
        random_model(seed),
        [(1, 2, 3), (4,)],
        seed,
        share=share,
        group_size=group_size,
        max_new_tokens=longest,
        candidates=candidates,
        min_probability=0.05,
        max_gap=0.6,
        distance=distance,
        until=until,
    )
    size = round(share * group_size)
    assert [len(group) for group in groups] == [group_size, group_size]
    for group in groups:
        for place, branch in enumerate(group):
            told = branch.tokens
            assert 1 <= len(told) <= longest
            assert END not in told[:-1]
            assert told[-1] == END or len(told) == longest
            if place == 0 or place >= size:
                assert (branch.parent, branch.birth) == (None, 0)
                continue
            assert branch.parent is not None
            assert branch.parent < place
            parent = group[branch.parent].tokens
            assert told[: branch.birth] == parent[: branch.birth]
            if branch.birth < len(parent) and until is None:
                assert told[branch.birth] != parent[branch.birth]


def test_a_tree_of_which_all_is_known() -> None:
    """After 1: 2 or 3, nearly as likely; after 2: 2 or the end; after 3 the end."""
    p = torch.tensor(
        [
            [1.0, 0.0, 0.0, 0.0],
            [0.0, 0.1, 0.5, 0.4],
            [0.45, 0.0, 0.55, 0.0],
            [1.0, 0.0, 0.0, 0.0],
        ]
    )
    model = Table(p.log())
    (group,) = grow(model, group_size=4, max_new_tokens=4, distance=0.0)
    assert group == [
        Branch([2, 2, 2, 2]),
        Branch([3, END], 0, 0),
        Branch([2, END], 0, 1),
        Branch([2, 2, END], 0, 2),
    ]
    # There is room for three: the last one born is left out. A copy of the root needs no room.
    (group,) = grow(model, group_size=3, max_new_tokens=4, distance=0.0)
    assert tokens_of(group) == [[2, 2, 2, 2], [3, END], [2, END]]
    # 0.55 - 0.45 and 0.5 - 0.4 are not below 0.09; of 0.45 and 0.4 one is above 0.42.
    (group,) = grow(model, group_size=4, max_new_tokens=4, distance=0.0, max_gap=0.09)
    assert tokens_of(group) == [[2, 2, 2, 2]] * 4
    (group,) = grow(model, group_size=4, max_new_tokens=4, distance=0.0, min_probability=0.42)
    assert tokens_of(group) == [[2, 2, 2, 2], [2, END], [2, 2, END], [2, 2, 2, END]]


def test_second_candidates_and_older_rows_come_first_where_room_is_short() -> None:
    even = Table(torch.tensor([[-9.0, 0.3, 0.2, 0.1]]).repeat(4, 1))
    options = open_everywhere(eos_ids=[], max_new_tokens=2, candidates=3)
    (group,) = grow(even, group_size=3, **options)
    assert [branch.tokens[0] for branch in group] == [1, 2, 3]
    # One token: three rows. Two: room for two more, and both are second candidates.
    (group,) = grow(even, group_size=5, **options)
    assert tokens_of(group)[3:] == [[1, 2], [2, 2]]
    assert [(b.parent, b.birth) for b in group[3:]] == [(0, 1), (1, 1)]


def test_a_child_is_pruned_where_it_is_too_near_with_all_that_descends_from_it() -> None:
    """The first token is 1 or 2, and afterwards all comes out the same."""
    p = torch.tensor([[0.0, 0.5, 0.45, 0.05], *[[0.0, 0.05, 0.05, 0.9]] * 3])
    model = Table(p.log())
    options: dict[str, Any] = {
        "prompts": ((3, 0),),
        "eos_ids": [],
        "group_size": 2,
        "max_new_tokens": 6,
    }
    (group,) = grow(model, lookahead=(4,), distance=0.25, **options)
    assert tokens_of(group) == [[1, 3, 3, 3, 3, 3], [2, 3, 3, 3, 3, 3]]  # 1/4 is not below 1/4
    (group,) = grow(model, lookahead=(4,), distance=0.26, until=4, seed=3, **options)
    assert group[1].tokens[:4] == [1, 3, 3, 3]  # a copy of the root
    assert (group[1].parent, group[1].birth) == (0, 4)
    # One of several lookaheads is enough: at 2 tokens they still differ by a half.
    for lookahead, first in (((2,), 2), ((2, 4), 1), ((4,), 1)):
        (group,) = grow(model, lookahead=lookahead, distance=0.3, **options)
        assert group[1].tokens[0] == first


def test_descendants_go_with_a_pruned_branch_and_make_room() -> None:
    # After 0: 1 or 2. After either 3, then 4 or 5, which differ on from there by a token.
    p = torch.full((6, 6), 1e-4)
    p[0, 1], p[0, 2] = 0.52, 0.48
    p[1, 3] = p[2, 3] = 1.0
    p[3, 4], p[3, 5] = 0.52, 0.48
    p[4, 4] = p[5, 5] = 1.0
    options: dict[str, Any] = {
        "prompts": ((3, 0),),
        "eos_ids": [],
        "group_size": 8,
        "max_new_tokens": 8,
    }
    born = grow(Table(p.log()), distance=0.0, lookahead=(4,), **options)[0]
    assert [b.tokens[:3] for b in born[:4]] == [[1, 3, 4], [2, 3, 4], [1, 3, 5], [2, 3, 5]]
    assert [(b.parent, b.birth) for b in born[:4]] == [(None, 0), (0, 0), (0, 2), (1, 2)]
    # After 4 tokens 2 3 4 4 is near 1 3 4 4, and goes with 2 3 5 5, which 2 tokens later is far.
    kept = grow(Table(p.log()), distance=0.3, lookahead=(4,), **options)[0]
    assert [b.tokens[:3] for b in kept[:2]] == [[1, 3, 4], [1, 3, 5]]
    assert all(b.tokens == kept[0].tokens for b in kept[2:])


def test_a_branch_that_has_ended_is_not_pruned() -> None:
    # 1 or 2, each of which ends the answer or goes on as likely, the end first.
    p = torch.tensor([[0.0, 0.5, 0.45, 0.05], *[[0.9, 0.0, 0.0, 0.1]] * 3])
    (group,) = grow(Table(p.log()), prompts=((3, 0),), group_size=2, distance=1.0, lookahead=(2,))
    assert tokens_of(group) == [[1, END], [2, END]]
    # Nor where its parent has ended: 1 3 is in 2 1 3.
    p = torch.tensor([[0.0, 0.5, 0.45, 0.05], [0, 0, 0, 1.0], [0, 1.0, 0, 0], [1.0, 0, 0, 0]])
    (group,) = grow(Table(p.log()), prompts=((3, 0),), group_size=2, distance=1.0, lookahead=(3,))
    assert tokens_of(group) == [[1, 3, END], [2, 1, 3, END]]


def test_a_bound_of_one_is_greedy_decoding() -> None:
    for seed in range(5):
        model = random_model(seed)
        (group,) = grow(model, min_probability=1.0, max_gap=1.0)
        greedy: list[int] = [0, 1]
        while len(greedy) < 10 and (len(greedy) == 2 or greedy[-1] != END):
            state = greedy[-2] * model.size + greedy[-1]
            greedy.append(int(model.logits[state].argmax()))
        assert tokens_of(group) == [greedy[2:]] * 8


def drawn_from(model: Table, **options: Any) -> int:
    """How many tokens of a tree's rows are decided before anything is drawn: seeds agree in them.

    Of 12; with copies of the root, which are drawn on, in the places that are left.
    """
    options = {"eos_ids": [], "max_new_tokens": 12, "group_size": 4, "distance": 0.0} | options
    groups = [grow(model, [(1,)] * 6, seed, **options) for seed in (1, 2)]
    one, two = ([b.tokens for group in groups for b in group] for groups in groups)
    columns = zip(zip(*one, strict=True), zip(*two, strict=True), strict=True)
    return next((at for at, (x, y) in enumerate(columns) if x != y), 12)


def test_a_tree_ends_when_it_is_full_and_its_branches_have_had_their_lookahead() -> None:
    full = random_model(1, size=6, spread=0.3)
    # Two rows after one token, four after two, of which two were born after the first.
    options: dict[str, Any] = {"min_probability": 0.0, "max_gap": 1.0}
    assert drawn_from(full, lookahead=(3,), **options) == 4
    assert drawn_from(full, lookahead=(2, 7), **options) == 8
    assert drawn_from(full, lookahead=(3,), until=2, **options) == 2


def test_a_tree_counts_as_full_sooner_the_longer_it_is() -> None:
    # One branch, at the first token: two rows of four.
    last = [0.0, 0.2, 0.3, 0.5]
    model = Table(torch.tensor([last, [0.0, 0.05, 0.5, 0.45], last, last]).log())
    options: dict[str, Any] = {"max_gap": 0.1, "lookahead": (2,)}
    (group,) = grow(model, group_size=4, distance=0.0, eos_ids=[], **options)
    assert [branch.birth for branch in group] == [0, 0, 8, 8]
    assert drawn_from(model, decay=0.05, **options) == 12
    # round(4 (0.98 - t / 12)) is 2 from t = 5 on, the sixth token.
    assert drawn_from(model, decay=1.0, **options) == 6


# --- samples and their bias -----------------------------------------------------------------------


def likelihoods(model: Table, longest: int) -> dict[tuple[int, ...], float]:
    """The probability of every answer to the prompt (1,) of a model of order 1."""
    p = model.logits.softmax(-1)
    told: dict[tuple[int, ...], float] = {}
    for answer in product(range(model.size), repeat=longest):
        cut = answer[: answer.index(END) + 1] if END in answer else answer
        chance, last = 1.0, 1
        for token in cut:
            chance, last = chance * float(p[last, token]), token
        told[cut] = chance
    assert sum(told.values()) == pytest.approx(1.0, abs=1e-5)
    return told


@pytest.fixture(scope="module")
def small() -> Table:
    generator = torch.Generator().manual_seed(3)
    return Table(torch.randn(3, 3, generator=generator), order=1)


def frequencies(model: Table, n: int, **options: Any) -> dict[tuple[int, ...], float]:
    groups = grow(model, [(1,)] * n, seed=7, max_new_tokens=3, **options)
    counts = Counter(tuple(branch.tokens) for group in groups for branch in group)
    return {answer: k / counts.total() for answer, k in counts.items()}


def test_with_a_share_of_zero_answers_have_the_models_probabilities(small: Table) -> None:
    truth = likelihoods(small, 3)
    found = frequencies(small, 2_500, share=0.0)
    for answer, p in truth.items():
        # Five standard deviations of 20,000 samples.
        assert abs(found.get(answer, 0.0) - p) < 5 * (p / 20_000) ** 0.5 + 1e-9


def test_the_temperature_is_that_of_the_samples(small: Table) -> None:
    hot = likelihoods(Table(small.logits / 2.0), 3)
    found = frequencies(small, 2_500, share=0.0, temperature=2.0)
    assert max(abs(found.get(answer, 0.0) - p) for answer, p in hot.items()) < 0.02


def test_with_a_share_of_zero_it_is_one_draw_per_row_and_token() -> None:
    """Exactly what a plain loop draws."""
    model, prompts = random_model(5), [(1, 2), (3,)]
    groups = grow(model, prompts, seed=11, share=0.0, group_size=2, eos_ids=[], max_new_tokens=4)
    generator = torch.Generator().manual_seed(11)
    rows = [[0, *prompt] for prompt in prompts for _ in range(2)]
    for _ in range(4):
        states = torch.tensor([row[-2] * model.size + row[-1] for row in rows])
        p = model.logits[states].softmax(-1)
        drawn = torch.multinomial(p, 1, generator=generator)[:, 0].tolist()
        for row, token in zip(rows, drawn, strict=True):
            row.append(token)
    assert [b.tokens for g in groups for b in g] == [row[-4:] for row in rows]


def test_what_a_tree_gives_are_no_samples_of_the_model(small: Table) -> None:
    """Neither the frequencies nor a mean under them are the model's: they are off by far."""
    truth = likelihoods(small, 3)
    found = frequencies(small, 100, share=1.0, lookahead=(3,))
    far = sum(abs(found.get(answer, 0.0) - p) for answer, p in truth.items()) / 2
    assert far > 0.3
    length = sum(p * len(answer) for answer, p in truth.items())
    biased = sum(p * len(answer) for answer, p in found.items())
    assert abs(biased - length) > 0.2
    # The tree draws nothing at all: every group is the same one.
    assert found == frequencies(small, 1, share=1.0, lookahead=(3,))


def test_a_share_is_in_between() -> None:
    model = random_model(2)
    tree = grow(model, share=1.0, group_size=4)[0]
    mixed = grow(model, share=0.5, group_size=8)[0]
    assert mixed[:4] == tree
    assert all(branch.parent is None for branch in mixed[4:])
    assert len({tuple(branch.tokens) for branch in mixed[4:]}) > 1


def test_ended_rows_are_not_computed_further() -> None:
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    model = Table(p.log())
    (group,) = grow(model, share=0.0, group_size=64, max_new_tokens=30)
    # The prompt once, then each row for each of its tokens but the last.
    assert model.rows == 1 + sum(len(branch.tokens) - 1 for branch in group)


def test_prompts_of_different_lengths_do_not_disturb_each_other() -> None:
    model = random_model(9)
    options = open_everywhere(group_size=4, share=1.0, max_new_tokens=5, lookahead=(5,))
    both = grow(model, [(1, 2, 3, 4), (2,)], **options)
    assert both == [grow(model, [prompt], **options)[0] for prompt in [(1, 2, 3, 4), (2,)]]


# --- a real model ---------------------------------------------------------------------------------


def test_a_transformers_model_gives_the_same_tree_with_its_cache_as_without() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=7,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(20.0)
    prompts = [(1, 2, 3, 4), (5,)]
    options = open_everywhere(group_size=6, max_new_tokens=5, lookahead=(5,))
    groups = grow(model, prompts, share=1.0, **options)
    for prompt, group in zip(prompts, groups, strict=True):
        assert len({tuple(b.tokens) for b in group}) > 1
        for branch in group:
            for at, token in enumerate(branch.tokens):
                with torch.no_grad():
                    ids = torch.tensor([[*prompt, *branch.tokens[:at]]])
                    best = model(input_ids=ids).logits[0, -1].topk(2).indices.tolist()
                # Its own first token is the second best, all behind it are the best.
                own = branch.parent is not None and at == branch.birth
                if at >= branch.birth:
                    assert token == best[int(own)]
    plain = grow(model, prompts, share=0.0, group_size=3, max_new_tokens=5)
    assert plain == grow(model, prompts, share=0.0, group_size=3, max_new_tokens=5)


# --- edit distance --------------------------------------------------------------------------------

words = st.lists(st.integers(0, 2), max_size=6)


@given(words, words, words)
def test_the_edit_distance_is_a_metric(a: list[int], b: list[int], c: list[int]) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


def test_edit_distances_that_are_known() -> None:
    assert edit_distance([1, 2, 3, 4], [2, 3, 4, 5]) == 2
    kitten, sitting = ([*map(ord, word)] for word in ("kitten", "sitting"))
    assert edit_distance(kitten, sitting) == 3


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"prompts": ()}, "no prompts"),
        ({"prompts": ((1,), ())}, "prompt 1 has no token"),
        ({"group_size": 0}, "group_size is 0"),
        ({"max_new_tokens": 0}, "max_new_tokens 0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"share": 1.5}, "share is 1.5"),
        ({"lookahead": (2, 9)}, "a lookahead of 9 tokens is longer than an answer of 8"),
        ({"lookahead": ()}, "one or more numbers of tokens"),
        ({"lookahead": (0,)}, "one or more numbers of tokens"),
        ({"candidates": 0}, "candidates is 0"),
        ({"until": 0}, "until is 0"),
        ({"min_probability": 1.1}, "min_probability is 1.1"),
        ({"max_gap": -0.1}, "max_gap is -0.1"),
        ({"distance": float("nan")}, "distance is nan"),
    ],
)
def test_bad_input_is_named(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"latr: .*{told}"):
        grow(random_model(0), **options)


def test_ordinary_sampling_needs_no_lookahead_that_fits() -> None:
    assert len(grow(random_model(0), share=0.0, lookahead=(50,))[0]) == 8


def test_one_candidate_warns_that_nothing_branches() -> None:
    with pytest.warns(UserWarning, match="candidates=1 no tree ever branches"):
        (group,) = grow(random_model(4), candidates=1, min_probability=0.0, max_gap=1.0)
    assert len({tuple(branch.tokens) for branch in group}) == 1


# --- the sampler ----------------------------------------------------------------------------------


def generate(sampler: Lookahead, prompts: list[list[int]], **options: Any) -> list[list[int]]:
    given: dict[str, Any] = {
        "group_size": 4,
        "max_new_tokens": 6,
        "eos_ids": [END],
        "pad_id": 0,
        "seed": 1,
    }
    return sampler.generate(random_model(6), prompts, temperature=1.0, **(given | options))


def test_the_sampler_gives_the_groups_in_the_order_of_the_prompts() -> None:
    sampler = Lookahead(lookahead=[2])
    prompts = [[1, 2]] * 4 + [[3]] * 4
    assert generate(sampler, prompts) == [
        branch.tokens
        for group in grow(random_model(6), [(1, 2), (3,)], 1, group_size=4, max_new_tokens=6)
        for branch in group
    ]
    assert sampler.generates
    assert not PromptSampler.generates
    with pytest.raises(ValueError, match="latr: rows 4 to 7 are not one prompt"):
        generate(sampler, [*prompts[:5], [4], *prompts[6:]])
    with pytest.raises(ValueError, match="latr: rows 4 to 7 are not one prompt"):
        generate(sampler, prompts[:6])


def test_shares_follow_the_batches() -> None:
    sampler = Lookahead(shares={0: 1.0, 2: 0.5, 3: 0.0}, lookahead=[2])
    assert sampler.share == 1.0
    shares = []
    for _ in range(5):
        sampler.begin()
        shares.append(sampler.share)
    assert shares == [1.0, 1.0, 0.5, 0.0, 0.0]
    assert generate(sampler, [[1]] * 4, seed=1) != generate(sampler, [[1]] * 4, seed=2)


@pytest.mark.parametrize("shares", [{}, {1: 1.0}, {0: 1.0, 5: 0.5, 3: 0.0}])
def test_shares_begin_with_batch_0(shares: dict[int, float]) -> None:
    with pytest.raises(ValueError, match=r"latr: shares are .* batch 0 comes first"):
        Lookahead(shares=shares)


def test_a_share_is_a_share() -> None:
    with pytest.raises(ValueError, match=r"latr: shares are .* must lie in \[0, 1\]"):
        Lookahead(shares={0: 2.0})


class Watched(Shuffled):
    """Tells what reached it."""

    def observe(self, rollouts: Rollouts, scores: Scores) -> dict[str, float]:
        return {"watched": float(len(rollouts))}

    def select(self, rollouts: Rollouts, scores: Scores) -> Tensor:
        return torch.tensor([True, False])


def test_prompts_and_what_trains_are_the_childs() -> None:
    child = Watched(seed=4)
    child.rounds, child.short, child.temperature = 3, "repeat", 0.7
    sampler, same = Lookahead(of=child), Shuffled(seed=4)
    pool = [{"prompt": str(i)} for i in range(10)]
    sampler.over(pool)
    same.over(pool)
    for _ in range(3):
        sampler.begin()
        same.begin()
        assert sampler.propose(4) == same.propose(4)
    assert (sampler.rounds, sampler.short, sampler.temperature) == (3, "repeat", 0.7)
    rollouts = Rollouts.from_text(["a", "a"], ["b", "c"])
    scores = Scores.outcome(torch.zeros(2))
    assert sampler.observe(rollouts, scores) == {"watched": 2.0}
    assert sampler.select(rollouts, scores).tolist() == [True, False]


def test_it_resumes_with_its_batches_and_its_child() -> None:
    pool = [{"prompt": str(i)} for i in range(10)]
    one, two = (Lookahead(shares={0: 1.0, 2: 0.25}, lookahead=[2]) for _ in range(2))
    for sampler in (one, two):
        sampler.over(pool)
    for _ in range(3):
        one.begin()
        one.propose(3)
    two.load_state_dict(one.state_dict())
    assert (two.share, two.batches) == (0.25, 3)
    for sampler in (one, two):
        sampler.begin()
    assert one.propose(5) == two.propose(5)


def test_it_is_written_and_read() -> None:
    text = "latr: {of: {shuffled: {seed: 3}}, shares: {0: 1, 5: 0.5}, lookahead: [3, 5], until: 9}"
    sampler = build(parse_document(text).data, parse_document(text))
    assert isinstance(sampler, Lookahead)
    assert sampler.shares == {0: 1.0, 5: 0.5}
    assert isinstance(sampler.of, Shuffled)
    assert sampler.of.seed == 3
    again = dump(sampler)
    assert again["latr"]["lookahead"] == [3, 5]
    assert [path for path, _ in sampler.walk()] == ["", "of"]
    assert repr(sampler).endswith("└─ of: shuffled(seed=3)")
    assert again["latr"]["of"] == {"shuffled": {"seed": 3}}

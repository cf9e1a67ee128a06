import math
import statistics
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.core.errors import MissingColumn
from rewardsmith.core.outcome import Status
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.credit import OutlierTruncation, length_limits

GROUPS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 400), st.booleans() | st.just(True)),
    min_size=1,
    max_size=40,
)


def limits(lengths, group=None, success=None, **options):
    n = len(lengths)
    group = [0] * n if group is None else group
    success = np.ones(n, dtype=np.bool_) if success is None else np.array(success)
    return length_limits(np.array(lengths, dtype=np.int64), group, success, **options).tolist()


def slowly(rows, deviations, margin):
    """The same, by the plain words of the paper."""
    made = []
    for group, length, _ in rows:
        of = [(other, right) for g, other, right in rows if g == group]
        lengths = [other for other, _ in of]
        std = statistics.stdev(lengths) if len(lengths) > 1 else 0.0
        limit = math.floor(statistics.mean(lengths) + deviations * std + 1e-9)
        least = margin if margin >= 1 else max(math.floor(length * margin), 16)
        made.append(limit if all(r for _, r in of) and length - limit >= least else length)
    return made


@given(rows=GROUPS, a=st.floats(0, 3), margin=st.sampled_from([1, 5, 32, 0.25, 0.9]))
@settings(max_examples=150)
def test_the_limits_are_those_of_the_paper(rows, a, margin):
    group, lengths, success = zip(*rows, strict=True)
    assert limits(lengths, group, success, deviations=a, margin=margin) == slowly(rows, a, margin)


@given(rows=GROUPS, a=st.floats(0, 3))
@settings(max_examples=60)
def test_nothing_grows_and_a_group_with_a_wrong_answer_is_left_alone(rows, a):
    group, lengths, success = map(np.array, zip(*rows, strict=True))
    cut = np.array(limits(lengths, group.tolist(), success, deviations=a, margin=1))
    assert (cut <= lengths).all()
    for i in set(group[~success].tolist()):
        assert (cut[group == i] == lengths[group == i]).all()


@given(lengths=st.lists(st.integers(0, 10**6), min_size=1, max_size=30), more=st.floats(0, 2))
@settings(max_examples=150)
def test_nothing_is_cut_where_no_row_can_lie_that_far_out(lengths, more):
    # Of G numbers none is more than (G - 1) / sqrt(G) deviations above the mean.
    a = (len(lengths) - 1) / math.sqrt(len(lengths)) + more
    assert limits(lengths, deviations=a, margin=1) == lengths


@pytest.mark.parametrize("size", [2, 4, 9, 10, 16, 25])
def test_one_that_lies_as_far_out_as_can_be_is_not_cut_by_rounding(size):
    # mean + a std is exactly the longest.
    lengths = [7] * (size - 1) + [100_007]
    assert limits(lengths, deviations=(size - 1) / math.sqrt(size), margin=1) == lengths


def test_with_three_deviations_groups_of_eleven_are_the_smallest_that_are_cut():
    assert limits([10] * 9 + [100_000], margin=1)[-1] == 100_000
    assert limits([10] * 10 + [100_000], margin=1)[-1] < 100_000


def test_infinitely_many_deviations_change_nothing():
    lengths = [10] * 30 + [100_000]
    assert limits(lengths, deviations=math.inf, margin=1) == lengths


def test_a_cut_has_to_be_worth_the_margin():
    lengths = [100] * 31 + [300]
    # T = floor(106.25 + 3 x 35.36) = 212
    assert limits(lengths, margin=88)[-1] == 212
    assert limits(lengths, margin=89)[-1] == 300
    assert limits(lengths, margin=0.29)[-1] == 212  # floor(87.0)
    assert limits(lengths, margin=0.3)[-1] == 300  # 90


def test_a_share_stands_for_sixteen_tokens_or_more():
    lengths = [10] * 31 + [38]
    # T = floor(10.875 + 3 x 4.95) = 25, 13 tokens less
    assert limits(lengths, margin=0.01)[-1] == 38
    assert limits(lengths, margin=13)[-1] == 25


def test_the_rows_of_a_group_may_lie_apart():
    lengths = [10, 50] * 31 + [2000, 5000]
    cut = limits(lengths, ["a", "b"] * 32)
    assert cut[:62] == lengths[:62]
    assert cut[62] == limits(lengths[::2])[-1] < 2000
    assert cut[63] == limits(lengths[1::2])[-1] < 5000


def test_no_rows_have_no_limits():
    assert limits([]) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deviations": -1.0}, "deviations is -1.0, it has to be 0 or more"),
        ({"deviations": math.nan}, "deviations is nan"),
        ({"margin": 0}, "margin is 0; a whole number of tokens"),
        ({"margin": -0.5}, "margin is -0.5"),
        ({"margin": 1.5}, "margin is 1.5"),
        ({"margin": math.nan}, "margin is nan"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=f"dot: {message}"):
        limits([1], **options)
    with pytest.raises(ValueError, match=f"dot: {message}"):
        OutlierTruncation(Says(), **options)


def test_lengths_that_disagree_or_are_negative_are_refused():
    with pytest.raises(ValueError, match="2 lengths, 2 successes and 1 ids of groups"):
        limits([1, 2], group=[0])
    with pytest.raises(ValueError, match="row 1 has a length of -2 tokens"):
        limits([1, -2])


class Says(Reward):
    """Scores with the column ``said``; a row without a number has no score."""

    method_name = "says"

    def forward(self, rollouts):
        said = rollouts["said"]
        status = torch.tensor(
            [int(Status.ABSTAINED if s is None else Status.SCORED) for s in said],
            dtype=torch.int8,
        )
        return Scores.outcome(torch.tensor([s or 0.0 for s in said]), status)


def spell(tokens):
    return "".join(chr(ord("a") + token % 26) for token in tokens)


def answers(lengths, /, group=None, said=None, **rows):
    """One token a step; token t of an answer is t + 1, and its text is that, spelled."""
    n, t = len(lengths), max(lengths)
    mask = torch.arange(t)[None, :] < torch.tensor(lengths)[:, None]
    token = torch.where(mask, torch.arange(1, t + 1), 0)
    return Rollouts(
        {
            "completion": [spell(range(1, length + 1)) for length in lengths],
            "said": [1.0] * n if said is None else said,
            **rows,
        },
        {"token": token, "logprob": -token.to(torch.float32), "info": {"pair": token[..., None]}},
        mask=mask,
        group=[0] * n if group is None else group,
        spans={"turn": torch.where(mask, 0, -1)},
    )


def dot(**options):
    return OutlierTruncation(Says(), **options).reads(spell)


LONG = [4] * 15 + [40]
# T = floor(6.25 + 3 x 9) = 33
LIMIT = 33


def test_the_end_of_the_longest_leaves_masks_columns_spans_and_text():
    before = answers(LONG)
    after = dot(margin=5)(before)
    assert after.mask.sum(dim=1).tolist() == [4] * 15 + [LIMIT]
    assert torch.equal(after.mask, after.action_mask)
    assert after.n_steps == before.n_steps == 40
    kept = after.mask
    assert torch.equal(after["token"], torch.where(kept, before["token"], 0))
    assert torch.equal(after["logprob"], torch.where(kept, before["logprob"], 0.0))
    pair = before["info"]["pair"]
    assert torch.equal(after["info"]["pair"], torch.where(kept[..., None], pair, 0))
    assert torch.equal(after.spans["turn"], torch.where(kept, 0, -1))
    assert after["completion"] == [*before["completion"][:15], before["completion"][15][:LIMIT]]
    assert after.grouped
    assert torch.equal(after.group, before.group)
    assert before.mask.sum(dim=1).tolist() == LONG
    assert len(before["completion"][15]) == 40


def test_ids_and_lengths_follow():
    ids = [list(range(1, n + 1)) for n in LONG]
    rows = {"completion_ids": ids, "lengths": torch.tensor(LONG), "answer": list(range(16))}
    after = dot(margin=5)(answers(LONG, **rows))
    assert after["completion_ids"] == [*ids[:15], list(range(1, LIMIT + 1))]
    assert after["lengths"].tolist() == [4] * 15 + [LIMIT]
    assert after["answer"] == list(range(16))
    assert rows["lengths"].tolist() == LONG
    listed = dot(margin=5)(answers(LONG, lengths=LONG))
    assert listed["lengths"] == [4] * 15 + [LIMIT]


def test_ids_as_a_tensor_follow_as_well():
    ids = torch.arange(40).repeat(16, 1)
    after = dot(margin=5)(answers(LONG, completion_ids=ids))
    assert after["completion_ids"][15].tolist() == list(range(LIMIT))
    assert after["completion_ids"][0].tolist() == list(range(40))


def test_an_answer_that_needed_its_end_is_wrong_when_scored_again():
    class EndsWell(Reward):
        def forward(self, rollouts):
            right = [
                text.endswith(spell([n]))
                for text, n in zip(rollouts["completion"], rollouts["whole"], strict=True)
            ]
            return Scores.outcome(torch.tensor(right, dtype=torch.float32))

    verifier = EndsWell()
    rollouts = answers(LONG, whole=LONG)
    assert verifier(rollouts).values.tolist() == [1.0] * 16
    relabel = OutlierTruncation(verifier, margin=5).reads(spell)
    assert verifier(relabel(rollouts)).values.tolist() == [1.0] * 15 + [0.0]


@given(
    lengths=st.lists(st.integers(1, 30), min_size=2, max_size=30),
    said=st.lists(st.sampled_from([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, None]), min_size=30, max_size=30),
    a=st.floats(0, 2),
)
@settings(max_examples=60)
def test_lengths_after_are_the_limits_and_texts_fit_them(lengths, said, a):
    said = said[: len(lengths)]
    group = [i % 2 for i in range(len(lengths))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        after = dot(deviations=a, margin=1)(answers(lengths, group, said))
    success = [s == 1.0 for s in said]
    wanted = limits(lengths, group, success, deviations=a, margin=1)
    assert after.action_mask.sum(dim=1).tolist() == wanted
    assert [len(text) for text in after["completion"]] == wanted


def test_steps_that_the_policy_did_not_choose_have_no_length_and_go_with_the_cut():
    before = answers(LONG)
    before.action_mask = before.mask.clone()
    before.action_mask[15, 10:16] = False  # a tool's answer
    before.action_mask[15, 35] = False
    after = dot(margin=3)(before)
    # 33 chosen: T = floor(5.8125 + 3 x 7.25) = 27, the last of which is step 32.
    assert after.action_mask[15].sum() == 27
    assert after.mask[15].nonzero().max() == 32
    assert after.mask[15].sum() == 33
    # What a tool says right behind the last token goes too.
    before.action_mask[15, 35] = True
    before.action_mask[15, 33] = False
    assert dot(margin=3)(before).mask[15].sum() == 33


@pytest.mark.parametrize("said", [0.0, None])
def test_a_group_with_one_that_is_wrong_or_unscored_comes_back_as_it_is(said):
    rollouts = answers(LONG, said=[said, *[1.0] * 15])
    assert dot(margin=5)(rollouts) is rollouts


def test_a_success_may_be_off_by_what_float32_rounds():
    rollouts = answers(LONG, said=[1.0 - 5e-7, *[1.0] * 15])
    assert dot(margin=5)(rollouts) is not rollouts


@pytest.mark.parametrize("said", [0.5, 2.0, -1.0, 0.99])
def test_a_success_that_is_neither_0_nor_1_is_refused(said):
    with pytest.raises(ValueError, match=rf"says scores row 3 with {said:g}; `success` has to"):
        dot()(answers(LONG, said=[1.0, 1.0, 0.0, said, *[1.0] * 12]))


def test_one_message_is_made_anew_and_several_are_refused():
    chat = [[{"role": "assistant", "content": spell(range(1, n + 1))}] for n in LONG]
    after = dot(margin=5)(answers(LONG, completion=chat))
    cut = {"role": "assistant", "content": spell(range(1, LIMIT + 1))}
    assert after["completion"] == [*chat[:15], [cut]]
    with pytest.raises(ValueError, match="completion of row 15 is neither a text nor one message"):
        dot(margin=5)(answers(LONG, completion=[chat_of * 2 for chat_of in chat]))


def test_without_a_text_no_tokens_have_to_be_read():
    rollouts = answers(LONG)
    del rollouts.rows["completion"], rollouts.steps["token"]
    after = OutlierTruncation(Says(), margin=5)(rollouts)
    assert after.mask.sum(dim=1).tolist() == [4] * 15 + [LIMIT]


def test_texts_without_tokens_are_refused():
    texts = Rollouts.from_text(["p"] * 12, ["c"] * 12, group=[0] * 12, said=[1.0] * 12)
    with pytest.raises(ValueError, match="these rollouts are texts of one step each"):
        dot()(texts)


def test_answers_of_one_token_are_no_texts():
    rollouts = answers([1] * 12)
    assert dot()(rollouts) is rollouts


def test_a_text_and_no_way_to_read_tokens_is_refused():
    with pytest.raises(ValueError, match=r"does not know how: call reads\(decode\)"):
        OutlierTruncation(Says())(answers(LONG))


def test_a_text_without_its_tokens_is_refused():
    rollouts = answers(LONG)
    del rollouts.steps["token"]
    with pytest.raises(MissingColumn, match="token"):
        dot()(rollouts)


def test_rollouts_without_groups_are_refused():
    rollouts = answers(LONG)
    rollouts.grouped = False
    with pytest.raises(ValueError, match="these 16 rollouts have none; give them `group`"):
        dot()(rollouts)


def test_groups_too_small_for_any_cut_are_warned_of_once():
    node = dot()
    small = answers([4] * 19 + [900], [0] * 10 + [1] * 10)
    with pytest.warns(
        UserWarning, match=r"at most 10 rollouts.*2\.85.*groups of 11 or more"
    ) as told:
        assert node(small) is small
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        node(small)
        dot(margin=5)(answers(LONG))
        dot(deviations=math.inf)(small)


@given(a=st.floats(0, 30))
@settings(max_examples=40)
def test_the_warning_names_the_smallest_group_that_can_be_cut(a):
    with pytest.warns(UserWarning, match="nothing can ever be cut") as told:
        dot(deviations=a)(answers([1]))
    enough = int(str(told[0].message).split("groups of ")[1].split(" ")[0])
    assert (enough - 1) / math.sqrt(enough) > a
    assert (enough - 2) / math.sqrt(enough - 1) <= a * (1 + 1e-9)


def test_it_is_written_with_its_success():
    assert repr(OutlierTruncation(Says(), deviations=2.0)).startswith("dot(deviations=2.0)\n")

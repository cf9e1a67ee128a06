"""Completions of held-out problems: what is noted of them, and that training never notices."""

import copy
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.studies.language.models import prompt_ids
from rewardsmith.studies.language.sampling import Answers, sample
from rewardsmith.testbeds.rlvr import tiny_model, tokenizer

PROBLEMS = [{"prompt": p, "answer": "1"} for p in ("12=", "3=", "45+6=")]


@pytest.fixture(scope="module")
def learner():
    return tiny_model(0, hidden=16, layers=1, heads=2), tokenizer()


def sampled(learner, **changes):
    settings = {"samples": 4, "longest": 5, "temperature": 1.0, "batch_size": 5, "seed": 3}
    return sample(*learner, PROBLEMS, **{**settings, **changes})


def test_every_problem_is_answered_by_neighbors(learner):
    answers = sampled(learner)
    assert answers.problem == [0] * 4 + [1] * 4 + [2] * 4
    assert all(1 <= len(ids) <= 5 for ids in answers.token)
    end = learner[1].eos_token_id
    for ids, ended in zip(answers.token, answers.ended, strict=True):
        assert end not in ids[:-1]
        assert (ids[-1] == end) is ended


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_likelihoods_are_those_of_the_model(learner, temperature):
    model, words = learner
    answers = sampled(learner, temperature=temperature)
    for i in (0, 5, 11):
        asked = prompt_ids(words, [PROBLEMS[answers.problem[i]]["prompt"]])[0]
        said = answers.token[i]
        with torch.no_grad():
            logits = model.eval()(torch.tensor([asked + said])).logits[0]
        logs = (logits[len(asked) - 1 : -1] / temperature).log_softmax(-1)
        picked = logs[range(len(said)), said]
        assert answers.logprob[i] == pytest.approx(picked.tolist(), abs=1e-4)
        entropy = -(logs.exp() * logs).sum(-1)
        assert answers.entropy[i] == pytest.approx(entropy.tolist(), abs=1e-4)


def test_a_seed_decides_and_training_is_left_alone(learner):
    model, _ = learner
    model.train()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    first = sampled(learner)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert model.training
    assert sampled(learner) == first
    assert sampled(learner, seed=4) != first


def test_rollouts_are_what_the_trainer_shows(learner):
    answers = sampled(learner)
    rollouts = answers.rollouts(PROBLEMS, 2)
    assert rollouts["prompt"][4] == "3="
    assert rollouts["completion_ids"] == answers.token
    assert rollouts.mask.sum(1).tolist() == [len(ids) for ids in answers.token]
    assert rollouts["token"][0][rollouts.mask[0]].tolist() == answers.token[0]
    assert rollouts.group.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_what_a_checkpoint_asks_of_generation_is_left_out(learner):
    model, words = learner
    plain = sampled(learner)
    asking = copy.deepcopy(model)
    asking.generation_config.update(
        do_sample=True, repetition_penalty=1.8, top_k=2, min_p=0.2, no_repeat_ngram_size=1,
        min_new_tokens=4, typical_p=0.3, epsilon_cutoff=0.02, temperature=3.0,
    )  # fmt: skip
    assert sampled((asking, words)) == plain
    assert asking.generation_config.repetition_penalty == 1.8


@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(1, 6))
def test_batches_hold_whole_groups_of_as_many_problems_as_there_are(problems, each, size, groups):
    answers = Answers(problem=[i for i in range(problems) for _ in range(each * size)])
    batches = answers.batches(size, groups * size)
    rows = problems * each * size
    assert {row for batch in batches for row in batch} == set(range(rows))
    ids = answers.groups(size)
    for batch in batches:
        assert len(batch) == len(set(batch)) == min(groups * size, rows)
        assert all(
            [ids[row] for row in batch].count(found) == size for found in {ids[r] for r in batch}
        )
        assert len({answers.problem[row] for row in batch}) == min(problems, len(batch) // size)


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 5))
def test_groups_hold_one_problem_and_no_more_than_asked(problems, size):
    groups = Answers(problem=sorted(problems)).groups(size)
    for group in set(groups):
        members = [i for i, other in enumerate(groups) if other == group]
        assert len(members) <= size
        assert len({sorted(problems)[i] for i in members}) == 1
        assert members == list(range(members[0], members[-1] + 1))


def test_what_is_saved_is_read_back(learner, tmp_path):
    answers = sampled(learner)
    answers.save(tmp_path / "a.json.gz")
    assert Answers.load(tmp_path / "a.json.gz") == answers


def test_messages_go_through_the_template():
    calls = []

    def template(**given):
        calls.append(given)
        return {"input_ids": [[1, 2]]}

    words = SimpleNamespace(apply_chat_template=template)
    messages = [{"role": "user", "content": "1="}]
    assert prompt_ids(words, [messages]) == [[1, 2]]
    assert calls[0]["add_generation_prompt"] is True
    assert calls[0]["conversation"] == [messages]

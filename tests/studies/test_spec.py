import pickle

import pytest
import torch

from rewardsmith.core.errors import SpecError
from rewardsmith.studies.control.environments import make_env, make_learner, make_reward_env
from rewardsmith.studies.spec import read_study
from rewardsmith.studies.study import check


def refused(study, match, act=check):
    with pytest.raises(SpecError, match=match) as caught:
        act(study)
    return caught.value


def test_reads_and_pickles(study):
    read = pickle.loads(pickle.dumps(study()))
    assert read.reference == "sparse"
    assert str(read.reward("count")).startswith("weighted_sum")


@pytest.mark.parametrize(
    ("change", "line", "match"),
    [
        (("seeds: 2", "seed: 2"), 4, "unknown key 'seed'; did you mean 'seeds'"),
        (("every:", "evry:"), 5, "evry"),
        (("timesteps: 256", "timesteps: many"), 3, "valid integer"),
        (("kind: return", "kind: retrun"), 6, "'return', 'info'"),
        (("kind: return", "kind: info"), 6, "needs `key`"),
        (("sparse: {env_reward", "sparse: {env_rewrd"), 8, "did you mean 'env_reward'"),
        (("beta: 0.1", "bta: 0.1"), 11, "did you mean 'beta'"),
        (("beta: 0.1", "beta: -1"), 11, "beta is -1"),
        (("toy.py:cell", "toy.py:cel"), 11, "has no 'cel'"),
        (("seeds: 2", "seeds: 2\nreference: spars"), 5, "did you mean 'sparse'"),
        (("sparse:", "'a/b':"), 8, "letters, digits"),
    ],
)
def test_points_at_the_line(write, change, line, match):
    with pytest.raises(SpecError, match=match) as caught:
        read_study(write(change))
    assert caught.value.line == line
    assert caught.value.file.endswith("toy.yaml")


def test_unknown_environment(study):
    error = refused(study(("CartPole-v1", "CartPol-v1")), "no environment 'CartPol-v1'")
    assert "CartPole-v1" in str(error)
    assert error.line == 2


def test_unknown_algorithm(study):
    refused(study(("algorithm: PPO", "algorithm: PPPO")), "did you mean 'PPO'")


def test_algorithm_refuses_its_arguments(study):
    refused(study(("n_steps: 64", "n_stps: 64")), "n_stps")


def test_params_may_name_classes(study):
    named = "n_steps: 64, policy_kwargs: {activation_fn: torch.nn:ReLU}"
    read = study(("n_steps: 64", named))
    assert read.params()["policy_kwargs"]["activation_fn"] is torch.nn.ReLU
    assert read.fingerprint("sparse") != study().fingerprint("sparse")
    check(read)
    refused(study(("n_steps: 64", named.replace("ReLU", "RELU"))), "did you mean 'ReLU'")
    refused(study(("n_steps: 64", named.replace("torch.nn", "torhc.nn"))), "policy_kwargs")


def test_wrapper_missing(study):
    refused(study(("toy.py:Nothing", "toy.py:Nothin")), "has no 'Nothin'")


def test_reward_that_does_not_act(study):
    dense = "sparse: {env_reward: {}}"
    outcome = "sparse: {function: {call: ./toy.py:cell}}"
    refused(study((dense, outcome)), "cannot be computed while acting")


def test_potential_of_another_gamma(study):
    shaped = (
        "sparse: {potential_shaping: {of: {env_reward: {}}, "
        "potential: ./toy.py:position, gamma: 0.5}}"
    )
    refused(study(("sparse: {env_reward: {}}", shaped)), "gamma 0.5, the learner 0.99")


def test_gamma_comes_from_the_learner(study):
    shaped = "sparse: {potential_shaping: {of: {env_reward: {}}, potential: ./toy.py:position}}"
    read = study(("sparse: {env_reward: {}}", shaped), ("n_steps: 64", "n_steps: 64, gamma: 0.9"))
    reward = read.reward("sparse")
    make_learner(read, make_reward_env(read, reward, 1, 0, training=True), 0)
    assert reward.discount == 0.9


def test_wrapper_arguments(study):
    limited = "{gymnasium.wrappers:TimeLimit: {max_episode_steps: 3}}"
    env = make_env(study(("./toy.py:Nothing", limited)))
    env.reset()
    assert [env.step(0)[3] for _ in range(3)] == [False, False, True]


def test_fingerprint_follows_what_a_run_depends_on(study, write):
    first = study()
    assert study(("threshold: 15", "threshold: 20")).fingerprint("count") == first.fingerprint(
        "count"
    )
    changed = study(("beta: 0.1", "beta: 0.2"))
    assert changed.fingerprint("count") != first.fingerprint("count")
    assert changed.fingerprint("sparse") == first.fingerprint("sparse")
    path = write()
    before = read_study(path).fingerprint("count")
    source = path.parent / "toy.py"
    source.write_text(source.read_text() + "\n# another body\n")
    assert read_study(path).fingerprint("count") != before


def test_numbers_that_yaml_reads_as_text(study):
    for text, meant in (("1e-2", "0.01"), ("5E3", "5000.0")):
        changed = ("n_steps: 64", f"n_steps: 64, ent_coef: {text}")
        refused(study(changed), f"YAML reads {text} as text; write {meant}")


def test_gold_is_a_plain_function(study, tmp_path):
    toy = tmp_path / "toy.py"
    read = study(("kind: return", "kind: function, call: ./toy.py:judged"))
    toy.write_text(
        toy.read_text() + "\n\n@rs.reward(step=True)\ndef judged(*obs):\n    return obs\n"
    )
    refused(read, "toy.yaml:6: gold/call")


def test_a_study_is_called_after_its_file_or_its_folder(write, tmp_path):
    assert read_study(write()).name == "toy"
    assert read_study(write(name="study.yaml")).name == tmp_path.name

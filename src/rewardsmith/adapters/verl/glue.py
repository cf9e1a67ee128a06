"""What ``rewardsmith export verl`` writes: a run of verl's trainer with the reward."""

import shlex

from ..versions import TESTED

_RUN = """\
#!/usr/bin/env bash
# Train a model with verl (GRPO on one node) on the reward of {title}.
set -euo pipefail
here=$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)

# Yours to decide:
model=Qwen/Qwen2.5-0.5B-Instruct  # a name of the Hugging Face hub, or a folder
train=$here/train.parquet         # rewardsmith.adapters.verl.write_parquet writes such files
test=$here/test.parquet
gpus=1
missing=raise                     # a sample without a score: raise, or a number that it gets

# Absolute, for Ray's workers need not be where you are.
reward=$here/{reward}

# A value as verl's configuration takes it, whatever is in it.
quoted() {{
  local quote="'" escaped="\\\\'"
  printf "'%s'" "${{1//$quote/$escaped}}"
}}

overrides=(
  reward.reward_manager.source=importlib
  reward.reward_manager.name=RewardManager
  reward.reward_manager.module.path=pkg://rewardsmith.adapters.verl
  "+reward.custom_reward_function.reward_kwargs.reward=$(quoted "$reward")"
  "+reward.custom_reward_function.reward_kwargs.missing=$missing"
  +reward.custom_reward_function.reward_kwargs.workers=4     # processes that score, for each of:
  reward.num_workers=1                                       # equal samples of one are scored once
  algorithm.adv_estimator=grpo
  algorithm.use_kl_in_reward=False
  "data.train_files=$(quoted "$train")"
  "data.val_files=$(quoted "$test")"
  data.train_batch_size=64
  data.max_prompt_length=512
  data.max_response_length=1024
  "actor_rollout_ref.model.path=$(quoted "$model")"
  actor_rollout_ref.actor.optim.lr=1e-6
  actor_rollout_ref.actor.ppo_mini_batch_size=64
  actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=8
  actor_rollout_ref.actor.use_kl_loss=True
  actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=8
  actor_rollout_ref.rollout.name=vllm
  actor_rollout_ref.rollout.n=8                              # responses to each prompt
  actor_rollout_ref.rollout.tensor_model_parallel_size=1
  actor_rollout_ref.rollout.gpu_memory_utilization=0.5
  actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=8
  trainer.n_gpus_per_node=$gpus
  trainer.nnodes=1
  "trainer.logger=[console]"
  trainer.test_freq=10
  trainer.save_freq=50
  trainer.total_epochs=1
)
python -m verl.trainer.main_ppo "${{overrides[@]}}" "$@"
"""
_README = """\
A run of verl's trainer whose reward is `{reward}`; `run.sh` begins with what is yours to decide.
Install: `pip install 'verl[vllm]=={version}' 'rewardsmith[language]'`.
Run: `bash run.sh`, beside `train.parquet` and `test.parquet` (`rewardsmith.adapters.verl.\
write_parquet` writes such), with further overrides of verl's configuration as arguments.
"""


def glue(reward: str) -> dict[str, str]:
    """The files of ``rewardsmith export verl``: name -> text.

    Args:
        reward: the path of the ``reward.yaml``, from the folder that the files are written to.
    """
    return {
        "run.sh": _RUN.format(reward=shlex.quote(reward), title=reward.rpartition("/")[2]),
        "README.md": _README.format(reward=reward, version=TESTED["verl"][1]),
    }

"""Studies of rewards for language models, with TRL's GRPO."""

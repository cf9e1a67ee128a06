"""Studies of rewards in Gymnasium environments, with a learner of Stable-Baselines3."""

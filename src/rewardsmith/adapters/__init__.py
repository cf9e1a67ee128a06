"""Where rewards meet trainers: Gymnasium environments and Stable-Baselines3."""

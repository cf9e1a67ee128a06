"""Where rewards meet what others wrote: environments, learners, bonuses, data files, trackers."""

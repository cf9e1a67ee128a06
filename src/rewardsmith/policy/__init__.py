"""From scores to gradients: advantages, policy losses, KL, and weights that move.

Pure functions on tensors; :mod:`rewardsmith.policy.advantages` and
:mod:`rewardsmith.policy.losses` hold them, :mod:`rewardsmith.policy.estimator` makes an
``Estimator`` of an advantage function.
"""

"""Importing this registers our estimators and losses with verl, each under ``rewardsmith_NAME``.

verl imports it in every process that sees ``VERL_USE_EXTERNAL_MODULES=rewardsmith.adapters.verl.\
register``.
"""

from dataclasses import dataclass, field
from typing import Any

from verl.trainer.ppo import core_algos
from verl.workers.config import PolicyLossConfig

from ..versions import note_version
from .estimators import DOORS, PREFIX, Door, estimators
from .losses import losses


@dataclass
class LossOptions(PolicyLossConfig):  # type: ignore[misc]  # verl has no types
    """verl's ``policy_loss`` with a place for the options of our losses.

    verl makes it where its configuration says
    ``actor.policy_loss._target_=rewardsmith.adapters.verl.register.LossOptions``.
    """

    rewardsmith: dict[str, Any] = field(default_factory=dict)


def register() -> list[str]:
    """Register them, as importing this module does; a second time changes nothing.

    Under the names of verl's own to which it hands more than to others (``gdpo``, ``remax``, the
    two optimal token baselines) stands what decides: with ``algorithm.rewardsmith.estimator`` one
    of ours, without it verl's own.

    Returns:
        The names.
    """
    note_version("verl")
    made = estimators()
    for estimator in made:
        core_algos.register_adv_est(PREFIX + estimator.name)(estimator)
    for name in DOORS:
        own = core_algos.ADV_ESTIMATOR_REGISTRY[name]
        if not isinstance(own, Door):
            core_algos.ADV_ESTIMATOR_REGISTRY[name] = Door(own)
    policy = losses()
    for loss in policy:
        core_algos.register_policy_loss(PREFIX + loss.name)(loss)
    return [PREFIX + name for name in (*(e.name for e in made), *(one.name for one in policy))]


register()

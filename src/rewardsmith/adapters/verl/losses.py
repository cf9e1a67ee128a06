"""Our policy losses as verl's."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...core.catalog import find, methods
from ...policy.losses.aggregation import Aggregation
from ...policy.losses.tokens import PolicyLoss
from .estimators import PREFIX, check, inputs_of, plain

_PLACE = "actor_rollout_ref.actor.policy_loss.rewardsmith"
_INPUTS = ("logprob", "old_logprob", "advantage", "mask")
_NO_OPTIONS = ("weight", "draws")


@dataclass(frozen=True)
class VerlLoss:
    """A policy loss of ours, called as verl calls its own.

    Options come from ``actor.policy_loss.rewardsmith`` (see :class:`~.register.LossOptions`), and
    where that says nothing from the actor's settings of the same meaning.

    Args:
        name: the method's name in our catalog.
    """

    name: str

    @cached_property
    def function(self) -> Callable[..., PolicyLoss]:
        """The loss."""
        return find(self.name)  # type: ignore[no-any-return]

    def __call__(
        self,
        old_log_prob: Tensor,
        log_prob: Tensor,
        advantages: Tensor,
        response_mask: Tensor,
        loss_agg_mode: str = "token-mean",
        config: Any = None,
        rollout_is_weights: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of a micro-batch, and what to watch, under verl's names.

        Args:
            old_log_prob: [B, T].
            log_prob: [B, T].
            advantages: [B, T].
            response_mask: [B, T].
            loss_agg_mode: verl's.
            config: the actor's; ``global_batch_info`` says what the micro-batch is a part of.
            rollout_is_weights: [B, T] a factor for each token's loss.

        Raises:
            ValueError: an option that the loss does not have, weights for one that takes none, no
                denominators for a data-parallel run; what the loss raises.
        """
        options = self._options(config, rollout_is_weights)
        mode = options.pop("aggregation", loss_agg_mode)
        info = dict(getattr(config, "global_batch_info", None) or {})
        how, factor = aggregation(mode, info, response_mask.shape[1])
        given = {
            "logprob": log_prob,
            "old_logprob": old_log_prob,
            "advantage": advantages,
            "mask": response_mask.bool(),
        }
        inputs = {name: given[name] for name in inputs_of(self.function) if name in given}
        made = self.function(**inputs, aggregation=how, **options)
        return made.loss * factor, told(made.metrics)

    @property
    def _known(self) -> list[str]:
        parameters = inspect.signature(self.function).parameters.values()
        return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]

    def _options(self, config: Any, weight: Tensor | None) -> dict[str, Any]:
        known, who = self._known, f"{PREFIX}{self.name}"
        policy = getattr(config, "policy_loss", None)
        mine = plain(getattr(policy, "rewardsmith", None))
        check(who, _PLACE, mine, [option for option in known if option not in _NO_OPTIONS])
        read = {**_SETTINGS, **_OWN_SETTINGS.get(self.name, {})}
        derived = {
            option: value
            for option, get in read.items()
            if option in known and config is not None and (value := get(config)) is not None
        }
        if weight is not None and "weight" not in known:
            raise ValueError(
                f"{who} takes no weights of rollout correction: leave "
                "algorithm.rollout_correction.rollout_is out"
            )
        return derived | mine | ({} if weight is None else {"weight": weight})


def _clip(actor: Any) -> tuple[float, float]:
    low, high = actor.clip_ratio_low, actor.clip_ratio_high
    whole = actor.clip_ratio
    return (whole if low is None else low, whole if high is None else high)


_SETTINGS: dict[str, Callable[[Any], Any]] = {
    "clip": _clip,
    "tau_positive": lambda actor: actor.get("tau_pos", None),
    "tau_negative": lambda actor: actor.get("tau_neg", None),
}
"""An option of ours -> the actor's setting of the same meaning."""

_DUAL: dict[str, Callable[[Any], Any]] = {
    "dual_clip": lambda actor: actor.get("clip_ratio_c", None),
}
_OWN_SETTINGS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "ppo": _DUAL,
    "dapo": _DUAL,
    "cispo": {
        "lower": lambda actor: 1.0 - _clip(actor)[0],
        "upper": lambda actor: 1.0 + _clip(actor)[1],
    },
    "dppo": {"bound": _clip, "truncate": lambda actor: actor.get("clip_ratio_c", None)},
    "dro": {"beta": lambda actor: actor.policy_loss.dro_beta},
    "clip_cov": {
        "share": lambda actor: actor.policy_loss.clip_cov_ratio,
        "band": lambda actor: (actor.policy_loss.clip_cov_lb, actor.policy_loss.clip_cov_ub),
    },
    "kl_cov": {
        "share": lambda actor: actor.policy_loss.kl_cov_ratio,
        "coefficient": lambda actor: actor.policy_loss.ppo_kl_coef,
    },
}
"""The same, of one loss alone."""


def aggregation(mode: str, info: Mapping[str, Any], width: int) -> tuple[Aggregation, float]:
    """A mean of a loss as verl takes it, and a factor to multiply the result with.

    verl averages gradients over ``dp_size`` processes and divides by the numbers of the whole
    batch, so each process's share is ``dp_size`` times as large.

    Args:
        mode: verl's ``loss_agg_mode``, or one of ours that it does not have.
        info: the actor's ``global_batch_info``.
        width: tokens per row, the length where verl says none.

    Raises:
        ValueError: several processes, and not what the whole batch counts.
    """
    processes = float(info.get("dp_size") or 1)
    if mode in ("token-sum", "seq-sum-token-mean"):
        return Aggregation(mode), processes  # type: ignore[arg-type]  # any text is checked there
    name = "batch_num_tokens" if mode == "token-mean" else "global_batch_size"
    whole = info.get(name)
    if whole is None and processes > 1:
        raise ValueError(
            f"loss_agg_mode={mode} on {processes:.0f} processes needs global_batch_info[{name!r}]"
        )
    count = None if whole is None else float(whole) / processes
    if mode == "token-mean":
        return Aggregation("token-mean", tokens=count), 1.0
    length = None
    if mode == "seq-mean-token-sum-norm":
        length = float(info.get("loss_scale_factor") or width)
    return Aggregation(mode, sequences=count, length=length), 1.0  # type: ignore[arg-type]


def told(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """Metrics as verl logs them: ``ppo_kl`` and ``pg_clipfrac``, and ours under their own names."""
    if not metrics:
        return {}
    # One trip to the host for all of them.
    numbers = torch.stack([number.detach().double() for number in metrics.values()]).tolist()
    named = dict(zip(metrics, numbers, strict=True))
    out = {f"actor/{name}": value for name, value in named.items() if name != "old_kl"}
    if "old_kl" in named:
        out["actor/ppo_kl"] = named["old_kl"]
    if "clipped_high" in named or "clipped_low" in named:
        out["actor/pg_clipfrac"] = named.get("clipped_high", 0.0) + named.get("clipped_low", 0.0)
    return out


def losses() -> list[VerlLoss]:
    """All of ours that need what verl gives a policy loss and nothing else."""
    found = [VerlLoss(e.name) for e in methods() if e.kind == "loss" and _is_policy(e.module)]
    return [one for one in found if set(inputs_of(one.function, needed=True)) <= set(_INPUTS)]


def _is_policy(module: str) -> bool:
    return ".policy.losses." in module

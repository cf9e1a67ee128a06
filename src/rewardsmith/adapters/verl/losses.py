"""Our policy losses as verl's."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...core.catalog import find, methods
from ...core.warn import warn_caller
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
    where that says nothing from the actor's settings of the same meaning. Of those, methods that
    verl does not have read none: what its defaults are would not be the method.

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
            ValueError: an option that the loss does not have, or one that it needs and nothing
                says; weights for one that takes none; no denominators for a data-parallel run;
                what the loss raises.
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
        return made.loss * factor, told(self.name, made.metrics)

    def _options(self, config: Any, weight: Tensor | None) -> dict[str, Any]:
        who, parameters = f"{PREFIX}{self.name}", inspect.signature(self.function).parameters
        known = {p.name: p.default for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
        policy = getattr(config, "policy_loss", None)
        mine = plain(getattr(policy, "rewardsmith", None))
        check(who, _PLACE, mine, [option for option in known if option not in _NO_OPTIONS])
        read = {} if config is None else _SETTINGS.get(self.name, {})
        derived = {
            option: value for option, get in read.items() if (value := get(config)) is not None
        }
        options = derived | mine
        if config is not None and "clip" in known.keys() - options and _clip(config) != _VERLS_CLIP:
            warn_caller(
                f"{who} has a clip of its own, {known['clip']}, and does not read "
                f"actor.clip_ratio_low and clip_ratio_high, which are {_clip(config)}; set "
                f"+{_PLACE}.clip=[...]"
            )
        for option, default in known.items():
            if default is inspect.Parameter.empty and option not in options:
                raise ValueError(
                    f"{who} needs {option}: {_ADVICE.get(option, f'+{_PLACE}.{option}=...')}"
                )
        if weight is not None and "weight" not in known:
            raise ValueError(
                f"{who} takes no weights of rollout correction: leave "
                "algorithm.rollout_correction.rollout_is out"
            )
        return options | ({} if weight is None else {"weight": weight})


_VERLS_CLIP = (0.2, 0.2)
"""What stands there if nobody said anything."""


def _clip(actor: Any) -> tuple[float, float]:
    low, high = actor.clip_ratio_low, actor.clip_ratio_high
    whole = actor.clip_ratio
    return (whole if low is None else low, whole if high is None else high)


def _band(actor: Any) -> tuple[float, float]:
    # Where they are None, verl has these.
    low, high = actor.policy_loss.clip_cov_lb, actor.policy_loss.clip_cov_ub
    return (1.0 if low is None else low, 5.0 if high is None else high)


def _dual(actor: Any) -> Any:
    return actor.get("clip_ratio_c", None)


_SETTINGS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "ppo": {"clip": _clip, "dual_clip": _dual},
    "gspo": {"clip": _clip},
    "gmpo": {"clip": _clip},
    "cispo": {
        "lower": lambda actor: 1.0 - _clip(actor)[0],
        "upper": lambda actor: 1.0 + _clip(actor)[1],
    },
    "sapo": {
        "tau_positive": lambda actor: actor.get("tau_pos", None),
        "tau_negative": lambda actor: actor.get("tau_neg", None),
    },
    "dppo": {"bound": _clip, "truncate": _dual},
    "dro": {"beta": lambda actor: actor.policy_loss.dro_beta},
    "clip_cov": {
        "clip": _clip,
        "share": lambda actor: actor.policy_loss.clip_cov_ratio,
        "band": _band,
    },
    "kl_cov": {
        "share": lambda actor: actor.policy_loss.kl_cov_ratio,
        "coefficient": lambda actor: actor.policy_loss.ppo_kl_coef,
    },
}
"""Of methods that verl has: an option of ours -> the actor's setting of the same meaning."""

_ADVICE = {"beta": "actor_rollout_ref.actor.policy_loss.dro_beta=..."}
"""The setting of verl's that is an option of ours."""


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


_CUT = ("clipped_high", "clipped_low")
_CLIPFRAC: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ppo", "dapo", "dcpo", "gspo"), _CUT),
    "clip_cov": ("dropped",),
    "cispo": ("weights_lowered", "weights_raised"),
    "dppo": ("left_high", "left_low"),
}
"""Of which losses the sum of which metrics is verl's ``pg_clipfrac``."""


def told(name: str, metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """Metrics of a loss as verl logs them.

    What verl logs with the same meaning has its name: ``ppo_kl``, ``pg_clipfrac`` and
    ``pg_clipfrac_lower``. All else has ours: verl's ``ppo_kl`` of ``kl_cov`` is a mean of absolute
    values, and its shares of ``geo_mean`` count tokens that lie outside the bounds and keep their
    gradient.
    """
    if not metrics:
        return {}
    # One trip to the host for all of them.
    numbers = torch.stack([number.detach().double() for number in metrics.values()]).tolist()
    named = dict(zip(metrics, numbers, strict=True))
    out = {f"actor/{metric}": value for metric, value in named.items()}
    if name in _CLIPFRAC:
        out["actor/pg_clipfrac"] = sum(named[metric] for metric in _CLIPFRAC[name])
    for ours, theirs in (("old_kl", "ppo_kl"), ("clipped_dual", "pg_clipfrac_lower")):
        if ours in named and name != "kl_cov":
            out[f"actor/{theirs}"] = out.pop(f"actor/{ours}")
    return out


def losses() -> list[VerlLoss]:
    """All of ours that need what verl gives a policy loss and nothing else."""
    # Without second attempts, which verl does not make, herl is ppo under another name.
    named = [e for e in methods() if e.kind == "loss" and e.name != "herl"]
    found = [VerlLoss(e.name) for e in named if _is_policy(e.module)]
    return [one for one in found if set(inputs_of(one.function, needed=True)) <= set(_INPUTS)]


def _is_policy(module: str) -> bool:
    return ".policy.losses." in module

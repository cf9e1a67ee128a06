"""IsaacLab: reward terms of a manager-based environment as a reward of ours, and ours as theirs.

By signature; IsaacLab is not imported. The tests compare the numbers with those of the reward
manager of isaaclab 2.3.2, loaded without the simulator; in the simulator this was never run.

A term has ``func(env, **params) -> Tensor [num_envs]`` and
a ``weight``; its value is a column of the step under the term's name. So a reward of terms is an
ordinary tree of :class:`~rewardsmith.signals.env_reward.EnvReward`: it is written as YAML, combined
with anything that reads those columns, and scored again on rollouts that recorded them.

>>> manager = env.unwrapped.reward_manager  # doctest: +SKIP
>>> reward = reward_of(manager)  # the same numbers, as a tree  # doctest: +SKIP
>>> gated = rs.Gate(EnvReward("alive"), reward, 0.5)  # doctest: +SKIP
>>> env.unwrapped.reward_manager = RewardManager(gated, manager, env.unwrapped)  # doctest: +SKIP
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..core.acting import FIELDS, Floats, Step, Terms, check_finite
from ..core.algebra import WeightedSum
from ..core.boundary import as_numbers
from ..core.catalog import nearest
from ..core.errors import ScoreError
from ..core.outcome import told
from ..core.reward import Reward
from ..signals.env_reward import EnvReward
from .blame import check_shapes
from .columns import read_by
from .meter import Meter

_TOLD = frozenset({"terminated", "truncated", "first"})


class Term(Protocol):
    """One reward term, as IsaacLab's ``RewardTermCfg`` is."""

    func: Any
    """``func(env, **params)`` gives a tensor [num_envs]."""
    weight: float
    params: Any


def terms_of(source: Any) -> dict[str, Any]:
    """The terms by name of a reward manager, a mapping, or a config with a term per attribute.

    Attributes that are None are left out, as in IsaacLab.

    Raises:
        TypeError: something is no term, or a term that only a reward manager can resolve.
    """
    if isinstance(source, RewardManager):
        # What ours calls active are the reward's parts.
        found = dict(source.terms)
    elif hasattr(source, "active_terms") and hasattr(source, "get_term_cfg"):
        found = {name: source.get_term_cfg(name) for name in source.active_terms}
    else:
        found = dict(source) if isinstance(source, Mapping) else dict(vars(source))
    terms = {name: term for name, term in found.items() if term is not None}
    for name, term in terms.items():
        for attribute in ("func", "weight", "params"):
            if not hasattr(term, attribute):
                raise TypeError(f"{name!r} is no reward term: it has no {attribute}")
        if isinstance(term.func, type | str) or not callable(term.func):
            raise TypeError(
                f"the term {name!r} names its function by {term.func!r}, which only a reward "
                "manager resolves: give env.unwrapped.reward_manager"
            )
    return terms


def reward_of(source: Any) -> WeightedSum:
    """The weighted sum of reward terms; each part is the term's value, a column of its name.

    It is per second, as the weights are: a reward manager pays it times the length of a step.

    Args:
        source: a reward manager, a mapping of terms, or a config of them; see :func:`terms_of`.

    Raises:
        TypeError: something is no term.
        ValueError: no term, a weight that is not finite, or a name that cannot be a part's.
    """
    terms = terms_of(source)
    for name in terms.keys() & set(FIELDS):
        raise ValueError(f"a term cannot be called {name!r}, which is a column of every step")
    weights = {name: float(term.weight) for name, term in terms.items()}
    return WeightedSum({name: EnvReward(name) for name in terms}, weights)


class RewardManager:
    """Pays and logs a reward of ours where a manager-based environment has its reward manager.

    The reward reads the terms' values by name, ``terminated``, ``truncated`` and ``first``; where
    such an environment computes its reward there are no observations yet. A term of weight 0 is not
    computed and reads as 0. Else the terms' weights are not read, the reward has its own: a
    curriculum can turn a term off and on again, and no more (see :meth:`set_term_cfg`). Values go
    through the CPU, and nothing is learned.

    Args:
        reward: a reward that can be computed while acting.
        terms: what it may read: a reward manager, a mapping of terms, or a config of them.
        env: the environment: ``num_envs``, ``device``, ``max_episode_length_s``, and where the
            reward reads how an episode ended, ``termination_manager``.

    Raises:
        TypeError: it is no reward, or something is no term.
        ValueError: the reward cannot be computed while acting, or reads what there is no term for.
    """

    def __init__(self, reward: Reward, terms: Any, env: Any) -> None:
        Meter(reward, 1)  # refuses what cannot be computed while acting
        self.reward, self.terms, self.env = reward, terms_of(terms), env
        missing = reward.needs - self.terms.keys() - _TOLD
        if missing:
            raise ValueError(
                f"the reward reads {', '.join(sorted(missing))}; there are the terms "
                f"{', '.join(sorted(self.terms))}, and {', '.join(sorted(_TOLD))}"
            )
        self._weights = {name: float(term.weight) for name, term in self.terms.items()}
        factors = reward.coefficients()
        names = [name for name, _ in reward.children_by_name()]
        self._factors = factors or dict.fromkeys(names or [reward.default_name()], 1.0)
        self._carry = reward.start(env.num_envs)
        self._first = np.ones(env.num_envs, dtype=np.bool_)
        self._sums = {name: torch.zeros(env.num_envs, device=env.device) for name in self._factors}
        self._step = torch.zeros(env.num_envs, len(self._factors), device=env.device)

    @property
    def active_terms(self) -> list[str]:
        """The parts that are logged: the reward's direct parts."""
        return list(self._factors)

    def compute(self, dt: float) -> Tensor:
        """The reward [num_envs] of a step that took ``dt`` seconds: the reward times ``dt``.

        Raises:
            ScoreError: a term raised, or did not give a finite number per environment.
        """
        n = self.env.num_envs
        out = Terms()
        s = self._current()
        values, self._carry = self.reward.step(s, self._carry, out)
        check_shapes(values, out, n)
        check_finite(values, out, s.live)
        self._first = np.zeros(n, dtype=np.bool_)
        for i, (name, factor) in enumerate(self._factors.items()):
            # A reward without parts is logged itself.
            rate = self._tensor(factor * out.values.get(name, values))
            self._sums[name] += rate * dt
            self._step[:, i] = rate
        return self._tensor(values * dt)

    def reset(self, env_ids: Sequence[int] | Tensor | None = None) -> dict[str, Tensor]:
        """Begin new episodes in some environments (None: in all); what the last ones earned.

        Returns:
            ``Episode_Reward/PART``: the part's contribution to the sum over the episode (its value
            alone where the reward is no sum of its parts), averaged over those environments and
            divided by the longest episode in seconds.
        """
        rows: Any = slice(None) if env_ids is None else env_ids
        extras = {}
        for name, sums in self._sums.items():
            extras[f"Episode_Reward/{name}"] = sums[rows].mean() / self.env.max_episode_length_s
            sums[rows] = 0.0
        for term in self.terms.values():
            if hasattr(term.func, "reset"):
                term.func.reset(env_ids=env_ids)
        self._first[rows.cpu().numpy() if isinstance(rows, Tensor) else rows] = True
        return extras

    def get_term_cfg(self, term_name: str) -> Any:
        """A term by name. Pass what changes in it to :meth:`set_term_cfg`, which checks it.

        Raises:
            ValueError: there is no such term.
        """
        if term_name not in self.terms:
            raise ValueError(
                f"there is no term {term_name!r}{nearest(term_name, list(self.terms))}"
            )
        return self.terms[term_name]

    def set_term_cfg(self, term_name: str, cfg: Any) -> None:
        """Replace a term: its ``func`` and ``params`` count from the next step on.

        A weight of 0 turns it off, the weight that it had when this manager was made on again. Any
        other would change nothing, for the reward pays by its own, and is refused.

        Raises:
            TypeError: it is no term.
            ValueError: there is no such term, or the weight is another one.
        """
        self.get_term_cfg(term_name)
        term, known = terms_of({term_name: cfg})[term_name], self._weights[term_name]
        if term.weight not in (0, known):
            raise ValueError(
                f"weight {term.weight} of the term {term_name!r} would change nothing: the reward "
                f"has weights of its own. Only 0 and {known} turn the term off and on; for another "
                "weight put a RewardManager of a reward that has it in this one's place"
            )
        self.terms[term_name] = term

    def get_active_iterable_terms(self, env_idx: int) -> list[tuple[str, list[float]]]:
        """Each part's contribution to the last step of one environment, per second."""
        return list(zip(self._factors, ([v] for v in self._step[env_idx].tolist()), strict=True))

    def _current(self) -> Step:
        n = self.env.num_envs
        reads_ends = not read_by(self.reward).isdisjoint({"terminated", "truncated"})
        ends = self.env.termination_manager if reads_ends else None
        return Step(
            obs=None,
            action=None,
            next_obs=None,
            env_reward=None,
            terminated=None if ends is None else ends.terminated.cpu().numpy(),
            truncated=None if ends is None else ends.time_outs.cpu().numpy(),
            first=self._first,
            live=np.ones(n, dtype=np.bool_),
            info=_Values(self.terms, self.env),
        )

    def _tensor(self, values: Floats) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.env.device)


class _Values(Mapping[str, Any]):
    """The terms' values at this moment, each computed when it is read, and once."""

    def __init__(self, terms: Mapping[str, Any], env: Any) -> None:
        self.terms, self.env = terms, env
        self._known: dict[str, Floats] = {}

    def __getitem__(self, name: str) -> Floats:
        if name not in self._known:
            self._known[name] = self._value(name, self.terms[name])
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.terms)

    def __len__(self) -> int:
        return len(self.terms)

    def _value(self, name: str, term: Any) -> Floats:
        n = self.env.num_envs
        if term.weight == 0:
            return np.zeros(n)
        try:
            value = term.func(self.env, **term.params)
        except Exception as error:
            raise ScoreError(f"failed: {told(error)}", part=name) from error
        try:
            return as_numbers(value.detach().cpu() if isinstance(value, Tensor) else value, n)
        except ScoreError as error:
            raise ScoreError(f"the term {name!r}: {error.message}", part=name) from None

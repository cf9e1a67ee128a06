"""imitation: our reward as its ``RewardFn``, and its reward nets as rewards of ours.

Both are by signature; imitation itself is not imported. What the two call the end of an episode
differs: imitation's ``done`` is true at a termination and at a time limit alike, and in either
direction it has to be said what that means.

>>> RewardVecEnvWrapper(venv, reward_fn(reward))  # doctest: +SKIP
>>> rs.wrap(env, ImitationReward(gail_trainer.reward_train))  # doctest: +SKIP
"""

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.acting import Floats, Step, Terms, check_finite
from ..core.boundary import as_numbers, score_rows
from ..core.errors import RewardsmithError, ScoreError
from ..core.outcome import Status, told
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Scores
from .blame import check_shapes
from .columns import read_by
from .goals import memories
from .meter import Meter

Floats32 = NDArray[np.float32]
_GIVEN = frozenset({"obs", "action", "next_obs", "terminated", "truncated"})


class RewardFn:
    """A reward of ours that is called as imitation calls its own; made by :func:`reward_fn`."""

    def __init__(self, reward: Reward, done: Literal["terminated", "truncated"] | None) -> None:
        self.reward, self.done = reward, done

    def __call__(
        self, state: Any, action: Any, next_state: Any, done: Any, **options: Any
    ) -> Floats32:
        """Rewards [batch] of transitions [batch, ...].

        ``options`` are there for imitation's ``update_stats=``; asking changes no reward of ours.

        Raises:
            ScoreError: a transition's reward is no finite number; with its row and the part.
        """
        ended = np.asarray(done, dtype=np.bool_).reshape(-1)
        n = len(ended)
        known, never = self.done is not None, np.zeros(n, dtype=np.bool_)
        step = Step(
            obs=_plain(state),
            action=np.asarray(action),
            next_obs=_plain(next_state),
            env_reward=None,
            terminated=(ended if self.done == "terminated" else never) if known else None,
            truncated=(ended if self.done == "truncated" else never) if known else None,
            first=never,
            live=np.ones(n, dtype=np.bool_),
        )
        out = Terms()
        values, _ = self.reward.step(step, None, out)
        check_shapes(values, out, n)
        check_finite(values, out, step.live)
        return values.astype(np.float32)


def reward_fn(
    reward: Reward,
    *,
    done: Literal["terminated", "truncated"] | None = None,
    gamma: float | None = None,
) -> RewardFn:
    """Our reward as imitation's ``RewardFn``: ``(state, action, next_state, done) -> [batch]``.

    It is asked for transitions in any order, so only Markov rewards can serve, and only those that
    read nothing but the transition. A reward that learns is scored as it stands.

    Args:
        reward: a Markov reward that can be computed while acting.
        done: what the end of an episode is to a reward that reads ``terminated`` or ``truncated``
            (potential shaping does): ``"terminated"`` where the environments have no time limit,
            ``"truncated"`` where every episode is cut at a fixed length. Where both happen neither
            is right, and such a reward is better paid by ``RewardVecEnv``, which sees them apart.
        gamma: the learner's discount factor, for rewards that need it.

    Raises:
        TypeError: it is no reward.
        ValueError: the reward cannot be computed while acting, is not Markov, reads what imitation
            does not tell, or how an episode ended while ``done`` is not given.
        SpecError: a node was given another gamma.
    """
    Meter(reward, 1, gamma=gamma)  # refuses what cannot be computed while acting
    carrying = [f"{path or 'the root'}: {node.label()}" for path, node in memories(reward)]
    if carrying:
        raise ValueError(
            f"imitation asks for single transitions in any order, but {'; '.join(carrying)} "
            "remembers the steps before: only Markov rewards can serve"
        )
    untold = (reward.needs - _GIVEN) | (read_by(reward) & {"first"})
    if untold:
        raise ValueError(
            f"imitation tells a reward state, action, next_state and done; this one also reads "
            f"{', '.join(sorted(untold))}: pay it by RewardVecEnv instead"
        )
    reads = sorted(read_by(reward) & {"terminated", "truncated"})
    if reads and done is None:
        raise ValueError(
            f"this reward reads {' and '.join(reads)}, and imitation's done does not tell a "
            "termination from a time limit: say done='terminated' where there is no time limit, or "
            "done='truncated' where every episode is cut at a fixed length"
        )
    return RewardFn(reward, done)


class ImitationReward(Reward):
    """A ``RewardFn`` or a reward net of imitation as a reward of ours: dense, and Markov.

    Of a net, ``predict_processed`` is asked (with ``update_stats=False``, so that scoring changes
    no running statistics), else ``predict``; anything else is called. Gradients do not pass, and
    nothing is learned: imitation trains its nets. A net's parameters are saved with this reward.

    Args:
        net: an object with ``predict_processed`` or ``predict``, or a function, of arrays
            ``(state, action, next_state, done)``, each [batch, ...], that returns [batch].
        done: what it is told: ``"ended"``, that the episode terminated or was cut, which is what
            imitation's own environments say; or ``"terminated"`` only, which is right for shaped
            nets: they take the potential of the next state for 0 where an episode is done.

    Raises:
        TypeError: the net cannot be asked.
        ScoreError: while acting, it raised or did not give n finite numbers (in ``forward`` the row
            gets a status).
    """

    def __init__(self, net: Any, done: Literal["ended", "terminated"] = "ended") -> None:
        super().__init__()
        if done not in ("ended", "terminated"):
            raise ValueError(f"done is {done!r}; it is 'ended' or 'terminated'")
        _asked(net)
        self.net, self.done = net, done
        ends = {"terminated", "truncated"} if done == "ended" else {"terminated"}
        self._ends = tuple(sorted(ends))
        self.declare(needs={"obs", "action", "next_obs"} | ends, granularity="dense")

    def default_name(self) -> str:
        return "net"

    def label(self) -> str:
        name = getattr(self.net, "__qualname__", type(self.net).__name__)
        return f"{type(self).__name__}(net={name}, done={self.done!r})"

    def forward(self, rollouts: Rollouts) -> Scores:
        rows, steps = rollouts.action_mask.nonzero(as_tuple=True)

        def flat(name: str) -> Any:
            return _picked(rollouts.column(name, needed_by=self.label()), rows, steps)

        values = torch.zeros(len(rollouts), rollouts.n_steps)
        at = rollouts.action_mask.clone()
        failed_at = torch.zeros_like(at)
        status = torch.zeros(len(rollouts), dtype=torch.int8)
        errors: dict[int, tuple[str, str]] = {}
        outcomes = score_rows(self._ask, self._transitions(flat), np.arange(len(rows)))
        for row, t, (value, verdict, text) in zip(
            rows.tolist(), steps.tolist(), outcomes, strict=True
        ):
            values[row, t], at[row, t] = value, verdict == Status.SCORED
            if verdict > Status.ABSTAINED:
                failed_at[row, t] = True
                status[row] = max(int(status[row]), int(verdict))
                errors.setdefault(row, ("", f"step {t}: {text}"))
        return Scores.dense(values, at, status, errors=errors, failed_at=failed_at)

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        # Copied: nets share their memory with torch, which takes no arrays that are read-only.
        transitions = self._transitions(
            lambda name: copy.deepcopy(s.column(name, needed_by=self.label()))
        )
        try:
            return as_numbers(self._ask(**transitions), len(s.first)), carry
        except ScoreError as error:
            raise ScoreError(error.message, part=out.path) from error.__cause__
        except RewardsmithError:
            raise
        except Exception as error:
            raise ScoreError(f"failed: {told(error)}", part=out.path) from error

    def _transitions(self, read: Callable[[str], Any]) -> dict[str, Any]:
        ends = [np.asarray(read(name), dtype=np.bool_) for name in self._ends]
        return {
            "state": read("obs"),
            "action": read("action"),
            "next_state": read("next_obs"),
            "done": np.logical_or.reduce(ends),
        }

    def _ask(self, **transitions: Any) -> Any:
        # Looked up each time: a net may be replaced by a copy, with the methods of the copy.
        ask = _asked(self.net)
        options = {"update_stats": False} if _takes(ask, "update_stats") else {}
        given = (transitions[name] for name in ("state", "action", "next_state", "done"))
        return ask(*given, **options)


def _asked(net: Any) -> Callable[..., Any]:
    for name in ("predict_processed", "predict"):
        if callable(getattr(net, name, None)):
            return getattr(net, name)  # type: ignore[no-any-return]
    if not callable(net):
        raise TypeError(
            f"{type(net).__name__} has no predict_processed or predict and cannot be called: give "
            "a reward net of imitation, or a function (state, action, next_state, done)"
        )
    return net  # type: ignore[no-any-return]


def _takes(call: Callable[..., Any], name: str) -> bool:
    try:
        known = inspect.signature(call).parameters
    except ValueError:
        # Written in C: it says nothing of itself.
        return False
    return name in known or any(p.kind is p.VAR_KEYWORD for p in known.values())


def _plain(state: Any) -> Any:
    """Arrays, or a dict of such; imitation also has a class around the dict."""
    state = state.unwrap() if hasattr(state, "unwrap") else state
    if isinstance(state, Mapping):
        return {name: np.asarray(value) for name, value in state.items()}
    return np.asarray(state)


def _picked(column: Any, rows: torch.Tensor, steps: torch.Tensor) -> Any:
    if isinstance(column, Mapping):
        return {name: _picked(value, rows, steps) for name, value in column.items()}
    return column[rows, steps].numpy()

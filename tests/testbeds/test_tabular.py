"""Tabular worlds: the equations hold exactly, and sampling agrees with them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.testbeds import (
    TabularMDP,
    always_terminates,
    expected_return,
    finite_horizon,
    greedy_policy,
    occupancy,
    optimal_actions,
    policy_order,
    policy_values,
    random_mdp,
    sample_episodes,
    shaped,
    uniform_policy,
    value_iteration,
)


@st.composite
def worlds(draw: st.DrawFn, terminal: int | None = None) -> tuple[TabularMDP, np.random.Generator]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    states = draw(st.integers(2, 8))
    ends = draw(st.integers(0, states - 1)) if terminal is None else terminal
    mdp = random_mdp(
        rng,
        states,
        draw(st.integers(1, 4)),
        draw(st.sampled_from([0.1, 0.7, 0.95, 0.999])),
        branching=draw(st.integers(1, states)),
        terminal=ends,
    )
    return mdp, rng


def random_policy(
    mdp: TabularMDP, rng: np.random.Generator, steps: int | None = None
) -> np.ndarray[Any, np.dtype[np.float64]]:
    shape = (mdp.states,) if steps is None else (steps, mdp.states)
    return rng.dirichlet(np.ones(mdp.actions), size=shape)


def chain(discount: float = 1.0) -> TabularMDP:
    """0 -> 1 -> 2 (terminal), one action, paying 1 and then 2."""
    transition = np.zeros((3, 1, 3))
    transition[0, 0, 1] = transition[1, 0, 2] = transition[2, 0, 2] = 1.0
    reward = np.zeros((3, 1, 3))
    reward[0, 0, 1], reward[1, 0, 2] = 1.0, 2.0
    return TabularMDP(
        transition, reward, discount, np.array([1.0, 0, 0]), np.array([False, False, True])
    )


# --- optimal control ------------------------------------------------------------------------------


@given(worlds())
def test_bellman_residual_is_zero(drawn: tuple[TabularMDP, np.random.Generator]) -> None:
    mdp, _ = drawn
    v, q = value_iteration(mdp)
    target = (mdp.transition * (mdp.reward + mdp.discount * v)).sum(axis=2)
    scale = max(1.0, np.abs(q).max())
    np.testing.assert_allclose(q, target, atol=1e-9 * scale)
    np.testing.assert_allclose(v, q.max(axis=1), atol=1e-9 * scale)
    assert not v[mdp.terminal].any()


@given(worlds())
def test_no_policy_beats_the_optimal_values(
    drawn: tuple[TabularMDP, np.random.Generator],
) -> None:
    mdp, rng = drawn
    v, q = value_iteration(mdp)
    slack = 1e-8 * max(1.0, np.abs(v).max())
    np.testing.assert_allclose(policy_values(mdp, greedy_policy(q)), v, atol=slack)
    assert (policy_values(mdp, random_policy(mdp, rng)) <= v + slack).all()


@given(worlds(), st.integers(1, 12))
def test_backward_induction_is_what_its_policy_earns(
    drawn: tuple[TabularMDP, np.random.Generator], horizon: int
) -> None:
    mdp, rng = drawn
    best = finite_horizon(mdp, horizon)
    assert best.v.shape == (horizon + 1, mdp.states)
    assert best.policy.shape == best.q.shape == (horizon, mdp.states, mdp.actions)
    np.testing.assert_allclose(policy_values(mdp, best.policy), best.v[0], atol=1e-9)
    other = policy_values(mdp, random_policy(mdp, rng, horizon))
    assert (other <= best.v[0] + 1e-9).all()


def test_a_long_horizon_reaches_the_infinite_one() -> None:
    mdp = random_mdp(np.random.default_rng(0), 6, 3, 0.8)
    np.testing.assert_allclose(
        finite_horizon(mdp, 200).v[0], value_iteration(mdp).v, rtol=1e-12, atol=1e-12
    )


def test_optimal_actions_keep_ties_and_rounding() -> None:
    q = np.array([[1.0, 1.0 + 1e-12, 0.0], [0.0, -1.0, -2.0]])
    assert optimal_actions(q).tolist() == [[True, True, False], [True, False, False]]
    assert optimal_actions(q, tolerance=1.5).tolist() == [[True, True, True], [True, True, False]]


# --- discount 1 -----------------------------------------------------------------------------------


def test_discount_one_is_solved_where_every_policy_terminates() -> None:
    mdp = chain()
    assert always_terminates(mdp)
    assert value_iteration(mdp).v.tolist() == [3.0, 2.0, 0.0]
    assert expected_return(mdp, uniform_policy(mdp)) == 3.0


def test_discount_one_needs_a_horizon_where_a_policy_can_stay() -> None:
    # Action 1 of state 0 waits: only policies that never take it terminate for sure.
    transition = np.zeros((2, 2, 2))
    transition[0, 0, 1] = transition[0, 1, 0] = 1.0
    transition[1, :, 1] = 1.0
    mdp = TabularMDP(
        transition, np.zeros((2, 2, 2)), 1.0, np.array([1.0, 0]), np.array([False, True])
    )
    assert not always_terminates(mdp)
    for call in (
        lambda: value_iteration(mdp),
        lambda: policy_values(mdp, uniform_policy(mdp)),
        lambda: expected_return(mdp, uniform_policy(mdp)),
    ):
        with pytest.raises(ValueError, match="every policy terminates"):
            call()
    assert expected_return(mdp, uniform_policy(mdp), horizon=5) == 0.0


def test_occupancy_at_discount_one_needs_a_horizon() -> None:
    mdp = chain()
    with pytest.raises(ValueError, match="needs a horizon"):
        occupancy(mdp, uniform_policy(mdp))
    mu = occupancy(mdp, uniform_policy(mdp), horizon=4)
    assert mu[:, 0].tolist() == [0.25, 0.25, 0.5]


# --- occupancy ------------------------------------------------------------------------------------


@given(worlds(), st.one_of(st.none(), st.integers(1, 10)))
def test_occupancy_sums_to_one_and_gives_the_return(
    drawn: tuple[TabularMDP, np.random.Generator], horizon: int | None
) -> None:
    mdp, rng = drawn
    policy = random_policy(mdp, rng)
    mu = occupancy(mdp, policy, horizon)
    assert (mu >= 0).all()
    assert mu.sum() == pytest.approx(1.0, abs=1e-9)
    gold = rng.standard_normal(mdp.reward.shape) * ~mdp.terminal[:, None, None]
    for table in (mdp.reward, gold):
        mean = (mu * (mdp.transition * table).sum(axis=2)).sum()
        steps = np.inf if horizon is None else horizon
        total = (1 - mdp.discount**steps) / (1 - mdp.discount)
        assert expected_return(mdp, policy, table, horizon) == pytest.approx(
            mean * total, rel=1e-8, abs=1e-8
        )


def test_a_policy_repeated_over_time_is_the_same_policy() -> None:
    rng = np.random.default_rng(3)
    mdp = random_mdp(rng, 5, 2, 0.9)
    policy = random_policy(mdp, rng)
    repeated = np.repeat(policy[None], 7, axis=0)
    assert expected_return(mdp, policy, horizon=7) == expected_return(mdp, repeated)
    np.testing.assert_array_equal(occupancy(mdp, policy, 7), occupancy(mdp, repeated))


# --- order ----------------------------------------------------------------------------------------


@given(worlds(), st.integers(1, 6))
def test_policy_order_follows_the_returns(
    drawn: tuple[TabularMDP, np.random.Generator], count: int
) -> None:
    mdp, rng = drawn
    policies = [random_policy(mdp, rng) for _ in range(count)]
    ranks = policy_order(mdp, policies)
    returns = [expected_return(mdp, p) for p in policies]
    for i in range(count):
        for j in range(count):
            if returns[i] > returns[j] + 1e-6:
                assert ranks[i] < ranks[j]
    assert ranks.min() == 0


def test_equal_policies_share_a_rank_and_the_next_one_follows_densely() -> None:
    mdp = random_mdp(np.random.default_rng(5), 4, 2, 0.9)
    best, worst = greedy_policy(value_iteration(mdp).q), greedy_policy(-value_iteration(mdp).q)
    assert policy_order(mdp, [worst, best, best, worst]).tolist() == [1, 0, 0, 1]
    assert policy_order(mdp, [worst, best], reward=-mdp.reward).tolist() == [0, 1]
    assert policy_order(mdp, []).tolist() == []


def test_a_chain_of_small_gaps_is_not_one_tie() -> None:
    # One state, one step; the return is the probability of the paying action.
    reward = np.zeros((1, 2, 1))
    reward[0, 0, 0] = 1.0
    mdp = TabularMDP(np.ones((1, 2, 1)), reward, 0.5, np.ones(1), np.zeros(1, dtype=bool))
    policies = [np.array([[p, 1 - p]]) for p in (0.50, 0.56, 0.62)]
    assert policy_order(mdp, policies, horizon=1, tolerance=0.1).tolist() == [1, 0, 0]


# --- shaping --------------------------------------------------------------------------------------


@given(worlds(), st.floats(0.1, 100.0))
def test_shaping_keeps_the_optimal_policy_set(
    drawn: tuple[TabularMDP, np.random.Generator], scale: float
) -> None:
    mdp, rng = drawn
    # A copy of the first action makes a true tie in every state.
    twice = np.concatenate([np.arange(mdp.actions), [0]])
    mdp = TabularMDP(
        mdp.transition[:, twice], mdp.reward[:, twice], mdp.discount, mdp.start, mdp.terminal
    )
    phi = scale * rng.standard_normal(mdp.states)
    plain, bent = value_iteration(mdp), value_iteration(mdp, shaped(mdp, phi))
    np.testing.assert_array_equal(optimal_actions(plain.q), optimal_actions(bent.q))
    counted = np.where(mdp.terminal, 0.0, phi)
    np.testing.assert_allclose(bent.q, plain.q - counted[:, None], rtol=1e-7, atol=1e-7)


@given(worlds())
@settings(max_examples=50)
def test_shaped_return_telescopes(drawn: tuple[TabularMDP, np.random.Generator]) -> None:
    mdp, rng = drawn
    phi = rng.standard_normal(mdp.states)
    policy = random_policy(mdp, rng)
    table = shaped(mdp, phi)
    for episode in sample_episodes(mdp, policy, 20, 9, rng):
        s, a, t = episode["obs"], episode["action"], episode["next_obs"]
        weight = mdp.discount ** np.arange(len(s))
        left = 0.0 if episode["terminated"][-1] else mdp.discount ** len(s) * phi[t[-1]]
        assert (weight * table[s, a, t]).sum() == pytest.approx(
            (weight * episode["env_reward"]).sum() - phi[s[0]] + left, abs=1e-9
        )


# --- sampling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("moving", [False, True])
def test_policy_values_equal_monte_carlo(seed: int, moving: bool) -> None:
    rng = np.random.default_rng(seed)
    mdp = random_mdp(rng, 6, 3, 0.9, branching=3, terminal=1)
    policy = random_policy(mdp, rng, 8 if moving else None)
    episodes = sample_episodes(mdp, policy, 4000, 8, rng)
    returns = np.array(
        [(0.9 ** np.arange(len(e["obs"])) * e["env_reward"]).sum() for e in episodes]
    )
    error = returns.std(ddof=1) / np.sqrt(len(returns))
    # Four standard errors: fixed seeds, so this cannot flake; it fails only when the code changes.
    assert abs(returns.mean() - expected_return(mdp, policy, horizon=8)) < 4 * error


@given(worlds(), st.integers(1, 8))
@settings(max_examples=50)
def test_episodes_are_possible_and_end_once(
    drawn: tuple[TabularMDP, np.random.Generator], horizon: int
) -> None:
    mdp, rng = drawn
    policy = greedy_policy(rng.random((mdp.states, mdp.actions)))
    for e in sample_episodes(mdp, policy, 10, horizon, rng):
        steps = len(e["obs"])
        assert 1 <= steps <= horizon
        assert {key: value.dtype for key, value in e.items()} == {
            "obs": np.int64,
            "action": np.int64,
            "next_obs": np.int64,
            "env_reward": np.float64,
            "terminated": np.bool_,
            "truncated": np.bool_,
        }
        assert mdp.start[e["obs"][0]] > 0
        assert (policy[e["obs"], e["action"]] > 0).all()
        assert (mdp.transition[e["obs"], e["action"], e["next_obs"]] > 0).all()
        np.testing.assert_array_equal(e["obs"][1:], e["next_obs"][:-1])
        assert not mdp.terminal[e["obs"]].any()
        ends = e["terminated"] ^ e["truncated"]
        assert ends.tolist() == [False] * (steps - 1) + [True]
        assert e["terminated"][-1] == mdp.terminal[e["next_obs"][-1]]
        assert e["terminated"][-1] or steps == horizon


def test_sampling_repeats_with_its_seed_and_can_pay_another_reward() -> None:
    mdp = random_mdp(np.random.default_rng(0), 5, 2, 0.9)
    policy = uniform_policy(mdp)
    first, again, gold = (
        sample_episodes(mdp, policy, 3, 5, np.random.default_rng(7), reward)
        for reward in (None, None, -mdp.reward)
    )
    for a, b, c in zip(first, again, gold, strict=True):
        np.testing.assert_array_equal(a["next_obs"], b["next_obs"])
        np.testing.assert_array_equal(a["env_reward"], -c["env_reward"])
    assert sample_episodes(mdp, policy, 0, 5, np.random.default_rng(7)) == []


# --- bad input ------------------------------------------------------------------------------------


def parts(**changes: Any) -> dict[str, Any]:
    mdp = chain(0.9)
    fields = ("transition", "reward", "discount", "start", "terminal")
    return {name: np.copy(getattr(mdp, name)) for name in fields} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transition": np.ones((3, 3))}, r"\[S, A, S\]"),
        ({"transition": np.zeros((0, 1, 0))}, "needs a state"),
        ({"transition": np.full((3, 1, 3), 0.3)}, r"transition\[0, 0\] is not a distribution"),
        ({"transition": np.full((3, 1, 3), np.nan)}, "not a distribution"),
        ({"reward": np.zeros((3, 2, 3))}, "reward must have"),
        ({"reward": np.full((3, 1, 3), np.inf)}, r"reward\[0, 0, 0\] is inf"),
        ({"reward": np.ones((3, 1, 3))}, "terminal state 2 has a non-zero reward"),
        ({"discount": 0.0}, "discount"),
        ({"discount": 1.1}, "discount"),
        ({"discount": float("nan")}, "discount"),
        ({"start": np.ones(2) / 2}, "start must have shape"),
        ({"start": np.array([2.0, -1.0, 0.0])}, "start is not a distribution"),
        ({"start": np.array([0.5, 0.0, 0.5])}, "start puts mass on terminal state 2"),
        ({"terminal": np.array([2])}, "terminal must be bool"),
        ({"terminal": np.array([False, True, True])}, "terminal state 1 must be absorbing"),
    ],
)
def test_a_broken_world_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TabularMDP(**parts(**changes))


def test_tables_are_read_only_copies() -> None:
    given_parts = parts()
    mdp = TabularMDP(**given_parts)
    given_parts["reward"][0] = 9.0
    assert mdp.reward[0, 0, 1] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        mdp.reward[0] = 9.0


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (np.ones(3), "policy must have shape"),
        (np.ones((3, 2)), "policy must have shape"),
        (np.ones((0, 3, 1)), "at least one step"),
        (np.full((3, 1), 0.5), r"policy\[0\] is not a distribution"),
        (np.full((2, 3, 1), np.nan), r"policy\[0, 0\] is not a distribution"),
    ],
)
def test_a_broken_policy_is_refused(policy: Any, message: str) -> None:
    for call in (policy_values, expected_return, occupancy):
        with pytest.raises(ValueError, match=message):
            call(chain(0.9), policy)
    with pytest.raises(ValueError, match=message):
        sample_episodes(chain(0.9), policy, 1, 1, np.random.default_rng(0))


def test_arguments_out_of_range_are_refused() -> None:
    mdp, rng = chain(0.9), np.random.default_rng(0)
    policy = uniform_policy(mdp)
    short = policy[None]
    q = np.zeros((3, 1))
    for message, call in [
        ("horizon", lambda: finite_horizon(mdp, 0)),
        ("horizon", lambda: policy_values(mdp, policy, horizon=-1)),
        ("covers 1 steps", lambda: policy_values(mdp, short, horizon=2)),
        ("covers 1 steps", lambda: occupancy(mdp, short, horizon=2)),
        ("covers 1 steps", lambda: sample_episodes(mdp, short, 1, 2, rng)),
        ("horizon", lambda: sample_episodes(mdp, policy, 1, 0, rng)),
        ("reward must have", lambda: value_iteration(mdp, np.zeros((2, 1, 2)))),
        ("tolerance", lambda: value_iteration(mdp, tolerance=0.0)),
        ("tolerance", lambda: optimal_actions(q, tolerance=-1.0)),
        ("tolerance", lambda: policy_order(mdp, [policy], tolerance=-1.0)),
        ("finite", lambda: optimal_actions(q * np.nan)),
        ("without NaN", lambda: greedy_policy(q * np.nan)),
        ("potential must have shape", lambda: shaped(mdp, np.zeros(2))),
        (r"potential\[1\] is nan", lambda: shaped(mdp, np.array([0, np.nan, 0]))),
        ("states and actions", lambda: random_mdp(rng, 0, 1, 0.9)),
        ("branching", lambda: random_mdp(rng, 3, 1, 0.9, branching=4)),
        ("terminal", lambda: random_mdp(rng, 3, 1, 0.9, terminal=3)),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_the_potential_of_terminal_states_is_not_read() -> None:
    mdp = chain(0.9)
    first = shaped(mdp, np.array([1.0, 2.0, np.nan]))
    np.testing.assert_array_equal(first, shaped(mdp, np.array([1.0, 2.0, 5.0])))
    assert first[1, 0, 2] == 2.0 - 2.0


def test_an_unknown_name_is_an_attribute_error() -> None:
    import rewardsmith.testbeds as room

    assert "TomatoEnv" in dir(room)
    assert all(getattr(room, name) is not None for name in room.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(room, "no_such_" + "name")

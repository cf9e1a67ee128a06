"""The reproduction of SPIRAL: the game, best responses, variance, the rule, the record."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reproductions import r095_spiral as r095
from reproductions.effects import all_of
from reproductions.r095_spiral import (
    ARMS,
    BESIDE,
    GAMES,
    RETURNS,
    WAYS,
    Baseline,
    Settings,
    exploitability,
    judge,
    probabilities,
    scores,
    value,
    variance,
)
from reproductions.tabular import softmax
from tests.reproduced import recorded, stored

TINY = Settings(batches=20, games=8)
SEEDS = range(2)


def table(**bets: float) -> np.ndarray:
    """A policy by the probability to bet: ``J0`` is the first move with the jack."""
    bet = np.array([bets.get(f"{'JQK'[i % 3]}{i // 3}", 0.0) for i in range(12)])
    return np.stack([1.0 - bet, bet], axis=1)


def equilibrium(alpha: float) -> np.ndarray:
    """The known ones: one for each alpha from 0 to 1/3."""
    first = {"J0": alpha, "K0": 3 * alpha, "Q3": alpha + 1 / 3, "K3": 1.0}
    return table(**first, J1=1 / 3, K1=1.0, Q2=1 / 3, K2=1.0)


def some(seed: int) -> np.ndarray:
    return softmax(2.0 * np.random.default_rng(seed).standard_normal((12, 2)))


# --- the game -------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1 / 3])
def test_the_known_equilibria_are_worth_a_loss_of_one_eighteenth(alpha: float) -> None:
    assert value(equilibrium(alpha)) == pytest.approx(-1 / 18)
    assert exploitability(equilibrium(alpha)) == pytest.approx(0.0, abs=1e-12)


def test_what_is_known_of_the_uniform_policy() -> None:
    uniform = np.full((12, 2), 0.5)
    assert value(uniform) == pytest.approx(1 / 8)
    assert exploitability(uniform) == pytest.approx(11 / 12)


def test_the_game_by_hand() -> None:
    """The king bets, the jack folds; the king passes, the queen bets and is called."""
    assert probabilities(some(0)).sum() == pytest.approx(1.0)
    told = dict(zip(WAYS, RETURNS.tolist(), strict=True))
    assert told[(2, 0), "bp"] == 1.0
    assert told[(2, 1), "pbb"] == 2.0
    assert told[(1, 2), "pbp"] == -1.0
    assert told[(0, 1), "pp"] == -1.0
    assert told[(0, 2), "bb"] == -2.0


@pytest.mark.parametrize("seed", range(4))
def test_a_best_response_is_that_of_a_search_through_the_tree(seed: int) -> None:
    """Backward over situations: the cards that the other may hold, weighed by its play."""
    policy = some(seed)
    pays = {"pp": 1, "pbp": None, "pbb": 2, "bp": None, "bb": 2}

    def worth(player: int, mine: int, other: int, line: str) -> float:
        """To ``player`` at the end of a line."""
        if pays[line] is None:
            folded = (len(line) - 1) % 2
            return -1.0 if folded == player else 1.0
        return float(pays[line] if mine > other else -pays[line])

    def best(player: int, mine: int, line: str, reach: dict[int, float]) -> float:
        if line in pays:
            return sum(p * worth(player, mine, other, line) for other, p in reach.items())
        place = {"": 0, "p": 1, "b": 2, "pb": 3}[line]
        if len(line) % 2 == player:
            return max(best(player, mine, line + said, reach) for said in "pb")
        return sum(
            best(
                player,
                mine,
                line + said,
                {other: p * policy[other + 3 * place, k] for other, p in reach.items()},
            )
            for k, said in enumerate("pb")
        )

    both = [
        sum(best(player, mine, "", {o: 1.0 for o in range(3) if o != mine}) for mine in range(3))
        / 6
        for player in (0, 1)
    ]
    assert exploitability(policy) == pytest.approx(sum(both))
    assert exploitability(policy) >= 0.0


def test_a_handicap_changes_no_exploitability() -> None:
    """It is paid whatever is played, by one of the two to the other."""
    policy = some(1)
    before = exploitability(policy), value(policy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(r095, "RETURNS", RETURNS + 1.0)
        assert (exploitability(policy), value(policy) - 1.0) == pytest.approx(before)


# --- gradients and their variance -----------------------------------------------------------------


def test_the_score_is_the_gradient_of_the_value() -> None:
    """Each player's own return by its own logits: by finite differences."""
    logits = np.random.default_rng(3).standard_normal((12, 2))
    policy = softmax(logits)
    ways, score = probabilities(policy), scores(policy)
    exact = ways @ np.einsum("pw,pwk->wk", np.stack([RETURNS, -RETURNS]), score)
    for i in range(24):
        moved = []
        for step in (1e-5, -1e-5):
            there = logits.copy()
            there.reshape(-1)[i] += step
            moved.append(value(softmax(there)))
        sign = 1.0 if (i // 2) // 3 in (0, 3) else -1.0
        assert exact[i] == pytest.approx(sign * (moved[0] - moved[1]) / 2e-5, abs=1e-8)


@pytest.mark.parametrize("arm", ["none", "rae", "shared", "rae_slow"])
def test_one_game_more_has_the_advantages_that_the_estimator_would_give_it(arm: str) -> None:
    estimator = Baseline(arm, Settings())
    estimator.advantages(np.array([1.0, -2.0, 1.0]))
    known = dict(estimator.memory)
    told = estimator.next_game(RETURNS)
    for way in range(30):
        estimator.memory = dict(known)
        made = estimator.advantages(RETURNS[way : way + 1])
        assert made[0].tolist() == pytest.approx(told[way].tolist())


def test_a_baseline_changes_the_variance_and_not_the_mean_as_a_simulation_has_it() -> None:
    policy = some(5)
    ways, score = probabilities(policy), scores(policy)
    draw = np.random.default_rng(0)
    met = draw.choice(30, 200_000, p=ways)
    means = []
    for first, second in ((0.0, 0.0), (0.7, -0.4)):
        made = np.stack([RETURNS - first, -RETURNS - second], axis=1)
        gradient = np.einsum("wp,pwk->wk", made, score)
        means.append(ways @ gradient)
        found = float(gradient[met].var(axis=0).sum())
        assert variance(ways, score, made) == pytest.approx(found, rel=0.02)
    assert means[0].tolist() == pytest.approx(means[1].tolist(), abs=1e-12)


def test_the_arms_differ_in_what_they_learn_from_and_start_alike() -> None:
    told = {arm: r095.train(arm, "kuhn", 7, TINY) for arm in (*ARMS, *BESIDE)}
    assert len({run["exploitability"] for run in told.values()}) == 4
    assert len({run["curve"][0] for run in told.values()}) == 1
    # Without steps all estimators see the same games.
    still = replace(TINY, learning_rate=0.0)
    runs = [r095.train(arm, "kuhn", 7, still)["variance"] for arm in ARMS]
    assert runs[0] == runs[1] == runs[2]
    assert runs[0]["value"] < runs[0]["none"]


def test_self_play_becomes_less_exploitable() -> None:
    run = r095.train("none", "kuhn", 50, Settings(batches=200))
    assert run["exploitability"] < 0.6 * run["curve"][0]


# --- the rule and the record ----------------------------------------------------------------------


def runs(noise: dict[str, float], ends: dict[str, list[float]]) -> dict[str, Any]:
    full = {**dict.fromkeys((*ARMS, *BESIDE, "value"), 1.0), **noise}
    return {
        arm: [
            {"variance": full, "exploitability": end, "over_training": end, "curve": [end]}
            for end in ends.get(arm, ends["none"])
        ]
        for arm in (*ARMS, *BESIDE)
    }


YES, NO, UNKNOWN = "supported", "refuted", "inconclusive"
HIGH, LOW, WIDE = [0.3, 0.31, 0.29], [0.1, 0.12, 0.11], [0.1, 0.55, 0.31]


@pytest.mark.parametrize(
    ("noise", "ends", "parts", "verdict"),
    [
        ({"rae": 0.5}, {"none": HIGH, "rae": LOW}, (YES, YES, YES, YES), YES),
        ({"rae": 1.2}, {"none": HIGH, "rae": LOW}, (NO, YES, NO, YES), NO),
        ({"rae": 0.995}, {"none": HIGH, "rae": LOW}, (NO, YES, NO, YES), NO),
        ({"rae": 0.5}, {"none": LOW, "rae": HIGH}, (YES, NO, YES, NO), NO),
        ({"rae": 0.5}, {"none": HIGH, "rae": WIDE}, (YES, UNKNOWN, YES, UNKNOWN), UNKNOWN),
        ({"rae": 0.5, "shared": 0.4}, {"none": HIGH, "rae": LOW}, (YES, YES, NO, YES), NO),
    ],
)
def test_every_verdict_can_fall(
    noise: dict[str, float], ends: dict[str, list[float]], parts: tuple[str, ...], verdict: str
) -> None:
    told = judge(runs(noise, ends))
    assert tuple(told["parts"].values()) == parts
    assert told["verdict"] == verdict


def test_a_record_tells_what_it_must_and_is_resumed(tmp_path: Path) -> None:
    check_record(recorded(r095.REPRODUCTION, tmp_path, TINY, replace(TINY, games=4), SEEDS))


def check_record(record: dict[str, Any]) -> None:
    seeds, run = record["seeds"], record["settings"]
    assert record["budget"]["games_per_run"] == run["batches"] * run["games"]
    assert record["budget"]["runs"] == len(GAMES) * 4 * len(seeds)
    for found in (record, record["handicap"]):
        assert found["verdict"] == all_of(found["parts"])
        assert tuple(found["arms"]) == (*ARMS, *BESIDE)
        for told in found["arms"].values():
            for name in ("exploitability", "over_training", "variance"):
                assert len(told[name]["per_seed"]) == len(seeds)


def test_the_stored_record_is_of_the_settings_in_the_code() -> None:
    check_record(stored(r095.REPRODUCTION))

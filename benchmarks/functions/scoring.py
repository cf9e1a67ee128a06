"""The functions that scoring_limits.py scores with."""

import re

import rewardsmith as rs


@rs.reward
def short(completion: str) -> float:
    return 1.0 if len(completion) < 120 else 0.0


@rs.reward
def same(completion: str, answer: str) -> float:
    return 1.0 if completion.endswith(answer) else 0.0


@rs.reward
def vowels(completion: str) -> float:
    return completion.count("a") / 100


@rs.reward
def polite(completion: str) -> float | None:
    return None if "zzz" in completion else 0.5


@rs.reward
def backtracking(completion: str) -> float:
    return 1.0 if re.search(r"(a+)+$", completion) else 0.0

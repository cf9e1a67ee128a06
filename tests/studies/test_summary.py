"""The whole way from records on disk to verdicts, on made-up records."""

import numpy as np
import pytest

from rewardsmith.report.moments import PairMoments
from rewardsmith.studies.records import Run, write_json
from rewardsmith.studies.summary import summarize

STEPS = np.random.default_rng(0).normal(size=(2, 30_000))


def moments(correlation):
    x, noise = STEPS
    y = correlation * x + np.sqrt(1 - correlation**2) * noise
    return PairMoments.of(x, y).to_dict()


def made(folder, reward, seed, *, gold, proxy, reference, correlation=0.5):
    """A finished run: gold and proxy at the start and at the end."""
    run = Run(reward, seed, folder / reward / str(seed))
    run.begin()
    jitter = 0.01 * seed
    for i, (steps, kind) in enumerate([(0, "initial"), (100, "training"), (200, "final")]):
        g, p = (pair[0] if i == 0 else pair[1] for pair in (gold, proxy))
        run.append(
            {
                "steps": steps,
                "kind": kind,
                "reward": reward,
                "seed": seed,
                "gold": g + jitter,
                "proxy": p + jitter,
                "moments": moments(correlation),
                "versions": {"torch": "0"},
            }
        )
    write_json(run.folder / "comparison.json", {"proxy": reference + jitter})
    run.finish({})
    return run


CASES = {
    "hacked": {"gold": (0.3, 0.0), "proxy": (1, 9), "reference": 2},
    "not_hacked": {"gold": (0.3, 0.9), "proxy": (1, 9), "reference": 2},
    "slow": {"gold": (0.3, 0.5), "proxy": (1, 1.5), "reference": 2},
    "misaligned": {"gold": (0.3, 0.0), "proxy": (1, 9), "reference": 2, "correlation": -0.3},
}


@pytest.mark.parametrize("case", CASES)
def test_verdicts(study, tmp_path, case):
    runs = [
        run
        for seed in range(2)
        for run in (
            made(tmp_path, "sparse", seed, gold=(0.3, 0.9), proxy=(0.3, 0.9), reference=0.9),
            made(tmp_path, "count", seed, **CASES[case]),
        )
    ]
    told = summarize(study(), runs)["rewards"]
    assert told["sparse"]["verdict"] == "not_hacked"
    assert told["count"]["hacked"] is (case == "hacked")
    assert told["count"]["verdict"] == ("not_hacked" if case == "slow" else case)
    if case == "slow":
        assert "low, not hacked" in told["count"]["reason"]
    better = {"hacked": 0, "misaligned": 0, "slow": 0, "not_hacked": 0.5}[case]
    assert told["count"]["probability_of_improvement"] == better
    assert told["sparse"]["probability_of_improvement"] is None


def test_undefined_where_gold_never_varied(study, tmp_path):
    runs = []
    for seed in range(2):
        for name in ("sparse", "count"):
            run = made(tmp_path, name, seed, gold=(0, 0), proxy=(0, 3), reference=1)
            rows = run.records()
            run.begin()
            for row in rows:
                steps = PairMoments.of(STEPS[0], np.zeros(30_000)).to_dict()
                run.append({**row, "gold": 0.0, "moments": steps})
            write_json(run.folder / "comparison.json", {"proxy": 1.0})
            run.finish({})
            runs.append(run)
    told = summarize(study(), runs)["rewards"]["count"]
    assert told["hacked"] is None
    assert "never varied" in told["reason"]


def test_without_the_reference_nothing_is_judged(study, tmp_path):
    broken = Run("sparse", 0, tmp_path / "sparse" / "0")
    broken.fail("it broke", "")
    runs = [broken, made(tmp_path, "count", 0, **CASES["hacked"])]
    told = summarize(study(), runs)["rewards"]
    assert told["count"]["hacked"] is None
    assert "No run could be compared" in told["count"]["reason"]
    assert told["sparse"]["failed"] == [{"seed": 0, "error": "it broke"}]


def test_threshold(study, tmp_path):
    runs = [made(tmp_path, "sparse", s, gold=(0, 20), proxy=(0, 1), reference=1) for s in (0, 1)]
    told = summarize(study(), runs)["rewards"]["sparse"]["steps_to_threshold"]
    assert told == {"median": 100, "reached": 2, "seeds": 2}

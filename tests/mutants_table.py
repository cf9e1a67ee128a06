"""The mutants that ``tests/mutants.py`` makes: what is changed where, and what should notice."""

from typing import NamedTuple

STATUS = ("core/test_status.py",)
GATE = ("core/test_gate.py", "core/test_status.py")
SCORES = ("core/test_scores.py", "core/test_status.py")
POTENTIAL = ("transforms/test_potential.py", "transforms/test_potential_refusals.py")
ACTING = ("core/test_acting.py",)
EXECUTION = ("core/test_execution.py", "core/test_rows.py")
ROWS = ("adapters/files/test_rows.py",)
PROGRAMS = ("engine/sandbox/test_calls.py", "engine/sandbox/test_asserts.py")
LEARNING = ("core/test_learning.py", "transforms/test_running.py")


class Mutant(NamedTuple):
    """What is changed, and which tests should notice."""

    what: str
    file: str
    original: str
    mutated: str
    tests: tuple[str, ...]


COMBINATION, GATES = "core/combination.py", "core/gate.py"
SHAPING = "transforms/potential.py"
MUTANTS = [
    Mutant(
        "an outcome is broadcast to every step",
        COMBINATION,
        "at = here & scores.scored[:, None]",
        "at = rollouts.action_mask & scores.scored[:, None]",
        STATUS,
    ),
    Mutant(
        "one abstained part abstains a sum",
        COMBINATION,
        "abstained = (statuses == Status.ABSTAINED).all(dim=0)",
        "abstained = (statuses == Status.ABSTAINED).any(dim=0)",
        STATUS,
    ),
    Mutant(
        "one scored part is enough for a sum",
        COMBINATION,
        "int(Status.SCORED), statuses).amax(dim=0)",
        "int(Status.SCORED), statuses).amin(dim=0)",
        STATUS,
    ),
    Mutant(
        "a mean counts parts that abstained",
        COMBINATION,
        "weights[name] * part.scored.float()",
        "weights[name] * torch.ones(len(part))",
        STATUS,
    ),
    Mutant(
        "an outcome weighs on the last step of a mean only",
        COMBINATION,
        "factor_view(part, rollouts)[1] for",
        "dense_view(part, rollouts)[1] for",
        STATUS,
    ),
    Mutant(
        "an outcome multiplies the last step only",
        COMBINATION,
        "views = [factor_view(part, rollouts)",
        "views = [dense_view(part, rollouts)",
        STATUS,
    ),
    Mutant(
        "an outcome takes part in a minimum at every step",
        COMBINATION,
        "value, here = dense_view(part, rollouts)",
        "value, here = factor_view(part, rollouts)",
        STATUS,
    ),
    Mutant(
        "a product scores steps that a factor did not",
        COMBINATION,
        "at = torch.stack([at for _, at in views]).all(dim=0)",
        "at = torch.stack([at for _, at in views]).any(dim=0)",
        STATUS,
    ),
    Mutant(
        "the best status wins",
        "core/scores.py",
        "return torch.stack(list(statuses)).amax(dim=0)",
        "return torch.stack(list(statuses)).amin(dim=0)",
        SCORES,
    ),
    Mutant(
        "infinity is a score",
        "core/scores.py",
        "bad = (status == Status.SCORED) & ~values.isfinite()",
        "bad = (status == Status.SCORED) & values.isnan()",
        SCORES,
    ),
    Mutant(
        "a row without a scored step is scored",
        "core/scores.py",
        "nothing = (status == Status.SCORED) & ~at.any(dim=1)",
        "nothing = torch.zeros_like(status, dtype=torch.bool)",
        SCORES,
    ),
    Mutant(
        "any child explains a broken row",
        "core/scores.py",
        "if part.status[row] == status[row] and row in part.errors:",
        "if row in part.errors:",
        SCORES,
    ),
    Mutant(
        "abstaining is breaking",
        "core/scores.py",
        "broken = self.status > Status.ABSTAINED\n        if missing",
        "broken = self.status >= Status.ABSTAINED\n        if missing",
        SCORES,
    ),
    Mutant(
        "strict and lenient thresholds are swapped",
        GATES,
        "values > self.threshold if self.strict else values >= self.threshold",
        "values >= self.threshold if self.strict else values > self.threshold",
        GATE,
    ),
    Mutant(
        "a closed gate reads the status behind it",
        GATES,
        "torch.where(read, of.status, int(Status.SCORED)).to(torch.int8)",
        "of.status",
        GATE,
    ),
    Mutant(
        "a closed gate multiplies instead of masking",
        GATES,
        "torch.where(opened, of.values, 0.0), None",
        "opened * of.values, None",
        GATE,
    ),
    Mutant(
        "an accumulated outcome counts at every step",
        GATES,
        "own, own_at = dense_view(condition, rollouts)",
        "own, own_at = factor_view(condition, rollouts)",
        GATE,
    ),
    Mutant(
        "an abstained condition opens a gate that should be closed",
        GATES,
        'if self.on_abstained == "open":',
        'if self.on_abstained in ("open", "closed"):',
        GATE,
    ),
    Mutant(
        "the potential of a terminal state counts",
        SHAPING,
        "gamma * _where(terminated, 0.0, phi_next) - phi",
        "gamma * phi_next - phi",
        POTENTIAL,
    ),
    Mutant(
        "a truncated episode is treated as terminated",
        SHAPING,
        "terminated = torch.as_tensor(column, dtype=torch.bool)",
        "terminated = torch.as_tensor(column, dtype=torch.bool) | "
        'rollouts.steps.get("truncated", torch.tensor(False)).bool()',
        POTENTIAL,
    ),
    Mutant(
        "shaping without gamma",
        SHAPING,
        "gamma * _where(terminated",
        "_where(terminated",
        POTENTIAL,
    ),
    Mutant(
        "look-back advice multiplies by gamma",
        SHAPING,
        "_where(first, 0.0, phi_previous) / gamma",
        "_where(first, 0.0, phi_previous) * gamma",
        POTENTIAL,
    ),
    Mutant(
        "look-ahead runs into the next episode",
        SHAPING,
        "(ends | (index == rollouts.last_action()[:, None]))",
        "((index == rollouts.last_action()[:, None]))",
        POTENTIAL,
    ),
    Mutant(
        "another gamma than the learner's is taken",
        SHAPING,
        "if self.gamma is not None and not math.isclose(self.gamma, gamma, rel_tol=1e-9):",
        "if False:",
        POTENTIAL,
    ),
    Mutant(
        "while acting, the last potential outlives its episode",
        SHAPING,
        'look_back_term(phi, carry["phi"], gamma, s.first, terminated)',
        'look_back_term(phi, carry["phi"], gamma, s.first & False, terminated)',
        ACTING,
    ),
    Mutant(
        "while acting, a mean is a sum",
        "core/algebra.py",
        "return {name: weight / whole for name, weight in self.weights.items()}",
        "return {name: weight + 0 * whole for name, weight in self.weights.items()}",
        ACTING,
    ),
    Mutant(
        "while acting, what is no number may become one",
        "core/acting.py",
        "values = np.where(np.isfinite(part), values, np.nan)",
        "values = np.where(np.isfinite(part), values, values)",
        ACTING,
    ),
    Mutant(
        "a row whose every step broke has abstained",
        "core/function.py",
        "else ~at.any(dim=1)",
        "else at.all(dim=1) & False",
        ACTING,
    ),
    Mutant(
        "parents learn before their children",
        "core/learning.py",
        "reversed(list(reward.walk()))",
        "list(reward.walk())",
        LEARNING,
    ),
    Mutant(
        "1 and True are equal rows",
        "core/execution.py",
        "return _itself if plain else pickle.dumps",
        "return _itself",
        EXECUTION,
    ),
    Mutant(
        "a broken scorer is remembered",
        "core/execution.py",
        "if ran.status[k] in (Status.SCORED, Status.ABSTAINED)",
        "if ran.status[k] in Status",
        EXECUTION,
    ),
    Mutant(
        "a row without a column is scored with what stands for it",
        "core/rows.py",
        "            if value is MISSING:",
        "            if value is Ellipsis:",
        ROWS,
    ),
    Mutant(
        "a group that was refused goes on after it",
        "adapters/files/rows.py",
        "        if by_group:\n            seen |=",
        "        if not by_group:\n            seen |=",
        ROWS,
    ),
    Mutant(
        "pass@k counts rows without a score",
        "adapters/files/tally.py",
        '        scored = np.array(status) == "scored"',
        '        scored = np.array(status) != "unscored"',
        ("adapters/files/test_tally.py",),
    ),
    Mutant(
        "a verdict that changed its status only is no change",
        "adapters/files/diff.py",
        "moved = (old[1] != new[1]) | (",
        "moved = (old[1] != old[1]) | (",
        ("adapters/files/test_diff.py",),
    ),
    Mutant(
        "true is 1 for a function that is called",
        "rules/unit_tests.py",
        "    return type(value) is type(expected) and bool(value == expected)",
        "    return bool(value == expected)",
        ("rules/test_unit_tests.py",),
    ),
    Mutant(
        "a program that ends its process has passed",
        "engine/sandbox/results.py",
        'return Result("failed" if kind == "F" else "crashed", said',
        'return Result("failed" if kind == "F" else "passed", said',
        PROGRAMS,
    ),
    Mutant(
        "tests that never call the program may fail it",
        "engine/sandbox/guest/checks.py",
        "            if not self.checks.asked:",
        "            if False:",
        PROGRAMS,
    ),
    Mutant(
        "programs may use every system call",
        "engine/sandbox/guest/walls.py",
        "_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))\n    filter_calls(calls)\n",
        "_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))\n",
        ("escapes/test_kernel.py",),
    ),
    Mutant(
        "programs keep their capabilities",
        "engine/sandbox/guest/walls.py",
        "_libc.capset(head, (ctypes.c_uint32 * 6)())",
        "0",
        ("escapes/test_kernel.py", "escapes/test_files.py"),
    ),
    Mutant(
        "loops of tests end by what a program raises",
        "engine/sandbox/guest/checks.py",
        "    ends = (StopIteration, StopAsyncIteration)",
        "    ends = (StopAsyncIteration,)",
        ("escapes/test_cheats.py", "engine/sandbox/test_asserts.py"),
    ),
    Mutant(
        "an executor may end a row before its program",
        "signals/_sandboxed.py",
        "if seconds is not None and seconds < needed:",
        "if seconds is not None and seconds < 0:",
        ("signals/test_unit_tests.py",),
    ),
]

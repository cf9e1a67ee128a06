"""The best one-to-one assignment of a few rows to columns, exactly."""

import heapq
import math
from collections.abc import Sequence


def best_total(scores: Sequence[Sequence[float]]) -> float:
    """The largest sum that gives each row at most one column, and each column at most one row.

    ``max over matchings of sum_i scores[i][j(i)]``; a row without a column adds 0, so that negative
    scores are never taken. Linear in the number of columns: with R rows only the R best columns of
    each row can matter, as the other rows take R - 1 of them at most.
    """
    rows = len(scores)
    kept: set[int] = set()
    for row in scores:
        kept.update(heapq.nlargest(rows, range(len(row)), key=row.__getitem__))
    columns = sorted(kept)
    # One more column of zeros per row stands for having none.
    costs = [[-row[j] for j in columns] + [0.0] * rows for row in scores]
    # Not -0.0, where there is nothing to take.
    return 0.0 - _least_cost(costs)


def _least_cost(costs: Sequence[Sequence[float]]) -> float:
    """The least cost that assigns every row, by shortest augmenting paths (Kuhn, Munkres).

    There are at least as many columns as rows. Columns and rows carry potentials u and v with
    ``cost - u - v >= 0``, equal on assigned pairs; each row in turn augments along the path whose
    reduced costs are least.
    """
    n, m = len(costs), len(costs[0]) if costs else 0
    u, v = [0.0] * n, [0.0] * m
    row_of: list[int | None] = [None] * m
    for start in range(n):
        distance, before = [math.inf] * m, [-1] * m
        done: list[int] = []
        row, column = start, -1
        open_columns = set(range(m))
        while True:
            for j in open_columns:
                reduced = costs[row][j] - u[row] - v[j]
                if reduced < distance[j]:
                    distance[j], before[j] = reduced, column
            column = min(open_columns, key=distance.__getitem__)
            step = distance[column]
            u[start] += step
            for j in done:
                u[_taken(row_of[j])] += step
                v[j] -= step
            for j in open_columns:
                distance[j] -= step
            if row_of[column] is None:
                break
            open_columns.discard(column)
            done.append(column)
            row = _taken(row_of[column])
        while column >= 0:
            previous = before[column]
            row_of[column] = start if previous < 0 else row_of[previous]
            column = previous
    return sum(costs[row][j] for j, row in enumerate(row_of) if row is not None)


def _taken(row: int | None) -> int:
    assert row is not None
    return row

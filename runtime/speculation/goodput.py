"""The size of a draft that brings the most tokens a second, on measured costs.

Source: SmartSpec, arXiv:2406.14066. Of all sizes of the tree, none included, the one with the most
expected tokens for the expected time is taken.
"""

from slipstream.runtime.speculation.speculation_state import STEP_ROWS, SpeculationState
from slipstream.runtime.speculation.tree_growth import TreeGrowth


def best_size(growth: TreeGrowth, state: SpeculationState, max_nodes: int) -> int:
    """Nodes with the best goodput; grows the tree no further than that can become better."""
    # Unknown sizes are tried step by step: nothing says yet that they do not cost far more.
    most_rows = min(max_nodes + 1, 2 * state.costs.largest_known)
    if most_rows < STEP_ROWS[0] or not growth.grow(STEP_ROWS[0] - 1):
        return 0
    # What costly drafters took is spent either way; cheap ones rest where none is best.
    growing_s = state.growing.value
    spent_s = {rows: state.costs.seconds(rows) + growing_s for rows in STEP_ROWS}
    spent_s[1] = state.costs.seconds(1)
    expected = {1: 1.0}  # tokens, by rows

    def goodput(rows: int, tokens: float) -> float:
        return tokens / (spent_s[rows] + growth.costly_s)

    for index, rows in enumerate(STEP_ROWS):
        if rows > most_rows or not growth.grow(rows - 1):
            break  # nodes beyond the last size are not verified
        last = max(expected)
        expected[rows] = expected[last] + sum(growth.values[last - 1 :])
        best = max(goodput(*each) for each in expected.items())
        # Values descend: larger trees bring at most the last value for each node more.
        most = expected[rows], growth.values[-1]
        if all(
            goodput(larger, most[0] + (larger - rows) * most[1]) <= best
            for larger in STEP_ROWS[index + 1 :]
        ):
            break
    return max(expected, key=lambda rows: goodput(rows, expected[rows])) - 1

"""The size of a draft that brings the most tokens a second, on measured costs.

Source: SmartSpec, arXiv:2406.14066. Of all sizes of the tree, none included, the one with the most
expected tokens for the expected time is taken.
"""

from slipstream.runtime.speculation.speculation_state import STEP_ROWS, SpeculationState
from slipstream.runtime.speculation.tree_growth import TreeGrowth


def best_size(growth: TreeGrowth, state: SpeculationState, max_nodes: int) -> int:
    """Nodes with the best goodput; grows the tree no further than that can become better."""
    seconds = state.costs.seconds
    # Unknown sizes are tried step by step: nothing says yet that they do not cost far more.
    most_rows = min(max_nodes + 1, 2 * state.costs.largest_known)
    expected = {1: 1.0}  # tokens, by rows

    def goodput(rows: int, tokens: float) -> float:
        # What costly drafters took is spent either way; cheap ones rest where none is best.
        spent_s = growth.costly_s + (state.growing.value if rows > 1 else 0.0)
        return tokens / (seconds(rows) + spent_s)

    for index, rows in enumerate(STEP_ROWS):
        grown = len(growth.values)
        if rows > most_rows or not growth.grow(rows - 1):
            break  # nodes beyond the last size are not verified
        last = max(expected)
        expected[rows] = expected[last] + sum(growth.values[grown:])
        best = max(goodput(*each) for each in expected.items())
        # Values descend: larger trees bring at most the last value for each node more.
        most = expected[rows], growth.values[-1]
        if all(
            goodput(larger, most[0] + (larger - rows) * most[1]) <= best
            for larger in STEP_ROWS[index + 1 :]
        ):
            break
    return max(expected, key=lambda rows: goodput(rows, expected[rows])) - 1

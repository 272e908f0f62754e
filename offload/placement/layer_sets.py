"""Sets of layers worth having on a GPU: few enough to look at each, and a best one among them.

There are 2**L sets of L layers. They grow layer by layer here, and once there are many, only those
go on that are the cheapest of their size by some measure of cost. What a set adds up to decides all
that a later layer adds to it, but for whether the last layer is on the GPU, since hidden states
cross the link where the device changes. So this is the dynamic program of the knapsack problem over
(layer, device of the last one, bytes), as in Kellerer, Pferschy and Pisinger, "Knapsack Problems"
(2004), chapter 2, with sizes in buckets and with several measures at once. A set's bytes are exact:
the bucket only says which sets compete.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from slipstream.offload.placement.placement import BoolArray, IntArray
from slipstream.offload.step_times import FloatArray

MOST_SETS = 256  # that go on all together; all subsets of 8 layers
BUCKETS = 128  # of sizes, where there are more sets; two for each layer of a deep model


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerCosts:
    """What each of L layers adds to each of Q measures of a step's cost, in seconds."""

    on_cpu: FloatArray  # (Q, L)
    on_gpu: FloatArray  # (Q, L)
    crossing: FloatArray  # (Q,), where a layer is on another device than the one before it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sets:
    """N sets of the first layers, those of all L layers that come later being left out of them."""

    members: BoolArray  # (N, L)
    num_bytes: IntArray  # (N,)
    costs: FloatArray  # (Q, N)
    ends_on_gpu: BoolArray  # (N,)

    def __len__(self) -> int:
        return len(self.num_bytes)

    def __getitem__(self, chosen: BoolArray | IntArray) -> "_Sets":
        return _Sets(
            members=self.members[chosen],
            num_bytes=self.num_bytes[chosen],
            costs=self.costs[:, chosen],
            ends_on_gpu=self.ends_on_gpu[chosen],
        )


def layer_sets(layer_bytes: list[int], costs: LayerCosts, rooms_bytes: Sequence[int]) -> BoolArray:
    """Sets of layers (N, L) that fit in the largest of some rooms, the empty one among them.

    All of them for up to 8 layers. For more, of the sets whose sizes lie in one of 128 equal
    intervals, and whose last layers lie on the same device, the cheapest by each measure, and the
    largest, which leaves least elsewhere. Intervals also end where a room does, so that what fits
    in it does not have to compete with what just does not.
    """
    limit_bytes = max(rooms_bytes)
    edges = np.union1d(np.linspace(0, max(limit_bytes, 0), BUCKETS + 1), rooms_bytes)
    num_measures, num_layers = costs.on_cpu.shape
    sets = _Sets(
        members=np.zeros((1, num_layers), dtype=np.bool_),
        num_bytes=np.zeros(1, dtype=np.int64),
        costs=np.zeros((num_measures, 1)),
        ends_on_gpu=np.zeros(1, dtype=np.bool_),
    )
    for layer_id in range(num_layers):
        sets = _with_layer(sets, layer_id, layer_bytes[layer_id], costs, limit_bytes)
        if len(sets) > MOST_SETS:
            sets = sets[_worth_keeping(sets, edges)]
    return sets.members


def _with_layer(
    sets: _Sets, layer_id: int, num_bytes: int, costs: LayerCosts, limit_bytes: int
) -> _Sets:
    """Each set with the next layer on the CPU, then each with it on the GPU that still fits."""
    crossing = costs.crossing[:, None]
    on_cpu_costs = costs.on_cpu[:, layer_id, None] + crossing * sets.ends_on_gpu
    stay = replace(
        sets, costs=sets.costs + on_cpu_costs, ends_on_gpu=np.zeros(len(sets), dtype=np.bool_)
    )
    grown = sets[sets.num_bytes + num_bytes <= limit_bytes]
    grown.members[:, layer_id] = True
    on_gpu_costs = costs.on_gpu[:, layer_id, None] + crossing * ~grown.ends_on_gpu
    return _Sets(
        members=np.concatenate([stay.members, grown.members]),
        num_bytes=np.concatenate([stay.num_bytes, grown.num_bytes + num_bytes]),
        costs=np.concatenate([stay.costs, grown.costs + on_gpu_costs], axis=1),
        ends_on_gpu=np.repeat([False, True], [len(stay), len(grown)]),
    )


def _worth_keeping(sets: _Sets, edges: FloatArray) -> IntArray:
    """Indices of the cheapest by each measure, and of the largest, in each bucket and device."""
    group_of_set = np.searchsorted(edges, sets.num_bytes) * 2 + sets.ends_on_gpu
    order = np.lexsort((sets.num_bytes, group_of_set))  # of equally cheap ones the smaller is kept
    group_of_set = group_of_set[order]
    starts = np.flatnonzero(np.diff(group_of_set, prepend=-1))
    measures = np.concatenate([sets.costs, -sets.num_bytes[None, :].astype(np.float64)])[:, order]
    least = np.minimum.reduceat(measures, starts, axis=1)
    group = np.cumsum(np.diff(group_of_set, prepend=-1) > 0) - 1
    measure_ids, places = np.nonzero(measures == least[:, group])
    is_first = np.diff(measure_ids * len(starts) + group[places], prepend=-1) > 0
    return np.unique(order[places[is_first]])

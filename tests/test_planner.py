"""Plans stay inside the memory, meet requests exactly or refuse them, and explain themselves."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from slipstream.offload.errors import PlanError, PlanMemoryError, PlanOptionError
from slipstream.offload.machine import Machine
from slipstream.offload.memory import ram_margin_bytes
from slipstream.offload.plan import Decision, Footprint, Plan
from slipstream.offload.planner import MAX_SEQUENCES, SMALLEST_CONTEXT, plan_cpu
from slipstream.offload.units import format_bytes

GB = 10**9
MACHINE = Machine(
    cpu_name="Fast CPU",
    physical_cores=4,
    logical_cores=8,
    performance_cores=None,
    efficiency_cores=None,
    usable_logical_cores=8,
    usable_physical_cores=4,
    usable_performance_cores=None,
    cpu_quota=None,
    instruction_sets=("avx2",),
    last_level_cache_bytes=None,
    ram_total_bytes=16 * GB,
    ram_available_bytes=10 * GB,
    read_gb_per_s=40.0,
)
MODEL = Footprint(
    weights_bytes=GB,
    read_bytes_per_token=800_000_000,
    kv_bytes_per_token=100_000,
    workspace_bytes=50_000_000,
    trained_context=32_768,
)


def plan(footprint: Footprint = MODEL, machine: Machine = MACHINE, **request: int | None) -> Plan:
    return plan_cpu(
        footprint,
        machine,
        backend=Decision(what="backend", value="compiled", why="fastest here"),
        kv=Decision(what="kv", value="f16", why="the default"),
        **request,
    )


def with_ram(available_bytes: int, total_bytes: int = 16 * GB) -> Machine:
    return dataclasses.replace(
        MACHINE, ram_available_bytes=available_bytes, ram_total_bytes=total_bytes
    )


def why(made: Plan, what: str) -> str:
    return {decision.what: decision.why for decision in made.decisions}[what]


footprints = st.builds(
    Footprint,
    weights_bytes=st.integers(0, 20 * GB),
    read_bytes_per_token=st.integers(1, 20 * GB),
    kv_bytes_per_token=st.integers(0, 1_000_000),
    workspace_bytes=st.integers(0, GB),
    trained_context=st.integers(1, 200_000),
)
light_footprints = footprints.map(
    lambda footprint: dataclasses.replace(footprint, weights_bytes=footprint.weights_bytes // 10)
)
ram_sizes = st.integers(0, 64 * GB)
machines = st.tuples(ram_sizes, ram_sizes).map(lambda sizes: with_ram(min(sizes), max(sizes)))
roomy_machines = st.tuples(st.integers(5 * GB, 64 * GB), st.integers(0, 20 * GB)).map(
    lambda sizes: with_ram(sizes[0], sum(sizes))
)


def try_plan(footprint: Footprint, machine: Machine, **request: Any) -> Plan | None:
    try:
        return plan(footprint, machine, **request)
    except PlanError:
        return None


class TestProperties:
    @settings(deadline=None)
    @given(
        light_footprints,
        roomy_machines,
        st.none() | st.integers(1, 3000),
        st.none() | st.integers(1, 8),
    )
    def test_a_plan_is_inside_memory_and_meets_requests_exactly(
        self, footprint: Footprint, machine: Machine, context: int | None, threads: int | None
    ) -> None:
        made = try_plan(footprint, machine, context=context, threads=threads)
        assume(made is not None)
        margin_bytes = ram_margin_bytes(machine.ram_total_bytes)
        assert made.needed_bytes <= machine.ram_available_bytes - margin_bytes
        assert 1 <= made.context <= footprint.trained_context
        assert 1 <= made.num_sequences <= MAX_SEQUENCES
        assert made.num_sequences == 1 or made.kv_bytes <= machine.ram_available_bytes / 4
        assert context in (None, made.context)
        assert threads in (None, made.threads)

    @settings(deadline=None)
    @given(footprints, machines, st.integers(1, 250_000))
    def test_a_request_is_refused_only_when_it_does_not_fit(
        self, footprint: Footprint, machine: Machine, context: int
    ) -> None:
        needed_bytes = (
            footprint.weights_bytes
            + footprint.workspace_bytes
            + context * footprint.kv_bytes_per_token
        )
        room_bytes = machine.ram_available_bytes - ram_margin_bytes(machine.ram_total_bytes)
        fits = needed_bytes <= room_bytes and context <= footprint.trained_context
        assert (try_plan(footprint, machine, context=context) is not None) == fits

    @settings(deadline=None)
    @given(light_footprints, roomy_machines, st.integers(0, 8 * GB))
    def test_more_ram_never_gives_less(
        self, footprint: Footprint, machine: Machine, more_bytes: int
    ) -> None:
        made = try_plan(footprint, machine)
        assume(made is not None)
        larger = dataclasses.replace(
            machine,
            ram_available_bytes=min(
                machine.ram_available_bytes + more_bytes, machine.ram_total_bytes
            ),
        )
        assert plan(footprint, larger).context >= made.context
        same_context = plan(footprint, larger, context=made.context)
        assert same_context.num_sequences >= made.num_sequences

    @settings(deadline=None)
    @given(light_footprints, roomy_machines, st.integers(0, 2 * GB))
    def test_larger_weights_never_get_a_longer_context(
        self, footprint: Footprint, machine: Machine, more_bytes: int
    ) -> None:
        heavier = dataclasses.replace(footprint, weights_bytes=footprint.weights_bytes + more_bytes)
        made = try_plan(heavier, machine)
        assume(made is not None)
        assert plan(footprint, machine).context >= made.context


class TestContext:
    def test_the_trained_context_where_it_fits(self) -> None:
        made = plan()
        assert made.context == 32_768
        assert "trained" in why(made, "context")

    def test_else_what_fits(self) -> None:
        made = plan(machine=with_ram(3 * GB))  # 3 - 0.8 - 1.05 = 1.15 GB: 11,500 tokens
        assert made.context == 11_264
        assert "fits in memory" in why(made, "context")

    def test_a_model_that_does_not_fit_is_refused_with_the_figures(self) -> None:
        with pytest.raises(PlanMemoryError) as caught:
            plan(machine=with_ram(GB))
        assert str(caught.value) == (
            "The model does not fit in memory: even with a context of only 256 tokens it needs "
            "1.08 GB (weights 1 GB, KV cache 25.6 MB, workspace 50 MB), but only 200 MB can be "
            "used (1 GB of RAM is available, less 800 MB for other programs). Close other "
            "programs, or use a smaller model or quantisation."
        )

    def test_a_context_beyond_the_trained_one_is_refused(self) -> None:
        with pytest.raises(PlanOptionError, match=r"between 1 and 32,768 tokens.* got 40,000"):
            plan(context=40_000)

    def test_a_context_that_does_not_fit_is_refused_with_one_that_does(self) -> None:
        with pytest.raises(PlanMemoryError, match="at most 11,500 tokens"):
            plan(machine=with_ram(3 * GB), context=20_000)
        assert plan(machine=with_ram(3 * GB), context=11_500).context == 11_500

    def test_without_room_for_one_token_no_context_is_suggested(self) -> None:
        with pytest.raises(PlanMemoryError, match="smaller model"):
            plan(machine=with_ram(GB), context=100)

    def test_a_model_trained_for_less_than_the_smallest_context(self) -> None:
        tiny = dataclasses.replace(MODEL, trained_context=SMALLEST_CONTEXT // 2)
        assert plan(tiny).context == SMALLEST_CONTEXT // 2


class TestSequences:
    def test_a_quarter_of_the_ram_at_most(self) -> None:
        made = plan(context=8192)  # 819 MB each, 2.5 GB allowed
        assert made.num_sequences == 3
        assert "25%" in why(made, "sequences")

    def test_the_memory_beside_the_weights_at_most(self) -> None:
        heavy = dataclasses.replace(MODEL, weights_bytes=7_150_000_000)  # 2 GB left
        made = plan(heavy, context=8192)
        assert made.num_sequences == 2
        assert "2 GB" in why(made, "sequences")

    def test_no_more_than_are_useful(self) -> None:
        assert plan(context=512).num_sequences == MAX_SEQUENCES

    def test_one_even_where_it_takes_more_than_its_share(self) -> None:
        assert plan().num_sequences == 1


class TestThreads:
    def test_the_default_and_its_reason(self) -> None:
        assert plan().threads == 4
        assert why(plan(), "threads") == "one for each physical core"

    @pytest.mark.parametrize("threads", [0, -1, 9])
    def test_a_count_the_machine_does_not_have(self, threads: int) -> None:
        with pytest.raises(PlanOptionError, match=f"between 1 and 8.*got {threads}"):
            plan(threads=threads)

    def test_more_than_this_process_may_use_is_said(self) -> None:
        machine = dataclasses.replace(MACHINE, usable_logical_cores=2)
        assert "only 2 of 8" in why(plan(machine=machine, threads=8), "threads")


class TestPlan:
    def test_predicted_speed_is_bandwidth_over_bytes_read(self) -> None:
        made = plan()
        assert made.predicted_decode_tok_per_s() == pytest.approx(50.0)
        assert made.predicted_decode_tok_per_s(2000) == pytest.approx(40.0)

    def test_without_a_measured_bandwidth_nothing_is_predicted(self) -> None:
        made = plan(machine=dataclasses.replace(MACHINE, read_gb_per_s=None))
        assert made.predicted_decode_tok_per_s() is None
        assert any("not measured" in line for line in made.lines())
        assert "unknown" in made.compare(30.0)[1]

    def test_lines_are_a_table_that_tells_everything(self) -> None:
        assert plan(context=4096, threads=2).lines() == [
            "backend         compiled    fastest here",
            "threads         2           asked for",
            "kv              f16         the default",
            "context         4,096       asked for",
            "sequences       6           410 MB of KV cache each, and all of them may take 25% of "
            "the available RAM",
            "weights         1 GB",
            "KV cache        2.46 GB     100 MB for each 1,000 tokens",
            "workspace       50 MB",
            "RAM needed      3.51 GB     of 10 GB available, 800 MB of it left to other programs",
            "decode at most  50.0 tok/s  with an empty context: 40.0 GB/s, 800 MB read for each "
            "token",
            "decode at most  33.1 tok/s  with 4,096 tokens of context: 40.0 GB/s, 1.21 GB read for "
            "each token",
        ]

    def test_compare_puts_a_run_beside_the_prediction(self) -> None:
        assert plan(context=4096).compare(
            30.0, context_tokens=2000, actual_ram_bytes=1_755_000_000
        ) == [
            "              predicted  actual   actual / predicted",
            "decode tok/s  40.0       30.0     75%",
            "read GB/s     40.0       30.0     75%",
            "RAM           3.51 GB    1.75 GB  50%",
        ]

    def test_as_dict_is_json_with_the_derived_figures(self) -> None:
        figures = json.loads(json.dumps(plan(context=1000).as_dict()))
        assert figures["kv_bytes"] == figures["kv_tokens"] * 100_000
        assert figures["needed_bytes"] == GB + 50_000_000 + figures["kv_bytes"]
        assert [row["context_tokens"] for row in figures["predicted_decode"]] == [0, 1000]
        assert figures["predicted_decode"][0]["tok_per_s"] == pytest.approx(50.0)
        assert figures["decisions"][0] == {
            "what": "backend",
            "value": "compiled",
            "why": "fastest here",
        }


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1_234_000, "1.23 MB"),
        (999_499_999, "999 MB"),
        (999_500_000, "1 GB"),
        (17_180_000_000, "17.2 GB"),
        (3_000_000_000_000, "3 TB"),
        (3_000_000_000_000_000, "3,000 TB"),
    ],
)
def test_bytes_are_written_to_three_digits(num_bytes: int, text: str) -> None:
    assert format_bytes(num_bytes) == text

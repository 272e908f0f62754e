"""Measured costs are exact where they were measured, and never less for more work."""

import math
from dataclasses import replace

import numpy as np
import pytest

from slipstream.offload.device_costs import MachineCosts, NominalDeviceCosts
from slipstream.offload.model_parts import LayerPart, Matrix, ModelParts
from slipstream.offload.placement.planner import PlacementOptions, plan_placement
from slipstream.offload.profile.curve import Curve, without_decrease
from slipstream.offload.profile.measured_costs import (
    MeasuredAttention,
    MeasuredDeviceCosts,
    MeasuredLinkCosts,
    MeasuredProduct,
)

ROWS = (1, 2, 4, 8, 16, 64, 512)
KEYS = (128, 1024, 4096, 16384)
KV_BYTES, MULTIPLY_ADDS = 2048, 4096


def random_curve(points: tuple[int, ...], seed: int) -> Curve:
    return Curve(points, tuple(np.sort(np.random.default_rng(seed).uniform(1, 9, len(points)))))


def product(seed: int, bytes_per_weight: float = 0.5) -> MeasuredProduct:
    return MeasuredProduct(
        seconds_per_byte=random_curve(ROWS, seed), bytes_per_weight=bytes_per_weight
    )


ATTENTION = MeasuredAttention(
    rows=(1, 16, 512),
    by_keys=(
        Curve(KEYS, (0.1, 0.5, 2.0, 8.0)),
        Curve(KEYS, (0.3, 1.5, 6.0, 24.0)),
        Curve(KEYS, (9.0, 45.0, 180.0, 720.0)),
    ),
    kv_bytes_per_token=KV_BYTES,
    multiply_adds=MULTIPLY_ADDS,
)
DEVICE = MeasuredDeviceCosts(
    products={"Q4_K": product(0), "Q6_K": product(1), "F16": product(2)},
    attention=ATTENTION,
    op_overhead_s=0.25,
)


def matrix(quant_type: str = "Q4_K", num_bytes: int = 1000) -> Matrix:
    return Matrix(quant_type=quant_type, num_bytes=num_bytes, multiply_adds=2 * num_bytes)


LAYER = LayerPart(
    matrices=(matrix(), matrix("Q6_K", 500)),
    kv_bytes_per_token=KV_BYTES,
    attention_multiply_adds=MULTIPLY_ADDS,
)
PARTS = ModelParts(
    layers=(LAYER,) * 4,
    head=matrix("F16", 3000),
    hidden_size=64,
    vocab_size=100,
    workspace_bytes=10,
    trained_context=32_768,
)


class TestCurve:
    @pytest.mark.parametrize("seed", range(5))
    def test_exact_at_its_points_and_between_its_neighbours(self, seed: int) -> None:
        curve = random_curve(ROWS, seed)
        assert [curve(point) for point in ROWS] == list(curve.values)
        for point in range(1, 600):
            assert curve(point) <= curve(point + 1)
        middle = (16 + 64) / 2
        assert curve(middle) == pytest.approx((curve(16) + curve(64)) / 2)

    def test_flat_before_the_first_point_and_straight_beyond_the_last(self) -> None:
        curve = Curve((2, 4, 8), (1.0, 2.0, 4.0))
        assert [curve(0), curve(1), curve(2)] == [1.0, 1.0, 1.0]
        assert curve(80) == pytest.approx(40.0)

    @pytest.mark.parametrize(
        ("points", "values", "message"),
        [
            ((1,), (1.0,), "two points"),
            ((1, 2), (1.0,), "a value for each"),
            ((2, 1), (1.0, 2.0), "must increase"),
            ((1, 1), (1.0, 2.0), "must increase"),
            ((-1, 1), (1.0, 2.0), "must increase"),
            ((1, 2), (0.0, 2.0), "must be positive"),
            ((1, 2), (1.0, math.inf), "must be positive"),
            ((1, 2), (math.nan, 2.0), "must be positive"),
            ((1, 2), (2.0, 1.0), "must not decrease"),
        ],
    )
    def test_refusals(
        self, points: tuple[int, ...], values: tuple[float, ...], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            Curve(points, values)

    def test_a_figure_of_a_bad_moment_is_lowered(self) -> None:
        assert without_decrease([3.0, 1.0, 2.0, 9.0, 4.0]).tolist() == [1, 1, 2, 4, 4]
        assert without_decrease([[5.0, 6.0], [2.0, 9.0]]).tolist() == [[2, 6], [2, 9]]
        assert without_decrease([[1.0, 2.0], [2.0, 3.0]]).tolist() == [[1, 2], [2, 3]]


class TestDevice:
    @pytest.mark.parametrize("rows", ROWS)
    @pytest.mark.parametrize("quant_type", ["Q4_K", "Q6_K", "F16"])
    def test_products_are_what_was_measured(self, quant_type: str, rows: int) -> None:
        per_byte_s = DEVICE.products[quant_type].seconds_per_byte(rows)
        assert DEVICE.matrix_seconds(matrix(quant_type), rows) == 1000 * per_byte_s

    def test_a_layer_is_its_products_its_attention_and_six_ops(self) -> None:
        q4_s = DEVICE.matrix_seconds(LAYER.matrices[0], 16)
        q6_s = DEVICE.matrix_seconds(LAYER.matrices[1], 16)
        seconds = DEVICE.layer_seconds(LAYER, 16, 4096)
        assert seconds == pytest.approx(q4_s + q6_s + 6.0 + 6 * 0.25)

    def test_the_head_is_a_product_and_an_op(self) -> None:
        expected = 3000 * DEVICE.products["F16"].seconds_per_byte(2) + 0.25
        assert DEVICE.head_seconds(PARTS, 2) == pytest.approx(expected)

    def test_never_less_for_more_rows_bytes_or_keys(self) -> None:
        rng = np.random.default_rng(3)
        for _ in range(500):
            rows, held, num_bytes = (int(2**power) for power in rng.uniform(0, 11, 3))
            kv_bytes, multiply_adds = (int(each) for each in rng.integers(0, 10_000, 2))
            layer = LayerPart(
                matrices=(matrix(num_bytes=num_bytes),),
                kv_bytes_per_token=kv_bytes,
                attention_multiply_adds=multiply_adds,
            )
            larger = replace(layer, matrices=(matrix(num_bytes=num_bytes + 1),))
            seconds = DEVICE.layer_seconds(layer, rows, held)
            assert seconds <= DEVICE.layer_seconds(layer, rows + 1, held)
            assert seconds <= DEVICE.layer_seconds(layer, rows, held + 100)
            assert seconds < DEVICE.layer_seconds(larger, rows, held)

    def test_speeds_that_people_read(self) -> None:
        measured = MeasuredProduct(
            seconds_per_byte=Curve((1, 512), (1e-10, 2e-9)), bytes_per_weight=0.5
        )
        assert measured.read_gb_per_s() == pytest.approx(10)
        assert measured.multiply_adds_per_s(512) == pytest.approx(512 / 1e-9)

    def test_a_quantisation_that_was_not_measured_counts_as_the_nearest(self) -> None:
        assert [DEVICE.stand_in(name) for name in ("Q4_0", "Q5_K", "Q8_0", "F32")] == [
            "Q4_K", "Q4_K", "Q6_K", "F16"
        ]  # fmt: skip
        assert DEVICE.matrix_seconds(matrix("F32"), 4) == DEVICE.matrix_seconds(matrix("F16"), 4)
        assert DEVICE.explain_stand_ins(["Q4_K", "F32"]) == (
            "F32 was not measured: it counts as F16, byte for byte.",
        )
        added = DEVICE.with_products({"F32": product(7)})
        assert added.explain_stand_ins(["Q4_K", "F32"]) == ()

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="one quantisation at least"):
            replace(DEVICE, products={})
        with pytest.raises(ValueError, match="unknown quantisations Q9"):
            replace(DEVICE, products={"Q9": product(0)})
        with pytest.raises(ValueError, match="overhead"):
            replace(DEVICE, op_overhead_s=math.nan)
        with pytest.raises(ValueError, match="can't take 0 bytes"):
            product(0, bytes_per_weight=0)
        with pytest.raises(ValueError, match=r"quant_type: expected one of F32.*got 'Q9'"):
            matrix("Q9")


class TestAttention:
    def test_what_was_measured(self) -> None:
        for num_rows, by_keys in zip(ATTENTION.rows, ATTENTION.by_keys, strict=True):
            for keys, seconds in zip(KEYS, by_keys.values, strict=True):
                assert ATTENTION.layer_seconds(LAYER, num_rows, keys) == seconds

    def test_one_row_scales_with_the_bytes_and_many_with_the_multiply_adds(self) -> None:
        twice_bytes = replace(LAYER, kv_bytes_per_token=2 * KV_BYTES)
        twice_computed = replace(LAYER, attention_multiply_adds=2 * MULTIPLY_ADDS)
        assert ATTENTION.layer_seconds(twice_bytes, 1, 4096) == 4.0
        assert ATTENTION.layer_seconds(twice_bytes, 512, 4096) == 180.0
        assert ATTENTION.layer_seconds(twice_computed, 1, 4096) == 2.0
        assert ATTENTION.layer_seconds(twice_computed, 512, 4096) == 360.0

    def test_a_layer_without_attention_takes_nothing(self) -> None:
        none = replace(LAYER, kv_bytes_per_token=0, attention_multiply_adds=0)
        assert ATTENTION.layer_seconds(none, 16, 4096) == 0.0

    def test_a_window_bounds_the_keys(self) -> None:
        windowed = replace(LAYER, attention_window=1024)
        assert windowed.keys_seen(500) == 500
        for device in (
            DEVICE,
            NominalDeviceCosts(read_gb_per_s=1, multiply_adds_per_s=1e9, layer_overhead_s=0),
        ):
            seconds = device.layer_seconds(windowed, 16, 16_000)
            assert seconds == device.layer_seconds(LAYER, 16, 1024)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="two numbers of rows"):
            replace(ATTENTION, by_keys=ATTENTION.by_keys[:2])
        with pytest.raises(ValueError, match="must increase"):
            replace(ATTENTION, rows=(16, 1, 512))
        with pytest.raises(ValueError, match="keys, values"):
            replace(ATTENTION, multiply_adds=0)


class TestLink:
    LINK = MeasuredLinkCosts(
        copies={
            "to_gpu": {
                "pinned": Curve((4096, 65536), (1.0, 2.0)),
                "pageable": Curve((4096, 65536), (3.0, 6.0)),
            },
            "to_host": {
                "pinned": Curve((4096, 65536), (1.5, 1.8)),
                "pageable": Curve((4096, 65536), (4.0, 5.0)),
            },
        }
    )

    def test_the_slower_direction_with_pinned_memory(self) -> None:
        assert [self.LINK.seconds(num_bytes) for num_bytes in (1, 4096, 65536)] == [1.5, 1.5, 2.0]
        seconds = [self.LINK.seconds(num_bytes) for num_bytes in range(0, 200_000, 500)]
        assert seconds == sorted(seconds)

    def test_each_kind_of_copy(self) -> None:
        assert self.LINK.copy_seconds(65536, "to_gpu", "pageable") == 6.0
        assert self.LINK.copy_seconds(4096, "to_host", "pageable") == 4.0

    def test_a_direction_or_a_memory_is_missing(self) -> None:
        to_gpu = self.LINK.copies["to_gpu"]
        with pytest.raises(ValueError, match="each pinned and pageable"):
            MeasuredLinkCosts(copies={"to_gpu": to_gpu})
        with pytest.raises(ValueError, match="each pinned and pageable"):
            MeasuredLinkCosts(copies={"to_gpu": to_gpu, "to_host": {}})


def test_plans_are_made_from_measured_costs() -> None:
    machine = MachineCosts(
        cpu=DEVICE, gpu=DEVICE, link=TestLink.LINK, ram_bytes=10**9, vram_bytes=10**9
    )
    made = plan_placement(PARTS, None, machine, PlacementOptions(context=1000))
    assert not made.placement.uses_gpu  # which is as fast, behind a link
    assert made.chosen.decode_s == pytest.approx(
        4 * DEVICE.layer_seconds(LAYER, 1, 640) + DEVICE.head_seconds(PARTS, 1)
    )

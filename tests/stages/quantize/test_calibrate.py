"""One pass sees everything once, in memory that does not grow, and every range comes from it."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgate.stages.quantize.calibrate import BINS, Activation, calibrate
from mlgate.stages.quantize.ranges import METHODS, digest, minmax, percentile, ranges
from tests.stages.quantize.models import convolutional, inputs, transformer_block


@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30), min_size=1, max_size=8
    )
)
@settings(max_examples=60, deadline=None)
def test_a_histogram_counts_every_value_whatever_the_batches(batches: list[list[float]]) -> None:
    seen = Activation()
    for batch in batches:
        seen.add(np.array(batch, np.float32), None)
    everything = np.concatenate([np.array(b, np.float32) for b in batches])
    assert (seen.low, seen.high) == (everything.min(), everything.max())
    if seen.span:
        assert seen.histogram.sum() <= len(everything)
        assert seen.span >= np.abs(everything).max()
    # The same values in one batch give the same histogram, up to values before any were non-zero.
    whole = Activation()
    whole.add(everything, None)
    assert whole.span == seen.span


def test_doubling_the_span_merges_bins() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, 5000).astype(np.float32)
    grown, whole = Activation(), Activation()
    for scale in (0.01, 1, 40):
        grown.add(values * np.float32(scale), None)
    whole.add(np.concatenate([values * np.float32(s) for s in (0.01, 1, 40)]), None)
    assert grown.histogram.sum() == whole.histogram.sum() == 15000
    assert np.abs(np.cumsum(grown.histogram) - np.cumsum(whole.histogram)).max() <= 2


def test_ragged_batches_and_channel_means() -> None:
    model = convolutional()
    x = inputs(50, (1, 6, 6), seed=0)
    ragged = calibrate(model, ({"x": x[i : i + 16]} for i in range(0, 50, 16)))
    one = calibrate(model, [{"x": x}])
    assert ragged.samples == one.samples == 50
    assert ragged.activations.keys() == one.activations.keys()
    assert ragged.activations["x"].means == pytest.approx([x.mean()], rel=1e-6)
    means = ragged.activations["r1"].means
    assert means is not None
    assert len(means) == 8
    assert means == pytest.approx(one.activations["r1"].means, rel=1e-6)
    assert ragged.activations["r1"].low >= 0


def test_threads_do_not_change_anything() -> None:
    model, x = transformer_block(), inputs(64, (4, 16), seed=0)
    feeds = [{"x": x[i : i + 8]} for i in range(0, 64, 8)]
    found = [
        digest(ranges(calibrate(model, feeds, threads=t).activations, "mse")) for t in (1, 2, 4)
    ]
    assert len(set(found)) == 1


def test_memory_does_not_grow_with_samples() -> None:
    model = convolutional()

    def peak(count: int) -> int:
        batches = ({"x": inputs(32, (1, 6, 6), seed=i)} for i in range(count // 32))
        tracemalloc.start()
        calibrate(model, batches)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(64)
    assert peak(4096) < 1.1 * peak(64)


def test_what_is_not_finite_has_no_range() -> None:
    seen = calibrate(convolutional(), [{"x": np.full((2, 1, 6, 6), np.nan, np.float32)}])
    assert seen.rangeless["x"] == "NaN or infinite"
    assert "x" not in seen.activations


@pytest.fixture
def heavy() -> Activation:
    seen = Activation()
    rng = np.random.default_rng(0)
    seen.add(np.concatenate([rng.normal(0, 1, 100_000), [60.0, -50.0]]).astype(np.float32), None)
    return seen


def test_percentiles_of_both_sides(heavy: Activation) -> None:
    low, high = percentile(99.9)(heavy)
    assert low == pytest.approx(-3.29, abs=0.1)
    assert high == pytest.approx(3.29, abs=0.1)
    assert minmax(heavy) == (-50, 60)


def test_every_method_clips_outliers_but_minmax(heavy: Activation) -> None:
    for name, method in METHODS.items():
        low, high = method(heavy)
        assert -50 <= low < 0 < high <= 60
        assert (name == "minmax") == (high == 60), name


def test_entropy_pays_for_what_it_cuts() -> None:
    seen = Activation()
    seen.add(np.random.default_rng(0).normal(size=10_000).astype(np.float32), None)
    seen.add(np.linspace(40, 60, 5_000, dtype=np.float32), None)
    assert METHODS["entropy"](seen)[1] > 55


def test_a_positive_tensor_keeps_its_minimum() -> None:
    seen = Activation()
    seen.add(np.linspace(0, 10, 10_000, dtype=np.float32), None)
    low, high = percentile(99.0)(seen)
    assert low == 0
    assert high == pytest.approx(9.9, abs=0.02)


def test_ranges_hold_zero_even_where_no_value_is_near() -> None:
    seen = Activation()
    seen.add(np.array([5.0, 6.0], np.float32), None)
    for name in METHODS:
        low, high = ranges({"t": seen}, name)["t"]
        assert low == 0 < high


def test_a_constant_zero_tensor_has_a_range() -> None:
    seen = Activation()
    seen.add(np.zeros(4, np.float32), None)
    assert seen.histogram.shape == (BINS,)
    for name in METHODS:
        assert ranges({"t": seen}, name)["t"] == (0, 0)

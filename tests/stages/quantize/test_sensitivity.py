"""What each layer loses in int8, and the cheapest mix that keeps within a budget of error."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgate.stages.quantize import graph
from mlgate.stages.quantize.bias import rounding_error
from mlgate.stages.quantize.calibrate import calibrate
from mlgate.stages.quantize.candidates import Candidate, CandidateBuilder
from mlgate.stages.quantize.prepare import prepare
from mlgate.stages.quantize.sensitivity import (
    Sensitivity,
    Way,
    cheapest,
    relative_error,
    sensitivities,
)
from mlgate.stages.quantize.weight_only import Storing, storable, store_weights
from tests.stages.quantize.models import convolutional, inputs, run


def test_sensitivity_finds_the_layer_with_uneven_channels(tmp_path: Path) -> None:
    source = convolutional(spread=3.0, filters=16)
    x = inputs(64, (1, 6, 6), seed=1)
    prepared = prepare(source, ("preprocess",), {"x": x}, tmp_path)
    seen = calibrate(prepared.model, [{"x": x}])
    builder = CandidateBuilder(prepared.model, seen, (), "cpu", False, tmp_path)
    leaders = graph.quantizable(prepared.model)
    members = graph.groups(prepared.model, leaders)
    layers = sensitivities(builder, Candidate("int8-qdq", "minmax"), members, [{"x": x}], "scores")
    assert {layer.leader for layer in layers} == {"first", "second", "head"}
    assert layers[-1].leader == "head"
    assert layers[0].error > 10 * layers[-1].error


def test_stored_weights_are_rounded_by_the_level_of_their_inputs(tmp_path: Path) -> None:
    source = convolutional(spread=3.0, filters=16)
    x = inputs(64, (1, 6, 6), seed=1)
    seen = calibrate(graph.named(source), [{"x": x}])
    ways = storable(source, (), seen.activations)
    assert set(ways) == {"second"}  # the others are too small to be worth it
    assert ways["second"].factors is not None
    reference = run(source, x)
    error = relative_error(reference, run(store_weights(source, ways), x))
    plain = {"second": Storing(0, None)}
    assert (
        error < 1e-4 < 100 * error < relative_error(reference, run(store_weights(source, plain), x))
    )


def test_biases_are_corrected_for_the_rounding_that_storing_does(tmp_path: Path) -> None:
    source = graph.named(convolutional(spread=3.0, filters=16))
    x = inputs(64, (1, 6, 6), seed=1)
    seen = calibrate(source, [{"x": x}])
    reference = run(source, x)
    errors = []
    for correct in (False, True):
        builder = CandidateBuilder(source, seen, (), "cpu", correct, tmp_path)
        for candidate in (
            Candidate("int8-weight-dq"),
            Candidate(
                "int8-qdq-mixed",
                "minmax",
                float_nodes=("first", "second", "head"),
                float_weighted=("first", "second", "head"),
                weight_only=("second",),
            ),
        ):
            errors.append(relative_error(reference, run(builder.build(candidate), x)))
    assert max(errors) < 1e-4
    assert errors[2] < errors[0]


def test_rounding_after_a_multiplication_is_an_error_of_the_weight_itself() -> None:
    rng = np.random.default_rng(0)
    weight, factors = rng.normal(size=(3, 5)), np.exp(rng.normal(0, 3, (1, 5)))
    scale = np.abs(weight * factors).max(axis=1, keepdims=True) / 127
    stored = np.round(weight * factors / scale) * scale / factors
    np.testing.assert_allclose(
        rounding_error(weight, axis=0, factors=factors), stored - weight, atol=1e-12
    )


def test_even_weights_are_stored_plainly() -> None:
    source = graph.named(convolutional(filters=16))
    seen = calibrate(source, [{"x": inputs(64, (1, 6, 6), seed=1)}])
    (way,) = storable(source, (), seen.activations).values()
    assert way.factors is None


layers = st.lists(
    st.builds(
        Sensitivity,
        leader=st.text("abcdefgh", min_size=1, max_size=3),
        error=st.floats(0, 1),
        stored=st.none() | st.floats(0, 1),
        bytes=st.integers(0, 10**6),
        members=st.just(()),
    ),
    max_size=8,
    unique_by=lambda layer: layer.leader,
)


@given(layers, st.floats(1e-9, 1))
@settings(max_examples=200, deadline=None)
def test_a_mix_keeps_to_its_budget_and_wastes_no_step(
    layers: list[Sensitivity], budget: float
) -> None:
    ways = cheapest(layers, budget)
    assert set(ways) == {layer.leader for layer in layers}

    def total(ways: Mapping[str, Way]) -> float:
        return sum(layer.ways()[ways[layer.leader]] for layer in layers)

    assert total(ways) <= budget
    for layer in layers:  # nothing could be cheaper by itself
        for way in layer.ways():
            if layer.cost(way) < layer.cost(ways[layer.leader]):
                assert total({**ways, layer.leader: way}) > budget


def test_a_mix_prefers_stored_weights_to_float_and_keeps_what_is_harmless() -> None:
    layers = [
        Sensitivity("bad", 0.5, 1e-5, 1000, ("bad",)),
        Sensitivity("worse", 0.5, 0.4, 1000, ("worse",)),
        Sensitivity("fine", 1e-5, 1e-6, 1000, ("fine",)),
    ]
    assert cheapest(layers, 1e-3) == {"bad": "stored", "worse": "float", "fine": "int8"}
    assert set(cheapest(layers, 2).values()) == {"int8"}


def test_an_error_that_is_no_number_is_infinite() -> None:
    one = np.ones((2, 3), np.float32)
    assert relative_error(one, one * np.nan) == np.inf
    assert relative_error(one, one[:1]) == np.inf
    words = np.array(["a", "b"], dtype=object)
    assert relative_error(words, words) == 0
    assert relative_error(words, words[::-1]) == np.inf

"""Top operators out of ONNX Runtime's profile."""

import json

import pytest

from mlgate.errors import StageError
from mlgate.stages.benchmark.profile import parse


def test_operators_are_ranked_by_time() -> None:
    def event(name: str, op: str, dur: int) -> dict[str, object]:
        return {"cat": "Node", "name": f"{name}_kernel_time", "dur": dur, "args": {"op_name": op}}

    # One call of b was interrupted: what counts is the middle half of all.
    events = [event("a", "Conv", 30), event("b", "Relu", 10), event("a", "Conv", 60)]
    events += [event("b", "Relu", 900), event("b", "Relu", 10), event("b", "Relu", 10)]
    events.append({"cat": "Session", "name": "model_run", "dur": 999})
    assert parse(json.dumps(events)) == [
        {"op": "Conv", "node": "a", "calls": 2, "share": 0.6923},
        {"op": "Relu", "node": "b", "calls": 4, "share": 0.3077},
    ]
    assert len(parse(json.dumps(events), most=1)) == 1


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"cat": "Node", "name": "x_kernel_time"}]'])
def test_what_is_no_profile_is_an_error(text: str) -> None:
    with pytest.raises(StageError, match="cannot be read"):
        parse(text)

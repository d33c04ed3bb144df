"""Advice out of a benchmark: how many requests to admit, how to batch, how many to keep warm."""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from mlgate.evidence import Evidence
from mlgate.figure import Advice

_SNIPPETS = {
    "asyncio": "Shed load in asyncio",
    "triton": "Shed load in Triton (config.pbtxt)",
    "keda": "Scale out before it sheds (KEDA)",
}


def advice(evidence: Evidence) -> tuple[Advice, ...]:
    """What follows from what was measured, in a fixed order; nothing without its figures."""
    details = evidence.details
    return (
        *_inputs(details),
        *_shedding(details),
        *_batching(details),
        *_pool(details),
    )


def _inputs(details: Mapping[str, JsonValue]) -> Iterator[Advice]:
    made = details.get("made_up_inputs")
    if not isinstance(made, dict) or not made:
        return
    how = ", ".join(f"{name} ({way})" for name, way in sorted(made.items()))
    text = f"Nobody filled {how}: real rows may be slower. Fill them with dataset: or inputs:."
    yield Advice(title="Made-up inputs", text=text)


def _shedding(details: Mapping[str, JsonValue]) -> Iterator[Advice]:
    ramp = details.get("ramp")
    snippets = ramp.get("snippets") if isinstance(ramp, dict) else None
    if not isinstance(snippets, dict):
        return
    for name, title in _SNIPPETS.items():
        if name in snippets:
            text = (
                "The limit is the number of requests inside at the knee, tried at twice its rate."
            )
            yield Advice(title=title, text=text, code=str(snippets[name]))


def _batching(details: Mapping[str, JsonValue]) -> Iterator[Advice]:
    found = details.get("batching")
    if not isinstance(found, dict):
        return
    rate = _number(found.get("rate"))
    if found.get("max_batch") is None:
        text = f"No batch and delay keep the promise at {rate:,.0f} rows a second."
        yield Advice(title="Adaptive batching", text=text)
        return
    batch, delay = int(_number(found["max_batch"])), int(_number(found.get("max_delay_us")))
    response = _number(found.get("response_ms"))
    text = (
        f"Of the measured batch sizes and some delays, simulated on the measured service times: "
        f"batches of at most {batch}, waiting at most {delay:,} µs, answer in {response:.3g} ms "
        f"at {rate:,.0f} rows a second."
    )
    code = (
        f"max_batch_size: {batch}\ndynamic_batching {{\n"
        f"  max_queue_delay_microseconds: {delay}\n}}\n"
    )
    yield Advice(title="Adaptive batching (Triton, config.pbtxt)", text=text, code=code)


def _pool(details: Mapping[str, JsonValue]) -> Iterator[Advice]:
    pool = details.get("warm_pool")
    if isinstance(pool, dict):
        text = (
            f"{_number(pool.get('instances')):g} instances take the stated traffic while another "
            f"one starts, which took {_number(pool.get('slowest_start_s')):.2f} s at worst."
        )
        yield Advice(title="Warm pool", text=text)


def _number(value: JsonValue) -> float:
    return float(value) if isinstance(value, int | float) else 0.0

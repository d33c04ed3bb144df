"""Where the time goes: ONNX Runtime's own profile, by operator."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from mlgate.errors import StageError
from mlgate.stages.benchmark.provider import Runtime
from mlgate.stages.benchmark.session import ORT_ERRORS, Feed, failed_query, open_session


def top_operators(
    model: Path, runtime: Runtime, feeds: Sequence[Feed], folder: Path, most: int = 10
) -> list[dict[str, str | float | int]]:
    """The operators that take most time: op, node, calls, and share of all operators' time.

    Profiled apart from every measurement, for profiling itself takes time.
    """
    session = open_session(model, runtime, profile_into=folder / "profile")
    try:
        for feed in feeds:
            session.run(None, dict(feed))
    except ORT_ERRORS as error:
        raise failed_query(error) from None
    finally:
        path = Path(session.end_profiling())
    try:
        return parse(path.read_text(encoding="utf-8"), most)
    finally:
        path.unlink(missing_ok=True)


def parse(text: str, most: int = 10) -> list[dict[str, str | float | int]]:
    """The top operators in a profile. Raises `StageError` when it is not one."""
    try:
        events = json.loads(text)
        spent: dict[tuple[str, str], list[int]] = {}
        for event in events:
            name = str(event.get("name", ""))
            if event.get("cat") == "Node" and name.endswith("_kernel_time"):
                key = (str(event["args"]["op_name"]), name.removesuffix("_kernel_time"))
                spent.setdefault(key, []).append(int(event["dur"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StageError(f"ONNX Runtime's profile cannot be read: {error}") from None
    # The middle half: a first call allocates, and one call in many is interrupted.
    typical = {key: _middle(times) * len(times) for key, times in spent.items()}
    total = sum(typical.values()) or 1
    ranked = sorted(typical.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"op": op, "node": node, "calls": len(spent[op, node]), "share": round(time / total, 4)}
        for (op, node), time in ranked[:most]
    ]


def _middle(times: Sequence[int]) -> float:
    """Mean of the middle half; the profile counts whole microseconds, so no median."""
    cut = len(times) // 4
    return fmean(sorted(times)[cut : len(times) - cut])

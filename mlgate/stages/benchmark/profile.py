"""Where the time goes: ONNX Runtime's own profile, by operator."""

import json
from collections.abc import Sequence
from pathlib import Path

from mlgate.errors import StageError
from mlgate.stages.benchmark.session import Feed, Runtime, open_session


def top_operators(
    model: Path, runtime: Runtime, feeds: Sequence[Feed], folder: Path, most: int = 10
) -> list[dict[str, str | float | int]]:
    """The operators that take most time: op, node, calls, and share of all operators' time.

    Profiled apart from every measurement, for profiling itself takes time.
    """
    session = open_session(model, runtime, profile_into=folder / "profile")
    for feed in feeds:
        session.run(None, dict(feed))
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
    total = sum(sum(times) for times in spent.values()) or 1
    ranked = sorted(spent.items(), key=lambda item: (-sum(item[1]), item[0]))
    return [
        {"op": op, "node": node, "calls": len(times), "share": round(sum(times) / total, 4)}
        for (op, node), times in ranked[:most]
    ]

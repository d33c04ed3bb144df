"""How much smaller an image gets while it answers the same, and whether it is the same every time.

    python -m tests.benchmarks.slim_image IMAGE REQUESTS [--times 2] [--args "--port {port}"]
                                          [--ignore body.load_s] [--extra "GET /openapi.json"]

IMAGE is one of the Docker Engine, REQUESTS its golden requests; half of them are held out of the
trace. Each time is a trace of its own. Sizes are exact; seconds are of this machine.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from mlgate.evidence import Measured
from mlgate.stage import Input, Job, Located
from mlgate.stages.slim.run import measure
from mlgate.stages.slim.spec import Slim


def main() -> None:
    """Slim it several times, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image")
    parser.add_argument("requests", type=Path)
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--args", default="--port {port}")
    parser.add_argument("--ignore", action="append", default=[])
    parser.add_argument("--extra", action="append", default=[])
    given = parser.parse_args()
    manifests = set()
    for number in range(given.times):
        started = time.perf_counter()
        said = _slimmed(given)
        took = time.perf_counter() - started
        details: dict[str, Any] = dict(said.details)
        manifests.add(said.outputs["image"].digest)
        source = details["source"]["bytes"]
        size = _value(said, "size_bytes")
        wrong = sum(m.value or 0 for m in said.measurements if m.name == "replay.mismatches")
        asked = sum(m.n or 0 for m in said.measurements if m.name == "replay.mismatches")
        print(
            f"{number + 1}: {source:,} B -> {size:,.0f} B, {source / size:.2f} x smaller, level "
            f"{details['level']}, {wrong:.0f} mismatches in {asked} requests, {took:.0f} s"
        )
        print(
            f"   efficiency of the source {_value(said, 'efficiency'):.4f}, wasted "
            f"{_value(said, 'wasted_bytes'):,.0f} B, packages gone "
            f"{_value(said, 'packages.removed'):.0f}, kept {_value(said, 'packages.kept'):.0f}, "
            f"touched at ready {details['trace']['touched_at_ready']:.2f} of the bytes, after the "
            f"probe {details['trace']['touched_after_probe']:.2f}"
        )
    print(f"{len(manifests)} manifest digest(s) from {given.times} traces")


def _slimmed(given: argparse.Namespace) -> Measured:
    text = json.dumps(
        {
            "uses": "slim",
            "image": given.image,
            "run": {"args": given.args.split()},
            "probe": {"replay": str(given.requests.resolve()), "extra": given.extra},
            "verify": {"ignore": given.ignore},
        }
    )
    options = Slim.model_validate_json(text)
    requests = options.probe.replay
    with tempfile.TemporaryDirectory() as folder:
        located: dict[Input, Located] = {requests: Located(str(given.requests.resolve()), None)}
        return measure(Job("image", options, Path(folder), located))


def _value(said: Measured, name: str) -> float:
    found = next(m for m in said.measurements if m.name == name)
    assert found.value is not None, found.reason
    return found.value


if __name__ == "__main__":
    main()

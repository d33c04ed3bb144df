"""How often a check, the GitHub workflow and the Tekton pipelines give one verdict, to the byte.

Complete runs, stage by stage, of specs whose stages pass, warn, fail, break, cannot measure or
cannot tell, in every pair of a chain's head and an independent stage.
"""

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

from tests.ci.ways import BEHAVIOURS, spec_of, verdicts
from tests.fakes.forked import served
from tests.fakes.stages import registered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    given = parser.parse_args()
    registration = registered()
    next(registration)
    kinds = list(BEHAVIOURS)
    equal = 0
    outcomes: Counter[str] = Counter()
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as mlgate:
        for run in range(given.runs):
            data, other, int8 = (kinds[run // 6**place % 6] for place in range(3))
            with tempfile.TemporaryDirectory() as here:
                spec = spec_of(data, int8, other)
                said, green, took = verdicts(Path(here) / "run", spec, mlgate)
            outcome = json.loads(said["local"])["outcome"]
            right = set(green.values()) == {outcome in ("pass", "warn")}
            equal += right and len(set(said.values())) == 1
            outcomes[outcome] += 1
            total.update(took)
    print(f"one verdict on {len(total)} ways: {equal} of {given.runs}")
    print("verdicts: " + ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items())))
    for way, seconds in total.items():
        ratio = seconds / total["local"]
        print(f"{way:<14}{seconds / given.runs:6.2f} s per run, {ratio:.2f}x of local")


if __name__ == "__main__":
    main()

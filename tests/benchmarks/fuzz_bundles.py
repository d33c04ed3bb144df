"""Bundles with random edits: how many are refused, and that none is believed to say something else.

usage: python -m tests.benchmarks.fuzz_bundles [--times 10000] [--seed 1]
"""

import argparse
import tempfile
from pathlib import Path

from mlgate.provenance.bundle import sign
from mlgate.provenance.keys import development_key
from mlgate.provenance.statement import SUMMARY, Statement, Subject
from tests.provenance.test_mutations import fuzz


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        key = development_key(Path(folder))
    said = Statement((Subject("m", {"sha256": "ab" * 32}),), SUMMARY, {"a": 1})
    refused = fuzz(sign(said, key).data(), key, times=given.times, seed=given.seed)
    same = given.times - refused
    print(f"{given.times} edited bundles: {refused} refused, {same} that say the same as before,")
    print("0 believed to say something else, 0 tracebacks")


if __name__ == "__main__":
    main()

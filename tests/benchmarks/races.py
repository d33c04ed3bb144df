"""Files that change at a random moment of a run: what was judged is what was digested, or an error.

    python -m tests.benchmarks.races --times 1000

A stage reads a file and says the digest of what it read; meanwhile the file is written anew, edited
in place with its time put back, or replaced. Prints how often evidence names another content than
was read (a wrong pass), and how often a later check or verify believed such evidence: both have to
be 0. Also how many runs were refused, and how many read one content throughout.
"""

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from mlgate.check import check
from mlgate.evidence import digest_of
from mlgate.run.report import Ran
from mlgate.run.scheduler import Execution
from mlgate.spec.lint import load
from tests import probes

SPEC = """
version: 1
name: race
stages:
  first: {uses: probe, value: 0.5, sleep_s: 0.05, gates: [{metric: probe, max: 1}]}
  second: {uses: probe, value: 0.5, file: d.bin, needs: [first], gates: [{metric: probe, max: 1}]}
"""
LARGEST = 100_000


def write_anew(file: Path, data: bytes) -> None:
    file.write_bytes(data)


def edit_in_place(file: Path, data: bytes) -> None:
    """As many bytes, at the same time, in the same inode."""
    before = file.stat()
    with file.open("r+b") as opened:
        opened.write(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(file: Path, data: bytes) -> None:
    other = file.with_name("other")
    other.write_bytes(data)
    other.replace(file)


WAYS = (write_anew, edit_in_place, replace)


def race(folder: Path, seed: int, span: float) -> str:
    """One run, and what became of it."""
    chance = random.Random(seed)
    size = chance.choice((10, 10_000, LARGEST))
    good, bad = (letter * size for letter in (b"a", b"b"))
    file = folder / "d.bin"
    file.write_bytes(good)
    (folder / "mlgate.yaml").write_text(SPEC)
    way = chance.choice(WAYS)
    back = chance.random() < 0.5

    def change() -> None:
        time.sleep(chance.choice((0.0, chance.uniform(0, 1.3 * span))))
        way(file, bad)
        if back:
            time.sleep(chance.uniform(0, span / 4))
            way(file, good)

    thread = threading.Thread(target=change)
    thread.start()
    checked = check(load(folder / "mlgate.yaml"), now=lambda: datetime.now(UTC))
    thread.join()
    second = checked.report.results["second"]
    if not isinstance(second, Ran):
        return "refused"
    if digest_of(str(second.evidence.details["read"]).encode()) != second.evidence.inputs["file"]:
        return "WRONG: the evidence is of another content"
    again = check(load(folder / "mlgate.yaml"), now=lambda: datetime.now(UTC))
    later = again.report.results["second"]
    if isinstance(later, Ran) and later.evidence.inputs["file"] != digest_of(file.read_bytes()):
        return "WRONG: a later check believed it"
    return "one content throughout"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    probes.install()
    Execution.worker = probes.WORKER
    came_to: Counter[str] = Counter()
    span = 1.0
    for seed in range(arguments.seed, arguments.seed + arguments.times):
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            came_to[race(Path(folder), seed, span)] += 1
            # Moments are spread over a run, however fast this machine is.
            span = 0.9 * span + 0.1 * (time.monotonic() - began)
    for what, count in sorted(came_to.items()):
        print(f"{count:6d}  {what}")
    wrong = sum(count for what, count in came_to.items() if what.startswith("WRONG"))
    print(f"{wrong} of {arguments.times} races ended in a wrong pass")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

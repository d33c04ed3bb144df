"""What signing costs, in CPU seconds, beside model_signing where that is on PATH.

usage: python -m tests.benchmarks.signing [--gib 1] [--files 20000]
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from mlgate.provenance import merkle
from mlgate.provenance.audit_log import AuditLog
from mlgate.provenance.bundle import sign
from mlgate.provenance.chain import verify_chain
from mlgate.provenance.keys import development_key
from mlgate.provenance.statement import SUMMARY, Statement, Subject, resource, test_result
from mlgate.provenance.trust import VERIFIER, of_key

_OURS = """
import sys
from pathlib import Path
from mlgate.provenance.bundle import sign
from mlgate.provenance.keys import private_key_file
from mlgate.provenance.model_signature import model_statement
from mlgate.provenance.tree import hashed
key = private_key_file(Path(sys.argv[2]), None)
Path(sys.argv[3]).write_bytes(sign(model_statement(hashed(Path(sys.argv[1]))), key).data())
"""


def cost(command: Sequence[str]) -> tuple[float, int]:
    """CPU seconds of a command, and its peak resident memory in MiB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return used.ru_utime + used.ru_stime, used.ru_maxrss >> 10


def model(folder: Path, what: str, key: Path, times: int) -> None:
    """Sign a model in turns with its peer; the least of each counts."""
    theirs = shutil.which("model_signing")
    ours, peer = [], []
    for turn in range(times):
        out = folder.parent / f"{turn}.sig"
        ours.append(cost([sys.executable, "-c", _OURS, str(folder), str(key), str(out)]))
        if theirs is not None:
            options = ["--signature", str(out), "--private_key", str(key)]
            peer.append(cost([theirs, "sign", "key", str(folder), *options]))
    line = f"{what}: mlgate {min(ours)[0]:.2f} CPU s, {max(m for _, m in ours)} MiB"
    if peer:
        ratio = min(peer)[0] / min(ours)[0]
        line += f"; model_signing {min(peer)[0]:.2f} CPU s, {max(m for _, m in peer)} MiB ({ratio:.1f}x)"
    print(line, flush=True)


def chain(folder: Path) -> None:
    """Eight bundles, verified together."""
    key = development_key(folder / "keys")
    subject = Subject("x:m", {"sha256": "ab" * 32})
    bundles = {
        f"{n}.json": sign(
            test_result([subject], result="PASSED", configuration=[], passed=["x"], warned=[]), key
        ).data()
        for n in range(7)
    }
    predicate = {
        "verifier": {"id": VERIFIER},
        "timeVerified": "2026-11-28T00:00:00Z",
        "resourceUri": "x",
        "policy": resource("spec", {"sha256": "cd" * 32}),
        "verificationResult": "PASSED",
        "inputAttestations": [
            {"uri": name, "digest": {"sha256": hashlib.sha256(data).hexdigest()}}
            for name, data in bundles.items()
        ],
    }
    bundles["summary.json"] = sign(Statement((subject,), SUMMARY, predicate), key).data()
    trust = of_key(folder / "keys" / "development.pub")
    started = time.perf_counter()
    verify_chain(bundles, trust, now=datetime(2026, 11, 28, tzinfo=UTC))
    print(f"chain of 8 bundles verified: {(time.perf_counter() - started) * 1000:.1f} ms")


def log(folder: Path) -> None:
    """Appends to the tree, and decisions written to the log."""
    count, tree = 100_000, merkle.Frontier()
    started = time.process_time()
    for number in range(count):
        tree.append(merkle.leaf(b"%d" % number))
    print(f"tree: {count / (time.process_time() - started):,.0f} appends a CPU second")
    audit, now = AuditLog(folder / "log"), datetime(2026, 11, 28, tzinfo=UTC)
    started = time.process_time()
    for number in range(200):
        audit.decide({"number": number}, now)
    print(f"log, signed and kept: {200 / (time.process_time() - started):,.0f} decisions a CPU s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=1)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--times", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        development_key(folder / "keys")
        key = folder / "keys" / "development.pem"
        block = os.urandom(1 << 20)
        tiny, many, large = (folder / what for what in ("tiny", "many", "large"))
        for what in (tiny, many, large):
            what.mkdir()
        (tiny / "m.onnx").write_bytes(block[:200_000])
        for number in range(given.files):
            (many / f"{number}.json").write_bytes(block[:1024])
        with (large / "w.bin").open("wb") as file:
            for _ in range(int(given.gib * 1024)):
                file.write(block)
        model(tiny, "tiny model", key, given.times)
        model(many, f"{given.files:,} files of 1 KiB", key, given.times)
        model(large, f"{given.gib} GiB in one file", key, given.times)
        chain(folder)
        log(folder)


if __name__ == "__main__":
    main()

"""Logs of strace as strace writes them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlgate.stages.slim.strace import read_trace

LOG = r"""
10 execve("/usr/bin/python3", [""...], 0x7f /* 3 vars */) = 0
10 openat(AT_FDCWD</srv/app>, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3</etc/ld.so.cache>
10 openat(AT_FDCWD</srv/app>, "model.onnx", O_RDONLY) = 4</srv/app/model.onnx>
10 openat(AT_FDCWD</srv/app>, "gone.txt", O_RDONLY) = -1 ENOENT (No such file or directory)
10 newfstatat(AT_FDCWD</srv/app>, "lib.py", {st_mode=S_IFREG|0644, st_size=1, ...}, 0) = 0
11 openat(AT_FDCWD</srv/app>, "/slow" <unfinished ...>
10 readlink("/usr/bin/python3", ""..., 4096) = 10
11 <... openat resumed>, O_RDONLY) = 5</slow>
10 openat(AT_FDCWD</srv/app>, "/gr\303\274n", O_RDONLY) = 6</gr\303\274n>
10 --- SIGINT {si_signo=SIGINT} ---
10 +++ exited with 0 +++
"""


def test_paths_are_absolute_and_failures_apart(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(LOG)
    trace = read_trace([log])
    assert trace.run == {"/usr/bin/python3"}
    assert trace.opened == {"/etc/ld.so.cache", "/srv/app/model.onnx", "/slow", "/grün"}
    assert trace.looked_at == {"/srv/app/lib.py", "/usr/bin/python3"}
    assert trace.missed == {"/srv/app/gone.txt"}


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_strace_of_this_machine_is_understood(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    program = "open('there').close()\ntry: open('absent')\nexcept OSError: pass"
    log = tmp_path / "log"
    subprocess.run(
        ["strace", "-f", "-qq", "-y", "-s", "0", "-e", "trace=%file", "--seccomp-bpf",
         "-o", log, sys.executable, "-c", program],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    trace = read_trace([log])
    assert str(tmp_path / "there") in trace.opened
    assert str(tmp_path / "absent") in trace.missed
    assert any("python" in path for path in trace.run)

"""The mlgate command and its workers without their start-up: each a fork of one loaded process.

For tests that run thousands of commands. Everything else is as it is for a user: arguments,
environment, folder, open files and exit code of every command are its own.
"""

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
# Above every number that a command has its own files under.
_ASIDE = 200
# Who asks: a bare Python that passes on what it was started with, and every file it was given.
_CLIENT = """#!{python} -IS
import json, os, socket, sys
given = [int(name) for name in os.listdir("/proc/self/fd")]
files = []
for number in given:
    try:
        if os.get_inheritable(number):
            files.append(number)
    except OSError:  # of the listing itself
        pass
asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ), files]).encode()
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
socket.send_fds(server, [len(asked).to_bytes(4, "big")], files)
server.sendall(asked)
sys.exit(server.recv(1)[0])
"""


@contextmanager
def served(folder: Path) -> Iterator[Path]:
    """The command, for as long as the block lasts."""
    address, command = folder / "socket", folder / "mlgate"
    command.write_text(_CLIENT.format(python=sys.executable, address=str(address)))
    command.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.forked", str(address), str(command)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests' / 'fakes'}:{ROOT}"},
    )
    try:
        while not address.exists():
            assert server.poll() is None, "the server did not start"
            time.sleep(0.05)
        yield command
    finally:
        server.terminate()
        server.wait()


def _serve(address: str, command: str) -> None:
    # Loaded once, before any fork.
    from mlgate.cli import check, judge, run  # noqa: F401
    from mlgate.run import worker  # noqa: F401
    from mlgate.run.scheduler import Execution

    Execution.worker = (command, "worker")
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"{address}.new")
    server.listen(64)
    Path(f"{address}.new").rename(address)
    while True:
        asking, _ = server.accept()
        child = os.fork()
        if child == 0:  # a grandchild answers, so that nobody has to wait for it here
            if os.fork() == 0:
                server.close()
                _answer(asking)
            os._exit(0)
        os.waitpid(child, 0)
        asking.close()


def _answer(asking: socket.socket) -> None:
    code = 70
    caller = fcntl.fcntl(asking.fileno(), fcntl.F_DUPFD_CLOEXEC, _ASIDE)
    try:
        size, files, _, _ = socket.recv_fds(asking, 4, 64)
        text = b""
        while len(text) < int.from_bytes(size, "big"):
            text += asking.recv(1 << 16)
        words, folder, env, numbers = json.loads(text)
        aside = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _ASIDE) for file in files]
        os.closerange(3, _ASIDE)
        for file, number in zip(aside, numbers, strict=True):
            os.dup2(file, number)
            os.close(file)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(env)
        # What these were before was of other files.
        sys.stdin = os.fdopen(0, encoding="utf-8")
        sys.stdout = os.fdopen(1, "w", encoding="utf-8")
        sys.stderr = os.fdopen(2, "w", encoding="utf-8")
        code = _run(words)
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(caller, bytes([code]))
        os._exit(0)


def _run(words: list[str]) -> int:
    from mlgate import cli
    from mlgate.run import worker

    sys.argv = ["mlgate", *words]
    try:
        if words[:1] == ["worker"]:
            worker.main(Path(words[1]).resolve())
        else:
            cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


if __name__ == "__main__":
    _serve(*sys.argv[1:])

"""What the two kinds of GitHub servers differ in, as steps of an action.

GitHub Enterprise Server has the artifacts of version 3 only: those are fetched all at once, into a
folder each, and within one run.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from mlgate.ci.pins import pinned
from mlgate.ci.yaml_text import Value

Step = dict[str, Value]


class Server(ABC):
    """One kind of server: where its actions are, and how they keep and fetch artifacts."""

    # Below actions/, and from an action's folder to actions/lib.
    folder: ClassVar[str]
    lib: ClassVar[str]
    # Whether the artifacts of another run can be fetched.
    other_runs: ClassVar[bool]

    @abstractmethod
    def keep(self, name: str, artifact: str, path: str, *, if_: str = "", **how: Value) -> Step:
        """The step that makes an artifact of a file or folder; one of that name is replaced."""

    @abstractmethod
    def fetch(
        self, name: str, pattern: str, path: str, *, if_: str = "", **how: Value
    ) -> Sequence[Step]:
        """The steps that put the content of artifacts into one folder: those that are there."""


def _step(name: str, uses: Value, given: dict[str, Value], if_: str) -> Step:
    return {"name": name, **({"if": if_} if if_ else {}), "uses": uses, "with": given}


class _GitHub(Server):
    folder = ""
    lib = "../lib"
    other_runs = True

    def keep(self, name: str, artifact: str, path: str, *, if_: str = "", **how: Value) -> Step:
        given: dict[str, Value] = {"name": artifact, "path": path, **how, "overwrite": True}
        return _step(name, pinned("actions/upload-artifact"), given, if_)

    def fetch(
        self, name: str, pattern: str, path: str, *, if_: str = "", **how: Value
    ) -> Sequence[Step]:
        given: dict[str, Value] = {"pattern": pattern, "path": path, "merge-multiple": True, **how}
        return [_step(name, pinned("actions/download-artifact"), given, if_)]


class _Enterprise(Server):
    folder = "ghes/"
    lib = "../../lib"
    other_runs = False

    def keep(self, name: str, artifact: str, path: str, *, if_: str = "", **how: Value) -> Step:
        given: dict[str, Value] = {"name": artifact, "path": path, **how}
        return _step(name, pinned("actions/upload-artifact", enterprise=True), given, if_)

    def fetch(
        self, name: str, pattern: str, path: str, *, if_: str = "", **how: Value
    ) -> Sequence[Step]:
        """All artifacts there are; which of them the pattern means is decided afterwards."""
        everything = "${{ runner.temp }}/mlgate/artifacts"
        download = pinned("actions/download-artifact", enterprise=True)
        script = 'bash "$GITHUB_ACTION_PATH/../../lib/merge.sh"\n'
        merge: Step = {
            "name": "Merge them",
            **({"if": if_} if if_ else {}),
            "shell": "bash",
            "env": {
                "MLGATE_ALL": everything,
                "MLGATE_PATTERN": pattern,
                "MLGATE_INTO": path,
            },
            "run": script,
        }
        return [_step(name, download, {"path": everything}, if_), merge]


GITHUB: Server = _GitHub()
ENTERPRISE: Server = _Enterprise()

"""GitHub's lock file of workflows: whether it lists what a compiled workflow uses.

`gh actions-lock` writes it, and needs the network; a workflow that it lists in part does not start
at all, so we say so before. https://docs.github.com/en/actions/concepts/security/workflow-dependency-lockfiles
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from mlgate import document
from mlgate.errors import UsageError

PATH: Final = ".github/workflows/actions.lock"
COMMAND: Final = "gh actions-lock"
_USES: Final = re.compile(r'^\s*(?:- )?uses: "?([^\s"@]+)@([^\s"]+)', re.MULTILINE)


def used(workflow: str) -> tuple[str, ...]:
    """What a workflow uses of other repositories, as the lock has it: owner/repository@ref."""
    found = {f"{'/'.join(name.split('/')[:2])}@{ref}" for name, ref in _USES.findall(workflow)}
    return tuple(sorted(found))


def unlisted(lock: str, path: str, workflow: str) -> tuple[str, ...] | None:
    """What the workflow at `path` uses and its lock lacks; None when the lock leaves it out.

    Raises `UsageError` for a lock that cannot be read.
    """
    node, problems = document.parse(lock, PATH)
    content = document.plain(node) if node is not None and not problems else None
    workflows = _part(content, "workflows")
    known = _part(content, "dependencies")
    if workflows is None or known is None:
        raise UsageError(f"{PATH} cannot be read", hint=f"make it again: {COMMAND}")
    if path not in workflows:
        return None
    listed = workflows[path]
    both = set(known) & set(listed if isinstance(listed, list) else ())
    return tuple(name for name in used(workflow) if name not in both)


def _part(content: object, name: str) -> Mapping[str, Any] | None:
    part = content.get(name) if isinstance(content, dict) else None
    return part if isinstance(part, dict) else None

"""What the layers alone say: wasted bytes by instruction, what kinds of files there are, advice."""

import re
from collections.abc import Mapping
from typing import Any, Final

from mlgate.figure import Advice
from mlgate.images.tree import Tree, waste_by_cause

_KINDS: Final = (
    ("CUDA wheels", re.compile(r"/(site|dist)-packages/nvidia/")),
    ("pip and conda caches", re.compile(r"/\.cache/pip/|/conda/pkgs/")),
    ("apt and dpkg caches", re.compile(r"^/var/(cache|lib/apt/lists)/")),
    ("bytecode", re.compile(r"/__pycache__/")),
    ("tests", re.compile(r"/tests?/")),
    ("docs, man pages, locales", re.compile(r"^/usr/share/(doc|man|info|locale)/")),
    ("static libraries, headers, C sources", re.compile(r"\.(a|la|c|cc|cpp|h|hpp|pyx|pxd)$")),
    ("pip, setuptools, wheel", re.compile(r"/(pip|setuptools|wheel|pkg_resources)(-[^/]*)?/")),
    ("perl", re.compile(r"/perl")),
)
_LEAST: Final = 1_000_000  # bytes worth a word


def kinds(tree: Tree) -> dict[str, int]:
    """Visible bytes by kind of file; the first kind that fits counts, the rest is `other`."""
    sums = {name: 0 for name, _ in _KINDS} | {"other": 0}
    for entry in tree.files():
        name = next((name for name, rule in _KINDS if rule.search(entry.path)), "other")
        sums[name] += entry.size
    return sums


def wasted(tree: Tree) -> list[dict[str, Any]]:
    """Wasted bytes, each with the instruction that wrote and the one that hid them."""
    return [
        {
            "bytes": size,
            "how": how,
            "written_by": tree.layers[written].instruction,
            "hidden_by": tree.layers[hidden].instruction,
        }
        for size, how, written, hidden in waste_by_cause(tree)
    ]


def advice_of(details: Mapping[str, Any]) -> tuple[Advice, ...]:
    """What to change in the Dockerfile, out of a run's details."""
    found = []
    for row in details.get("wasted", ()):
        if row["bytes"] < _LEAST:
            continue
        size = f"{row['bytes'] / 1e6:.1f} MB"
        text = f"{size} written by `{row['written_by']}` are {row['how']} by `{row['hidden_by']}`."
        copied = re.search(r"COPY (?:\S+:\w+ in|--\S+ )?\s*(\S+)", row["written_by"])
        code = ""
        if row["how"] == "deleted" and copied:
            code = f"RUN --mount=type=bind,source={copied[1]},target=/mnt/{copied[1]} …"
            text += " Bind them into the step that needs them; no layer keeps them then."
        elif "chown" in row["hidden_by"]:
            code = "COPY --chown=USER:GROUP …"
            text += " Give files their owner when they are copied."
        found.append(Advice(title=f"{size} that nobody can see", text=text, code=code))
    cuda = details.get("kinds", {}).get("CUDA wheels", 0)
    if cuda >= _LEAST and not details.get("gpus"):
        text = f"{cuda / 1e6:.0f} MB of CUDA wheels in an image that is given no GPU."
        code = "pip install torch --index-url https://download.pytorch.org/whl/cpu"
        found.append(Advice(title="CUDA without a GPU", text=text, code=code))
    return tuple(found)

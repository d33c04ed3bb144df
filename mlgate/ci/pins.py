"""Actions of others that our files use, each pinned to the commit of a release.

Compared with the tags of their repositories: all but upload-artifact v7.0.1 and codeql-action
v4.37.6, for which others' records of the tag were compared.
"""

from typing import Final

from mlgate.ci.yaml_text import Remarked

# owner/repository[/path] → (commit, version)
PINS: Final = {
    "actions/cache/restore": ("27d5ce7f107fe9357f9df03efb73ab90386fccae", "v5.0.5"),
    "actions/cache/save": ("27d5ce7f107fe9357f9df03efb73ab90386fccae", "v5.0.5"),
    "actions/checkout": ("3d3c42e5aac5ba805825da76410c181273ba90b1", "v7.0.1"),
    "actions/download-artifact": ("3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c", "v8.0.1"),
    "actions/upload-artifact": ("043fb46d1a93c77aae656e7c1c64a875d1fc6a0a", "v7.0.1"),
    "astral-sh/setup-uv": ("c771a70e6277c0a99b617c7a806ffedaca235ff9", "v9.0.0"),
    "github/codeql-action/upload-sarif": ("5595ccaf912efad79be6eef63a5619ff05969be3", "v4.37.6"),
}
# GitHub Enterprise Server has no artifacts of version 4: the last releases before, on Node.js 20.
ENTERPRISE_PINS: Final = {
    "actions/download-artifact": ("ad191675b41f6a5b46da9a048cb6893812da158b", "v3.1.0-node20"),
    "actions/upload-artifact": ("c24449f33cd45d4826c6702db7e49f7cdb9b551d", "v3.2.1-node20"),
}


def pinned(action: str, *, enterprise: bool = False) -> Remarked:
    """`action` at its commit, with the version as a comment."""
    pins = {**PINS, **ENTERPRISE_PINS} if enterprise else PINS
    commit, version = pins[action]
    return Remarked(f"{action}@{commit}", version)

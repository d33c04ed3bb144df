"""A model's own signature, in the format of OpenSSF Model Signing v1 (ossf/model-signing-spec).

`model.sig` is a bundle whose statement lists every file. Method `files`: a digest per file. Its
subject is the SHA-256 of those in order, which binds no names; the list does. What the format
leaves out (`.git`, empty folders, links) is refused here: signature and folder have to be the same.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from mlgate.provenance.bundle import Bundle
from mlgate.provenance.reasons import Refused
from mlgate.provenance.statement import MODEL_SIGNATURE, Statement, Subject
from mlgate.provenance.strict_json import Shape, hex_digest
from mlgate.provenance.tree import (
    MOST_FILES,
    HashedFile,
    Tell,
    Tree,
    hashed,
    oms_root,
    refuse_path,
    refuse_twins,
)

FILE: Final = "model.sig"
# Verifiers leave these out whatever we sign: a file in there would be nobody's.
UNSIGNED: Final = (".git", ".gitattributes", ".github", ".gitignore")
# How the reference calls a model that is one file.
_ONE_FILE: Final = "."


def model_statement(tree: Tree) -> Statement:
    """What `model.sig` says of a model. Raises `Refused` for files that verifiers would skip."""
    for file in tree.files:
        if file.path.split("/")[0] in UNSIGNED:
            message = f"{file.path} is a file that no verifier of model signatures looks at"
            raise Refused("model-ignores", message, hint="take it out of the model's folder")
    resources = [
        {
            "name": file.path if tree.folder else _ONE_FILE,
            "algorithm": "sha256",
            "digest": file.sha256,
        }
        for file in tree.files
    ]
    predicate = {
        "serialization": {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": False,
            "ignore_paths": [],
        },
        "resources": resources,
    }
    return Statement((Subject(tree.name, {"sha256": tree.root()}),), MODEL_SIGNATURE, predicate)


def manifest(said: Statement) -> dict[str, str]:
    """Digests by path that a model's signature lists, in its order. Raises `Refused`."""
    if said.predicate_type != MODEL_SIGNATURE:
        raise Refused("model-predicate", f"{said.predicate_type} is no model signature")
    written = Shape(said.predicate, "the manifest", "model-manifest-malformed")
    how = written.inner("serialization")
    if how.of("method", str) != "files" or how.maybe("hash_type", str) not in (None, "sha256"):
        raise Refused("model-method", "the manifest is not of files with SHA-256")
    if how.maybe("allow_symlinks", bool):
        raise Refused("model-ignores", "the signature allows links, whose targets it does not list")
    _refuse_ignored(how.maybe("ignore_paths", list) or [])
    listed = written.of("resources", list)
    if len(listed) > MOST_FILES:
        raise Refused("too-many-files", f"the manifest lists {len(listed):,} files")
    found: dict[str, str] = {}
    for resource in written.each("resources"):
        path = resource.of("name", str)
        if path != _ONE_FILE or len(listed) > 1:
            refuse_path(path)
        if path in found:
            raise Refused("path-duplicate", f"the manifest lists {path} twice")
        if resource.of("algorithm", str) != "sha256":
            raise Refused("model-method", f"{path} is not hashed with SHA-256")
        found[path] = hex_digest(resource.of("digest", str), f"the digest of {path}")
    refuse_twins(found)
    _refuse_root(said, found)
    return found


def _refuse_ignored(paths: list[Any]) -> None:
    """The reference always lists what it leaves out: git's own files, and the signature."""
    for path in paths:
        if not isinstance(path, str):
            raise Refused("model-manifest-malformed", "ignore_paths is no list of paths")
        if Path(path).name not in (*UNSIGNED, FILE):
            raise Refused("model-ignores", f"the signature leaves out {path[:120]}")


def _refuse_root(said: Statement, found: dict[str, str]) -> None:
    """By code points as the specification has it, or by parts as the reference writes it."""
    if len(said.subjects) != 1:
        raise Refused("model-manifest-malformed", "a model's signature is about one model")
    by_name = sorted(found)
    by_parts = sorted(found, key=lambda path: Path(path).parts)
    if list(found) not in (by_name, by_parts):
        raise Refused("model-unsorted", "the manifest's files are not in order")
    if said.subjects[0].digest.get("sha256") != oms_root(found.values()):
        raise Refused("model-root-digest", "the root is not the digest of the files listed")


def verify_model(
    signed: Bundle, model: Path, *, signature: Path | None = None, tell: Tell = lambda _: None
) -> Tree:
    """The model as it lies there, which has to be exactly what was signed. Raises `Refused`.

    `signature` is the bundle's own file: the one thing in the folder that cannot be signed. The
    bundle's signature is not verified here.
    """
    wanted = manifest(signed.statement)
    leave_out = _inside(model, signature)
    tree = hashed(model, leave_out=leave_out, tell=tell)
    seen = {file.path: file for file in tree.files}
    if not tree.folder:
        seen = {_ONE_FILE: tree.files[0]}
    compare(wanted, seen)
    return tree


def compare(wanted: dict[str, str], seen: dict[str, HashedFile]) -> None:
    """Raise `Refused` unless the same files are there, with the same content."""
    for path in wanted:
        if path not in seen:
            raise Refused("file-missing", f"{path} was signed and is not there")
    for path, file in seen.items():
        if path not in wanted:
            raise Refused("file-unsigned", f"{path} was not signed")
        if file.sha256 != wanted[path]:
            raise Refused("file-altered", f"{path} is not what was signed")


def _inside(model: Path, signature: Path | None) -> Iterable[str]:
    if signature is None:
        return ()
    try:
        return (signature.absolute().relative_to(model.absolute()).as_posix(),)
    except ValueError:
        return ()

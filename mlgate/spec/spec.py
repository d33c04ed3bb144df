"""`mlgate.yaml`, as written: text to a frozen `Spec`, with every problem and its position.

The steps: read the file and what it `extends`, merge a profile in, fill `${params.x}` and
`${env.X}`, validate the head and each stage's block by its stage's own model.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema
from pydantic_core import ErrorDetails

from mlgate import document
from mlgate.documents import Changed
from mlgate.errors import MlgateError, Position, Problem, UsageError, without_passwords
from mlgate.evidence import Frozen, canonical, digest_of
from mlgate.policy.rules import Policies
from mlgate.spec.params import TYPES, Param, Value, fits, text_of, typed
from mlgate.spec.policies import read as read_policies
from mlgate.spec.problems import explained, in_order, near, own_items, unwritable, validated
from mlgate.stage import Options
from mlgate.stages import STAGES

FILE: Final = "mlgate.yaml"
STAGE_NAME: Final = r"^[A-Za-z][A-Za-z0-9_-]{0,62}$"


class Profile(Frozen):
    """Changes that `--profile NAME` makes: maps merge, everything else is replaced."""

    confidence: float | None = Field(None, ge=0.5, lt=1)
    stages: dict[str, dict[str, Any]] = {}
    description: str = ""


def _readable(version: int) -> int:
    if version != 1:
        raise ValueError(f"version {version} is not one that this mlgate reads: it reads 1")
    return version


class Head(Frozen):
    """A whole mlgate.yaml; each stage's block is validated by its stage."""

    version: Annotated[int, AfterValidator(_readable), WithJsonSchema({"const": 1})] = Field(
        description="Version of this format."
    )
    name: str = Field(min_length=1, max_length=200, description="Name of the model.")
    description: str = ""
    extends: str | tuple[str, ...] = Field(
        (),
        description="Local files that this one builds on; where they differ, the last one holds.",
    )
    confidence: float = Field(
        0.95, ge=0.5, lt=1, description="Confidence of every interval a gate looks at."
    )
    params: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], Param] = {}
    env: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...] = Field(
        (), description="Environment variables that ${env.X} may read; never secrets."
    )
    stages: dict[Annotated[str, Field(pattern=STAGE_NAME)], dict[str, Any]] = Field(min_length=1)
    policies: tuple[str, ...] = Field(
        (), description="Rules of the organisation: a shipped set (`production`), or files."
    )
    waivers: tuple[str, ...] = Field((), description="Files of waivers of those rules.")
    profiles: dict[str, Profile] = {}


@dataclass(frozen=True)
class Spec:
    """A spec that is understood: every block parsed, every value filled in.

    `file` is its name in `folder`. `digest` is of the effective spec: after extends, profile and params. `root` is the document
    it came from, for positions. `changed` are parameters that differ from their defaults.
    """

    name: str
    confidence: float
    stages: Mapping[str, Options]
    folder: Path
    file: str
    digest: str
    root: document.Node
    profile: str | None = None
    params: Mapping[str, Value] = field(default_factory=dict)
    changed: tuple[Changed, ...] = ()
    policies: Policies = field(default_factory=Policies)

    def position(self, *path: str | int) -> Position:
        """Where the value at `path` stands, e.g. `position("stages", "data", "gates", 0)`."""
        return document.find(self.root, path).position

    def key_position(self, *path: str | int) -> Position:
        """Where the key at `path` stands."""
        return document.key_position(self.root, path)

    def nearest(self, *path: str | int) -> Position:
        """Where the key at `path` stands, or the nearest one above it that is written."""
        return document.nearest_position(self.root, path)


def locate(spec: Path | None) -> Path:
    """The spec's file: a file, or a folder that holds mlgate.yaml. Raises `UsageError`."""
    path = Path() if spec is None else spec
    try:
        file = path / FILE if path.is_dir() else path
        found = file.exists()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise UsageError(f"{str(path)[:80]} cannot be read: {error.strerror}") from None
    if not found:
        where = "the current folder" if spec is None else str(spec)
        missing = f"there is no {FILE} in {where}" if path.is_dir() else f"{file} does not exist"
        raise UsageError(missing, hint="start with: mlgate init --template digits")
    return file


def stage_names(spec: Spec) -> frozenset[str]:
    """Every stage that is written, those included whose block is wrong."""
    stages = document.find(spec.root, ("stages",))
    return frozenset(own_items(stages) if isinstance(stages, document.Mapping) else ())


def read(
    file: Path,
    *,
    profile: str | None = None,
    params: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
) -> tuple[Spec | None, tuple[Problem, ...]]:
    """Read a spec and every problem in it.

    `params` come from the command line, as text; `env` is the environment. Stages whose block is
    wrong are left out of the Spec; it is None when not even the head could be read. Raises
    `UsageError` for a profile or parameter that the spec does not have.
    """
    return _Reader(file, env or {}).read(profile, params or {})


def written_digest(file: Path, spec: Spec) -> str:
    """The digest of a spec as written: no profile, no parameter or environment from outside.

    This is what a compiled file carries, and what has to match where its jobs run.
    """
    written = set(spec.root.items) if isinstance(spec.root, document.Mapping) else set()
    if spec.profile is None and not written & {"params", "env"}:
        return spec.digest
    plain, _ = read(file)
    return spec.digest if plain is None else plain.digest


# Files that a spec extends, directly or not.
MAX_EXTENDED: Final = 50


class _Reader:
    def __init__(self, file: Path, env: Mapping[str, str]) -> None:
        self.file = file
        self.env = env
        self.problems: list[Problem] = []
        # Files that were read already, each with what it extends laid under it.
        self.loaded: dict[Path, document.Mapping | None] = {}
        self.characters = 0
        self.changed: list[Changed] = []

    def read(
        self, profile: str | None, given: Mapping[str, str]
    ) -> tuple[Spec | None, tuple[Problem, ...]]:
        root = self._load(self.file, self.file.name, ())
        if root is None:
            return None, self._sorted()
        head = self._head(root)
        if head is None:
            self._stages_of_no_head(root)
            return None, self._sorted()
        root = self._with_profile(root, head, profile)
        params = self._params(root, head, given)
        names = {f"params.{k}": v for k, v in params.items() if v is not None}
        names |= {f"env.{k}": text_of(k, self.env[k]) for k in head.env if self.env.get(k)}
        root = self._filled(root, names, head)
        policies, wrong = read_policies(root, self.file.resolve().parent)
        self.problems += wrong
        confidence = document.plain(document.find(root, ("confidence",)))
        spec = Spec(
            name=head.name,
            confidence=confidence if isinstance(confidence, float) else head.confidence,
            stages=dict(self._stages(root)),
            folder=self.file.resolve().parent,
            file=self.file.name,
            digest=self._digest(root),
            root=root,
            profile=profile,
            params={k: v for k, v in params.items() if v is not None},
            changed=tuple(self.changed),
            policies=policies,
        )
        return spec, self._sorted()

    def _sorted(self) -> tuple[Problem, ...]:
        unique = dict.fromkeys(self.problems)
        return in_order(unique, self.file.name)

    def _load(self, file: Path, name: str, parents: tuple[Path, ...]) -> document.Mapping | None:
        text = document.read(file, name)
        self.characters += len(text)
        node, problems = document.parse(text, name)
        self.problems += problems
        if node is None and not problems:
            top = Position(name, 1, 1)
            self.problems.append(Problem("MG105", "the file is empty", top, "see mlgate init"))
        if node is None:
            return None
        if not isinstance(node, document.Mapping):
            message = "the file must be a map with version, name and stages"
            self.problems.append(Problem("MG106", message, node.position))
            return None
        extended = node.items.get("extends")
        bases = document.plain(extended) if extended else []
        # The last base is nearest: it is laid under first, and what is below it gives way.
        for base in reversed(bases if isinstance(bases, list) else [bases]):
            node = self._extended(node, base, file, (*parents, file.resolve()))
        return node

    def _extended(
        self, node: document.Mapping, base: document.Plain, file: Path, parents: tuple[Path, ...]
    ) -> document.Mapping:
        at = document.find(node, ("extends",)).position
        if not isinstance(base, str) or "://" in base or "\0" in base:
            self.problems.append(Problem("MG106", "extends names local files", at))
            return node
        path = file.parent / base
        if path.resolve() in parents:
            self.problems.append(Problem("MG108", f"{base} extends itself in a circle", at))
            return node
        try:
            under = self._base(path, base, parents)
        except MlgateError as error:
            self.problems.append(Problem("MG108", error.message, at, error.hint))
            return node
        return node if under is None else _merged(under, node)

    def _base(self, path: Path, base: str, parents: tuple[Path, ...]) -> document.Mapping | None:
        """A file that another extends, read once however many extend it. Raises `UsageError`."""
        whole = path.resolve()
        if whole in self.loaded:
            return self.loaded[whole]
        if path.is_file():
            self._refuse_foreign(whole, base)
        if len(parents) > MAX_EXTENDED or len(self.loaded) > MAX_EXTENDED:
            raise UsageError(f"{base} is more than the {MAX_EXTENDED} files that a spec may extend")
        if self.characters > document.MAX_BYTES:
            raise UsageError(f"{base} is more text than a spec may have with what it extends")
        self.loaded[whole] = self._load(path, base, parents)
        return self.loaded[whole]

    def _refuse_foreign(self, whole: Path, base: str) -> None:
        """What is wrong with a file is shown, so a spec may name only files of its own project."""
        if whole.suffix not in (".yaml", ".yml"):
            raise UsageError(f"{base} is no YAML file", hint="name it *.yaml")
        if not whole.is_relative_to(_project(self.file.resolve().parent)):
            hint = "move it there: into the spec's folder, or into its git repository"
            raise UsageError(f"{base} lies outside of the project", hint=hint)

    def _head(self, root: document.Mapping) -> Head | None:
        model = document.plain(root)
        errors = validated(Head, model)
        if isinstance(errors, Head):
            self.problems += unwritable(root, {Head}, ())
            return errors
        self._report(errors, Head, root, ())
        return None

    def _stages(self, root: document.Mapping) -> Iterator[tuple[str, Options]]:
        stages = root.items["stages"]
        assert isinstance(stages, document.Mapping)
        for name, block in own_items(stages).items():
            uses = document.plain(document.find(block, ("uses",)))
            if not isinstance(block, document.Mapping):
                continue  # the head has told
            if "uses" not in block.items:
                at = document.key_position(root, ("stages", name))
                typed = next((key for key in block.items if near(key, ["uses"])), None)
                hint = f"uses is one of: {', '.join(STAGES)}"
                if typed is not None:
                    hint = f"did you mean uses instead of {typed!r}? {hint}"
                self.problems.append(Problem("MG105", f"{name} has no uses", at, hint))
                continue
            if not isinstance(uses, str) or uses not in STAGES:
                at = document.find(block, ("uses",)).position
                message = f"there is no stage {uses!r}"
                self.problems.append(Problem("MG107", message, at, near(str(uses), STAGES)))
                continue
            written = document.plain(block)
            options = validated(STAGES[uses].options, written)
            if isinstance(options, Options):
                text = json.dumps(written)
                if "null" in text or '"path"' in text:  # few have either
                    self.problems += unwritable(block, {STAGES[uses].options}, ())
                yield name, options
            else:
                self._report(options, STAGES[uses].options, root, ("stages", name))

    def _stages_of_no_head(self, root: document.Mapping) -> None:
        """What is wrong with stages is told at once, whatever is wrong above them."""
        if not isinstance(root.items.get("stages"), document.Mapping):
            return
        above = len(self.problems)
        for _ in self._stages(root):
            pass
        # Without a head, placeholders stand for nothing: what they are is not known.
        below = [p for p in self.problems[above:] if "${" not in p.position.text]
        self.problems[above:] = below

    def _report(
        self,
        errors: list[ErrorDetails],
        model: type[BaseModel],
        root: document.Mapping,
        prefix: tuple[str | int, ...],
    ) -> None:
        # What a placeholder stands for is not known where it stands for nothing.
        unfilled = {p.position for p in self.problems if p.code == "MG109"}
        found = explained(errors, model, root, prefix)
        self.problems += [p for p in found if p.position not in unfilled]

    def _with_profile(
        self, root: document.Mapping, head: Head, profile: str | None
    ) -> document.Mapping:
        if profile is None:
            return root
        if profile not in head.profiles:
            have = ", ".join(head.profiles) or "none"
            raise UsageError(f"there is no profile {profile!r}", hint=f"the spec has: {have}")
        change = document.find(root, ("profiles", profile))
        assert isinstance(change, document.Mapping)
        for name in head.profiles[profile].stages:
            if name not in head.stages:
                at = document.key_position(root, ("profiles", profile, "stages", name))
                message = f"there is no stage {name!r} to change"
                self.problems.append(Problem("MG201", message, at, near(name, head.stages)))
        kept = {k: v for k, v in change.items.items() if k in ("confidence", "stages")}
        return _merged(root, document.Mapping(kept, change.keys, change.position))

    def _params(
        self, root: document.Mapping, head: Head, given: Mapping[str, str]
    ) -> dict[str, Value | None]:
        for name in given:
            if name not in head.params:
                hint = near(name, head.params) or "the spec declares no params"
                raise UsageError(f"there is no parameter {name!r}", hint=hint)
        values: dict[str, Value | None] = {}
        for name, param in head.params.items():
            variable = f"MLGATE_PARAM_{name.upper()}"
            text = given.get(name, self.env.get(variable) or None)
            values[name] = param.default if text is None else typed(name, text, param)
            if text is None and not fits(param.default, param):
                at = document.find(root, ("params", name, "default")).position
                message = f"default: should be {TYPES[param.type]}, as its type says"
                self.problems.append(Problem("MG106", message, at))
            if text is not None and values[name] != param.default:
                source = "--set" if name in given else variable
                self.changed.append(_changed(name, source, text, param.default))
        return values

    def _filled(
        self, root: document.Mapping, names: Mapping[str, Value], head: Head
    ) -> document.Mapping:
        stages = root.items["stages"]
        filled = self._fill(stages, names, head)
        return document.Mapping({**root.items, "stages": filled}, root.keys, root.position)

    def _fill(self, node: document.Node, names: Mapping[str, Value], head: Head) -> document.Node:
        match node:
            case document.Mapping():
                items = {k: self._fill(v, names, head) for k, v in own_items(node).items()}
                return document.Mapping(items, node.keys, node.position)
            case document.Sequence():
                return document.Sequence(
                    tuple(self._fill(item, names, head) for item in node.items), node.position
                )
            case document.Scalar(value=str() as text) if "${" in text:
                return document.Scalar(
                    self._expand(text, node.position, names, head), node.position
                )
            case _:
                return node

    def _expand(
        self, text: str, at: Position, names: Mapping[str, Value], head: Head
    ) -> Value | None:
        whole = _EXPRESSION.fullmatch(text)
        if whole and whole[1] in names:
            return names[whole[1]]

        def value(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            name = (match[1] or "").strip()
            if name in names:
                known = names[name]
                return str(known).lower() if isinstance(known, bool) else str(known)
            self.problems.append(self._unknown(name, at, head))
            return match[0]

        return re.sub(r"\$\$\{|" + _EXPRESSION.pattern, value, text)

    def _unknown(self, name: str, at: Position, head: Head) -> Problem:
        kind, _, key = name.partition(".")
        if kind == "params" and key in head.params:
            hint = f"give it: --set {key}=… or MLGATE_PARAM_{key.upper()}=…"
            return Problem("MG109", f"parameter {key!r} has no default and was not given", at, hint)
        if kind == "params":
            message = f"there is no parameter {key!r}"
            hint = near(key, head.params) or "declare it under params:"
            return Problem("MG109", message, at, hint)
        if kind == "env" and key in head.env:
            return Problem("MG109", f"the environment has no {key}", at, f"export {key}=…")
        if kind == "env":
            return Problem("MG109", f"{key} is not listed under env:", at, f"add env: [{key}]")
        hint = "write ${params.NAME} or ${env.NAME}; $${ is a plain ${"
        return Problem("MG109", f"${{{name}}} means nothing here", at, hint)

    def _digest(self, root: document.Mapping) -> str:
        effective = document.plain(root)
        assert isinstance(effective, dict)
        dropped = ("profiles", "extends", "params", "env", "description")
        return digest_of(canonical({k: v for k, v in effective.items() if k not in dropped}))


def _changed(name: str, source: str, value: str, default: Value | None) -> Changed:
    written = None if default is None else without_passwords(text_of_value(default))
    return Changed(name=name, source=source, value=without_passwords(value), default=written)


def text_of_value(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _project(folder: Path) -> Path:
    """The git repository around a folder, or the folder itself."""
    return next((above for above in (folder, *folder.parents) if (above / ".git").exists()), folder)


_EXPRESSION: Final = re.compile(r"\$\{([^}]*)\}")


def _merged(under: document.Mapping, over: document.Mapping) -> document.Mapping:
    """`over` on top of `under`: maps merge, everything else is replaced."""
    items, keys = dict(under.items), dict(under.keys)
    for key, value in over.items.items():
        below = items.get(key)
        if isinstance(below, document.Mapping) and isinstance(value, document.Mapping):
            value = _merged(below, value)
        items[key], keys[key] = value, over.keys[key]
    return document.Mapping(items, keys, over.position)

"""CEL, through Google's engine: expressions that are type-checked before they run.

Two doors of the language stay shut here. The engine returns an error as a value, which is truthy:
only a value of type bool is an answer. And an absent field of a plain message reads as 0: every
scalar is a wrapper message, so that reading an absent one is an error.

Common Expression Language, github.com/google/cel-spec, doc/langdef.md.
"""

import functools
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Union, get_args, get_origin

from mlgate.errors import MissingPackage
from mlgate.evidence import Frozen
from mlgate.policy.facts import Facts, ReportFacts, SpecFacts

_PACKAGE: Final = "mlgate"
_WRAPPERS: Final[Mapping[type, str]] = {
    float: "DoubleValue",
    int: "Int64Value",
    str: "StringValue",
    bool: "BoolValue",
}
_PLACE: Final = re.compile(r"<input>:(\d+):(\d+): (.*)")
_FIELD: Final = re.compile(r"undefined field '([^']+)' not found in struct '([^']+)'")


@dataclass(frozen=True)
class Wrong:
    """Why an expression does not compile: `line` and `column` are within it, from 1."""

    message: str
    line: int
    column: int
    hint: str | None = None


@dataclass(frozen=True)
class Answer:
    """What an expression came to: a value of the type that was asked for, or why there is none."""

    value: bool | str | None
    error: str | None = None


@dataclass(frozen=True)
class Compiled:
    """An expression that gives a bool, or text."""

    source: str
    program: Any
    text: bool = False

    def of(self, activation: Any) -> Answer:
        """Its value for these facts; whatever is no value of its type is an error."""
        cel = _cel()
        wanted = cel.Type.STRING if self.text else cel.Type.BOOL
        try:
            found = self.program.eval(activation)
        except RuntimeError as error:  # a loop without end
            return Answer(None, _first(str(error)))
        if found.type() != wanted:
            return Answer(None, _first(str(found.value())))
        return Answer(found.value())


class Engine:
    """Compiles expressions over `spec`, and over `report` where there is one."""

    def __init__(self, *, report: bool) -> None:
        cel = _cel()
        pool, self._messages = _messages()
        variables = {"spec": cel.Type(f"{_PACKAGE}.SpecFacts")}
        if report:
            variables["report"] = cel.Type(f"{_PACKAGE}.ReportFacts")
        self._report = report
        self._env = cel.NewEnv(descriptor_pool=pool, variables=variables, functions=_functions(cel))

    def compile(self, source: str, *, text: bool = False) -> Compiled | Wrong:
        """The expression, checked; `text`: it is to give text instead of yes or no."""
        cel = _cel()
        try:
            program = self._env.compile(source)
        except RuntimeError as error:
            return _wrong(str(error))
        wanted = cel.Type.STRING if text else cel.Type.BOOL
        if program.return_type() != wanted:
            kind = "text" if text else "yes or no"
            return Wrong(f"it is no {kind}, but {program.return_type().name().lower()}", 1, 1)
        return Compiled(source, program, text)

    def activation(self, facts: Facts) -> Any:
        """The facts as the engine's own messages."""
        values = {"spec": _filled(self._messages["SpecFacts"], facts.spec)}
        if self._report and facts.report is not None:
            values["report"] = _filled(self._messages["ReportFacts"], facts.report)
        return self._env.Activation(values)


@functools.cache
def engine(*, report: bool) -> Engine:
    """The engine over the spec alone, or over the report too; made once."""
    return Engine(report=report)


@functools.cache
def _cel() -> Any:
    try:
        from cel_expr_python import cel  # noqa: PLC0415 - policies alone pay for it
    except ModuleNotFoundError:
        raise MissingPackage("cel-expr-python") from None
    return cel


def _first(said: str) -> str:
    """The engine's reason without its class: `divide by zero`."""
    line = said.splitlines()[0] if said.strip() else "no reason given"
    reason = re.sub(r"^[A-Z_]+: ", "", line)
    if "null_type" in reason:
        return "it reads a value that is not there: ask has(…) first"
    return reason


def _wrong(said: str) -> Wrong:
    place = _PLACE.search(said)
    if place is None:
        return Wrong(_first(said), 1, 1)
    line, column, message = int(place[1]), int(place[2]), place[3]
    hint = None
    field = _FIELD.search(message)
    if field is not None:
        kind = field[2].removeprefix(f"{_PACKAGE}.")
        message = f"there is no {field[1]!r} in {kind}"
        hint = f"it has: {', '.join(_fields(kind))}"
    elif "undeclared reference to" in message:
        name = message.split("'")[1]
        message = f"{name!r} is not known"
        hint = "there are: spec, report, and the functions in docs/policies.md"
    elif "found no matching overload" in message and "int" in message and "double" in message:
        hint = "write the number with a point: 12.0"
    return Wrong(message.removesuffix(" [INVALID_ARGUMENT]"), line, column, hint)


def _fields(kind: str) -> Sequence[str]:
    model = _models().get(kind)
    return tuple(model.model_fields) if model is not None else ()


def _models() -> dict[str, type[Frozen]]:
    """Every model that is reached from the facts, by name."""
    found: dict[str, type[Frozen]] = {}
    waiting: list[type[Frozen]] = [SpecFacts, ReportFacts]
    while waiting:
        model = waiting.pop()
        if model.__name__ in found:
            continue
        found[model.__name__] = model
        for info in model.model_fields.values():
            kind, _ = _kind(info.annotation)
            if isinstance(kind, type) and issubclass(kind, Frozen):
                waiting.append(kind)
    return found


def _kind(annotation: Any) -> tuple[Any, bool]:
    """The type within `X | None` or `tuple[X, ...]`, and whether there are many."""
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0], True
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [arg for arg in get_args(annotation) if arg is not type(None)]
        return inner[0], False
    return annotation, False


@functools.cache
def _messages() -> tuple[Any, dict[str, Any]]:
    """A descriptor pool with a message for each model, and the messages' classes."""
    from google.protobuf import (  # noqa: PLC0415 - policies alone pay for it
        descriptor_pb2,
        descriptor_pool,
        message_factory,
        wrappers_pb2,
    )

    shape = descriptor_pb2.FieldDescriptorProto
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    file = descriptor_pb2.FileDescriptorProto(
        name="mlgate.proto", package=_PACKAGE, syntax="proto3", dependency=[wrappers.name]
    )
    for name, model in _models().items():
        message = file.message_type.add(name=name)
        for number, (field, info) in enumerate(model.model_fields.items(), 1):
            kind, many = _kind(info.annotation)
            label = shape.LABEL_REPEATED if many else shape.LABEL_OPTIONAL
            made = message.field.add(name=field, number=number, label=label)
            if kind not in _WRAPPERS:
                made.type, made.type_name = shape.TYPE_MESSAGE, f".{_PACKAGE}.{kind.__name__}"
            elif many:
                made.type = shape.TYPE_STRING
            else:
                made.type = shape.TYPE_MESSAGE
                made.type_name = f".google.protobuf.{_WRAPPERS[kind]}"
    pool = descriptor_pool.DescriptorPool()
    for one in (wrappers, file):
        pool.AddSerializedFile(one.SerializeToString())
    classes = {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _models()
    }
    return pool, classes


def _filled(message: Any, facts: Frozen) -> Any:
    from google.protobuf import json_format  # noqa: PLC0415 - policies alone pay for it

    plain = facts.model_dump(mode="json", exclude_none=True)
    return json_format.ParseDict(plain, message())


def _functions(cel: Any) -> list[Any]:
    """The functions of ours: each raises, and never defaults, where it has no answer."""
    spec, report = cel.Type(f"{_PACKAGE}.SpecFacts"), cel.Type(f"{_PACKAGE}.ReportFacts")
    text, number, yes = cel.Type.STRING, cel.Type.DOUBLE, cel.Type.BOOL

    def declared(
        name: str, receiver: Any, arguments: Iterable[Any], gives: Any, run: Callable[..., Any]
    ) -> Any:
        given = [receiver, *arguments]
        overload = cel.Overload(
            id=f"{name}_{len(given)}", return_type=gives, parameters=given, is_member=True, impl=run
        )
        return cel.FunctionDecl(name, [overload])

    return [
        declared("has_stage", spec, [text], yes, _has_stage),
        declared("gated", spec, [text], yes, _gated),
        declared("measured", report, [text], yes, _measured),
        declared("value", report, [text], number, functools.partial(_read, "value")),
        declared("lowest", report, [text], number, functools.partial(_extreme, "low", min)),
        declared("highest", report, [text], number, functools.partial(_extreme, "high", max)),
    ]


def _has_stage(spec: Any, uses: str) -> bool:
    """spec.has_stage('validate'): whether some stage uses it."""
    return any(stage.uses.value == uses for stage in spec.stages)


def _gated(spec: Any, metric: str) -> bool:
    """spec.gated('accuracy'): whether some gate that decides is about the metric."""
    for stage in spec.stages:
        for gate in stage.gates:
            decides = gate.severity.value == "fail" and gate.mode.value != "observe"
            if gate.metric.value == metric and decides:
                return True
    return False


def _named(report: Any, metric: str) -> list[Any]:
    return [row for row in report.measurements if row.name.value == metric]


def _measured(report: Any, metric: str) -> bool:
    """report.measured('accuracy'): whether it has a value."""
    return any(row.HasField("value") for row in _named(report, metric))


def _read(field: str, report: Any, metric: str) -> float:
    """report.value('rss_bytes'): the one value of that metric."""
    rows = _named(report, metric)
    if len(rows) != 1:
        many = "no measurement" if not rows else f"{len(rows)} measurements"
        raise ValueError(f"there is {many} of {metric}: ask lowest(…) or highest(…)")
    return _present(rows[0], field, metric)


def _extreme(
    field: str, choose: Callable[[Iterable[float]], float], report: Any, metric: str
) -> float:
    """report.highest('latency_ms.p99'): the largest upper end of the intervals of that metric."""
    rows = _named(report, metric)
    if not rows:
        raise ValueError(f"there is no measurement of {metric}")
    return choose([_present(row, field, metric) for row in rows])


def _present(row: Any, field: str, metric: str) -> float:
    if not row.HasField(field):
        what = {"value": "value", "low": "lower end", "high": "upper end"}[field]
        raise ValueError(f"a measurement of {metric} has no {what}")
    return float(getattr(row, field).value)

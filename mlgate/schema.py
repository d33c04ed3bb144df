"""JSON Schemas (draft-07, which editors read), generated from the declarations that validate.

The schema and the loader accept and reject the same documents, up to what only the whole spec can
tell (references, circles, units): those are `lint`'s.
"""

import copy
from typing import Any, Final

from mlgate.documents import DOCUMENTS
from mlgate.spec.spec import STAGE_NAME, Head
from mlgate.stages import STAGES, references

_DRAFT: Final = "http://json-schema.org/draft-07/schema#"
_FILLED: Final = {"type": "string", "pattern": r"\$\{[^}]*\}", "description": "${params.NAME}"}


def spec() -> dict[str, Any]:
    """The schema of mlgate.yaml."""
    definitions: dict[str, Any] = {}
    branches = []
    for uses, stage in STAGES.items():
        own = _schema(stage.options, definitions)
        own["required"] = sorted({*own.get("required", ()), "uses"})
        own = _with_expressions(own)
        own["properties"]["uses"] = {"const": uses}
        definitions[stage.options.__name__] = own
        branches.append(
            {
                "if": {"properties": {"uses": {"const": uses}}, "required": ["uses"]},
                "then": {"$ref": f"#/definitions/{stage.options.__name__}"},
            }
        )
    compared = definitions["Gate"]["properties"]["compared_to"]
    compared |= {"enum": list(references())}
    stage_definitions = {name: _with_expressions(d) for name, d in definitions.items()}
    for stage in STAGES.values():
        stage_definitions[stage.options.__name__] = definitions[stage.options.__name__]
    head_definitions: dict[str, Any] = {}
    head = _schema(Head, head_definitions)
    head["properties"]["stages"] = {
        "type": "object",
        "description": "What is checked, by stages of your own naming.",
        "minProperties": 1,
        "not": {"propertyNames": {"pattern": "^x-"}},
        "patternProperties": {
            STAGE_NAME: {
                "type": "object",
                "required": ["uses"],
                "properties": {"uses": {"enum": list(STAGES), "description": _kinds()}},
                "allOf": branches,
            },
            "^x-": {},
        },
        "additionalProperties": False,
    }
    return {
        "$schema": _DRAFT,
        "title": "mlgate.yaml",
        **head,
        "definitions": {**head_definitions, **stage_definitions},
    }


def document(name: str) -> dict[str, Any]:
    """The schema of a document of that name in `DOCUMENTS`, closed and complete."""
    model = DOCUMENTS[name]
    raw = model.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
    definitions = {key: _document(value) for key, value in raw.pop("$defs", {}).items()}
    own = _document(raw)
    own["properties"]["schema"] = {"const": model.model_fields["schema_"].default}
    own["required"] = ["schema", *own.get("required", ())]
    whole: dict[str, Any] = {
        "$schema": _DRAFT,
        "title": own["properties"]["schema"]["const"],
        **own,
    }
    if definitions:
        whole["definitions"] = definitions
    return whole


def _document(node: Any) -> Any:
    """As `_tidy`, but closed: nobody writes `x-…` keys into what mlgate writes."""
    if isinstance(node, list):
        return [_document(item) for item in node]
    if not isinstance(node, dict):
        return node
    tidy = {
        key: {name: _document(inner) for name, inner in value.items()}
        if key == "properties"
        else _document(value)
        for key, value in node.items()
        if key not in ("title", "default")
    }
    if "$ref" in tidy and len(tidy) > 1:  # draft-07 ignores what stands beside a $ref
        tidy = {"allOf": [{"$ref": tidy.pop("$ref")}], **tidy}
    return tidy


def _kinds() -> str:
    return "; ".join(f"{uses}: {stage.summary}" for uses, stage in STAGES.items())


def _schema(model: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """A model's own schema; those it refers to go into `definitions`."""
    raw = model.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
    definitions.update({k: _tidy(v) for k, v in raw.pop("$defs", {}).items()})
    tidy: dict[str, Any] = _tidy(raw)
    return tidy


def _tidy(node: Any, *, naming: bool = False) -> Any:
    """Without generated titles and null defaults; closed objects let `x-…` keys through.

    `naming`: the node maps property names, whose names are not keywords.
    """
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    if naming:
        return {name: _tidy(value) for name, value in node.items()}
    tidy = {
        key: _tidy(value, naming=key in ("properties", "patternProperties"))
        for key, value in node.items()
        if key != "title" and not (key == "default" and value in (None, [], {}))
    }
    ways = tidy.get("anyOf")
    if ways and {"type": "null"} in ways:
        rest = [way for way in ways if way != {"type": "null"}]
        del tidy["anyOf"]
        tidy = {**(rest[0] if len(rest) == 1 else {"anyOf": rest}), **tidy}
    if "patternProperties" in tidy:  # names that do not match are refused
        tidy.setdefault("additionalProperties", False)
    if tidy.get("additionalProperties") is False:
        tidy["patternProperties"] = {"^x-": {}, **tidy.get("patternProperties", {})}
    # Draft-07 ignores what stands beside a $ref.
    if "$ref" in tidy and len(tidy) > 1:
        tidy = {"allOf": [{"$ref": tidy.pop("$ref")}], **tidy}
    return tidy


def _with_expressions(node: Any) -> Any:
    """Lets `${params.NAME}` stand wherever a value that is not free text is wanted."""
    if isinstance(node, list):
        return [_with_expressions(item) for item in node]
    if not isinstance(node, dict):
        return node
    inner = {
        key: {k: _with_expressions(v) for k, v in value.items()}
        if key in ("properties", "patternProperties", "definitions")
        else _with_expressions(value)
        for key, value in node.items()
        if key not in ("default", "examples", "enum", "const")
    }
    inner |= {
        k: copy.deepcopy(node[k]) for k in ("default", "examples", "enum", "const") if k in node
    }
    picky = inner.get("type") in ("integer", "number", "boolean") or (
        inner.get("type") == "string" and ("pattern" in inner or "enum" in inner)
    )
    if not picky:
        return inner
    described = {k: inner.pop(k) for k in ("description", "default", "examples") if k in inner}
    return {"anyOf": [inner, dict(_FILLED)], **described}

"""The reference of the REST API as Markdown, from the OpenAPI document."""

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]


def api_reference(document: Json) -> str:
    """A page with all operations by tag, then all schemas."""
    lines = [
        "# REST API",
        "",
        document["info"]["description"],
        "",
        "The same document is served at `/openapi.json`; `/docs` of a running service shows it with its error codes.",
        "",
    ]
    operations = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if isinstance(operation, dict) and "operationId" in operation
    ]
    for tag in document["tags"]:
        lines += [f"## {tag['name'].capitalize()}", "", tag.get("description", ""), ""]
        for method, path, operation in operations:
            if tag["name"] in operation["tags"]:
                lines += _operation(method, path, operation)
    lines += ["## Schemas", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += _schema(name, schema)
    return "\n".join(lines)


def _operation(method: str, path: str, operation: Json) -> Iterator[str]:
    yield from (
        f"### {operation['summary']}",
        "",
        f"`{method.upper()} {path}`",
        "",
        operation.get("description", ""),
        "",
    )
    if parameters := [each for each in operation.get("parameters", ()) if "name" in each]:
        yield from ("| Parameter | In | Type | Meaning |", "|---|---|---|---|")
        for each in parameters:
            required = " (required)" if each.get("required") and each["in"] != "path" else ""
            yield f"| `{each['name']}`{required} | {each['in']} | {_type(each['schema'])} | {_cell(each)} |"
        yield ""
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield from (f"Body, `{media}`: {_type(content.get('schema', {}))}", "")
    answers = []
    for status, answer in operation["responses"].items():
        of = ", ".join(_type(content.get("schema", {})) for content in answer.get("content", {}).values())
        answers.append(f"{status}{f': {of}' if of else ''}" if status < "400" else status)
    yield from (f"Responses: {'; '.join(answers)}.", "")


def _schema(name: str, schema: Json) -> Iterator[str]:
    yield from (f"### {name}", "", _cell(schema), "")
    if properties := schema.get("properties"):
        yield from ("| Field | Type | Meaning |", "|---|---|---|")
        for field, part in properties.items():
            required = " (required)" if field in schema.get("required", ()) else ""
            yield f"| `{field}`{required} | {_type(part)} | {_cell(part)} |"
        yield ""
    elif values := schema.get("enum"):
        yield from (f"One of {', '.join(f'`{value}`' for value in values)}.", "")


def _type(schema: Json) -> str:
    """The type of a schema in words, with links to named schemas."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(_type(part) for part in schema[union]))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _cell(part: Json) -> str:
    """A description with its default, in one line."""
    text = " ".join(str(part.get("description", "")).split()).replace("|", "\\|")
    schema = part.get("schema", part)
    default = f" Default: `{schema['default']}`." if schema.get("default") not in (None, "", [], {}) else ""
    return f"{text}{default}"

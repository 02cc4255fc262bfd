"""Finds changes between two OpenAPI documents that break existing clients. Additions are compatible."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

Document = Mapping[str, Any]
Direction = Literal["sent", "received"]
_METHODS = ("get", "put", "post", "delete", "head", "patch")
# Bounds of request values, and whether a larger bound accepts more values.
_BOUNDS = {
    "maximum": True,
    "exclusiveMaximum": True,
    "maxLength": True,
    "maxItems": True,
    "minimum": False,
    "exclusiveMinimum": False,
    "minLength": False,
    "minItems": False,
}


def breaks(old: Document, new: Document) -> list[str]:
    """Returns one line per change in `new` that breaks a client of `old`."""
    return list(dict.fromkeys(_Comparison(old, new).all()))


class _Comparison:
    def __init__(self, old: Document, new: Document) -> None:
        self._old, self._new = old, new
        self._compared: set[tuple[str, str, Direction]] = set()

    def all(self) -> Iterator[str]:
        for path, methods in self._old["paths"].items():
            for method in _METHODS:
                if method in methods:
                    at = f"{method.upper()} {path}"
                    found = self._new["paths"].get(path, {}).get(method)
                    if found is None:
                        yield f"{at}: removed"
                    else:
                        yield from self._operation(at, methods[method], found)
        removed_codes = _codes(self._old) - _codes(self._new)
        yield from (f"problem code {code}: removed" for code in sorted(removed_codes))

    def _operation(self, at: str, old: Document, new: Document) -> Iterator[str]:
        if old["operationId"] != new["operationId"]:
            yield f"{at}: operationId was {old['operationId']}, is {new['operationId']}"
        yield from self._parameters(at, old, new)
        yield from self._body(at, old.get("requestBody"), new.get("requestBody"))
        for status, answer in old["responses"].items():
            if not status.startswith("2"):
                continue
            if status not in new["responses"]:
                yield f"{at}: status {status} removed"
                continue
            for kind, content in answer.get("content", {}).items():
                found = new["responses"][status].get("content", {}).get(kind)
                if found is None:
                    yield f"{at}: {status} is no longer {kind}"
                else:
                    yield from self._schema(f"{at} {status}", content.get("schema"), found.get("schema"), "received")

    def _parameters(self, at: str, old: Document, new: Document) -> Iterator[str]:
        before, after = _by_location(old), _by_location(new)
        for place, parameter in before.items():
            if place not in after:
                yield f"{at}: parameter {place[1]} removed"
            else:
                yield from self._schema(f"{at} {place[1]}", parameter["schema"], after[place]["schema"], "sent")
        for place, parameter in after.items():
            if parameter.get("required") and not before.get(place, {}).get("required"):
                yield f"{at}: parameter {place[1]} is required now"

    def _body(self, at: str, old: Document | None, new: Document | None) -> Iterator[str]:
        if new is not None and new.get("required") and not (old or {}).get("required"):
            yield f"{at}: a body is required now"
        for kind, content in (old or {}).get("content", {}).items():
            found = (new or {}).get("content", {}).get(kind)
            if found is None:
                yield f"{at}: {kind} is no longer accepted"
            else:
                yield from self._schema(f"{at} body", content.get("schema"), found.get("schema"), "sent")

    def _schema(self, at: str, old: Any, new: Any, direction: Direction) -> Iterator[str]:
        if old is None or new is None:
            return
        names = (old.get("$ref", ""), new.get("$ref", ""), direction)
        if all(names[:2]):
            if names in self._compared:
                return
            self._compared.add(names)
        old, new = _resolved(self._old, old), _resolved(self._new, new)
        wide, narrow = (new, old) if direction == "sent" else (old, new)
        documents = (self._old, self._new) if direction == "sent" else (self._new, self._old)
        if missing := _types(_type_set(documents[0], narrow), _type_set(documents[1], wide)):
            yield f"{at}: type changed ({', '.join(sorted(missing))})"
            return
        if variants := _variants(old):
            yield from self._variants(at, variants, _variants(new) or [new], direction)
            return
        if _variants(new):
            return  # The old types are still accepted.
        if "enum" in old or "const" in old:
            values = new.get("enum", [new["const"]] if "const" in new else None)
            if values is not None:
                for value in old.get("enum", [old.get("const")]):
                    if value not in values:
                        yield f"{at}: value {value!r} removed"
        elif direction == "sent" and ("enum" in new or "const" in new):
            yield f"{at}: only some values are accepted now"
        if direction == "sent":
            yield from _narrower(at, old, new)
        yield from self._properties(at, old, new, direction)
        if "items" in old and "items" in new:
            yield from self._schema(f"{at}[]", old["items"], new["items"], direction)
        if isinstance(old.get("additionalProperties"), dict) and isinstance(new.get("additionalProperties"), dict):
            yield from self._schema(f"{at}.*", old["additionalProperties"], new["additionalProperties"], direction)

    def _variants(self, at: str, old: list[Any], new: list[Any], direction: Direction) -> Iterator[str]:
        """Checks that each variant one side may send matches a variant that the other side accepts."""
        for index, one in enumerate(old if direction == "sent" else new):
            others = new if direction == "sent" else old
            compared = set(self._compared)
            tries = []
            for other in others:
                pair = (one, other) if direction == "sent" else (other, one)
                self._compared = set(compared)
                tries.append(list(self._schema(at, *pair, direction)))
                if not tries[-1]:
                    break
            else:
                closest = min(tries, key=len, default=[])
                yield from closest or [f"{at}: variant {index} removed"]

    def _properties(self, at: str, old: Document, new: Document, direction: Direction) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name, schema in before.items():
            if name not in after:
                yield f"{at}.{name}: removed"
            else:
                yield from self._schema(f"{at}.{name}", schema, after[name], direction)
        if direction == "sent":
            yield from (
                f"{at}.{name}: required now" for name in new.get("required", []) if name not in old.get("required", [])
            )
        else:
            yield from (
                f"{at}.{name}: no longer always present"
                for name in old.get("required", [])
                if name in after and name not in new.get("required", [])
            )


def _narrower(at: str, old: Document, new: Document) -> Iterator[str]:
    for bound, larger_is_wider in _BOUNDS.items():
        was, now = old.get(bound), new.get(bound)
        if now is not None and (was is None or (now < was if larger_is_wider else now > was)):
            yield f"{at}: {bound} was {was}, is {now}"
    if new.get("pattern") not in (None, old.get("pattern")):
        yield f"{at}: pattern was {old.get('pattern')}, is {new['pattern']}"


def _types(narrow: frozenset[str] | None, wide: frozenset[str] | None) -> set[str]:
    """The types in `narrow` that `wide` lacks. Empty if either schema declares no types."""
    if narrow is None or wide is None:
        return set()
    return {name for name in narrow if name not in wide and not (name == "integer" and "number" in wide)}


def _type_set(document: Document, schema: Any) -> frozenset[str] | None:
    schema = _resolved(document, schema)
    if variants := _variants(schema):
        sets = [_type_set(document, variant) for variant in variants]
        return None if None in sets else frozenset().union(*(found for found in sets if found))
    declared = schema.get("type")
    if declared is None and "enum" in schema:
        return None
    return None if declared is None else frozenset([declared] if isinstance(declared, str) else declared)


def _resolved(document: Document, schema: Any) -> Any:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if len(schema.get("allOf", [])) == 1:
        return _resolved(document, schema["allOf"][0])
    return schema


def _variants(schema: Any) -> list[Any]:
    return list(schema.get("anyOf") or schema.get("oneOf") or [])


def _by_location(operation: Document) -> dict[tuple[str, str], Any]:
    return {(each["in"], each["name"]): each for each in operation.get("parameters", [])}


def _codes(document: Document) -> set[str]:
    found = set()
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if not status.startswith(("2", "3")):
                    found |= set(answer["description"].split("`")[1::2])
    return found

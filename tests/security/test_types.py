"""Request bodies are accepted only if they match the OpenAPI document: a value of another type is rejected in any field."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

import api.app  # noqa: F401 - imports every model of a request body
from api.jobs.schemas import JobRequest
from ttm_core.spec.base import Spec, StrictModel
from ttm_core.spec.job import DistillSpec

Json = Any


def descendants(of: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in of.__subclasses__():
        yield model
        yield from descendants(model)


# Every request body and every part of it. Models whose names begin with an underscore are base classes.
MODELS = {
    model.__name__: model
    for model in descendants(StrictModel)
    # DistillSpec is tested as part of JobRequest.
    if model.__name__[0] != "_" and model.model_fields and model is not DistillSpec
}
SPECS = {name for name, model in MODELS.items() if issubclass(model, Spec)}


def values(schema: Json, definitions: Json) -> st.SearchStrategy[Json]:
    """A strategy for the values that a JSON schema allows."""
    match schema:
        case {"$ref": name}:
            return st.deferred(lambda: values(definitions[name.rpartition("/")[2]], definitions))
        case {"anyOf": variants} | {"oneOf": variants}:
            return st.one_of([values(variant, definitions) for variant in variants])
        case {"const": value}:
            return st.just(value)
        case {"enum": choices}:
            return st.sampled_from(choices)
        case {"type": "null"}:
            return st.none()
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "integer"}:
            return st.integers(schema.get("minimum"), schema.get("maximum"))
        case {"type": "number"}:
            low = schema.get("exclusiveMinimum", schema.get("minimum", -1e6))
            high = schema.get("exclusiveMaximum", schema.get("maximum", 1e6))
            return st.floats(
                low, high, exclude_min="exclusiveMinimum" in schema, exclude_max="exclusiveMaximum" in schema
            )
        case {"type": "string", "pattern": pattern}:
            return st.from_regex(pattern, fullmatch=True)
        case {"type": "string", "format": "date-time"}:
            return st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat())
        case {"type": "string"}:
            return st.text("abc:/.", min_size=schema.get("minLength", 0), max_size=20)
        case {"type": "array", "prefixItems": parts}:
            return st.tuples(*(values(part, definitions) for part in parts)).map(list)
        case {"type": "array", "items": item}:
            few = schema.get("minItems", 0)
            return st.lists(
                values(item, definitions), min_size=few, max_size=max(few, min(schema.get("maxItems", 3), 3))
            )
        case {"type": "object", "properties": properties}:
            fields = {name: values(part, definitions) for name, part in properties.items()}
            needed = {name: fields.pop(name) for name in schema.get("required", ())}
            return st.fixed_dictionaries(needed, optional=fields)
        case {"type": "object", "additionalProperties": part, "propertyNames": {"const": name}}:
            return st.dictionaries(st.just(name), values(part, definitions), max_size=1)
        case {"type": "object", "patternProperties": patterns}:
            ((pattern, part),) = patterns.items()
            longest = schema.get("propertyNames", {}).get("maxLength", 100)
            keys = st.from_regex(pattern, fullmatch=True).filter(lambda key: len(key) <= longest)
            few = schema.get("minProperties", 0)
            return st.dictionaries(keys, values(part, definitions), min_size=few, max_size=few + 2)
    raise AssertionError(schema)


def paths(value: Json, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value in a document."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield (*at, name)
        yield from paths(part, (*at, name))


OTHERS = st.sampled_from(
    [True, False, 0, 1, -1, 2, 0.5, 1.0, "1", "10", "0.5", "true", "yes", "", None, [], {}, [1], {"a": 1}]
)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_accepted_bodies_match_the_schema(name: str, data: st.DataObject) -> None:
    import jsonschema  # here: takes a second, in every process that collects tests

    model = MODELS[name]
    schema = model.model_json_schema()
    document = data.draw(values(schema, schema.get("$defs", {})))
    if found := list(paths(document)):
        changed = copy.deepcopy(document)
        *above, last = data.draw(st.sampled_from(found))
        at = changed
        for part in above:
            at = at[part]
        at[last] = data.draw(OTHERS)
        document = changed
    try:
        body = model.model_validate(document)
    except ValidationError:
        return
    jsonschema.Draft202012Validator(schema).validate(document)
    # A round trip through the database does not change it.
    assert model.model_validate(body.model_dump(mode="json", exclude_unset=name not in SPECS)) == body


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ({"epochs": True}, "/epochs"),
        ({"epochs": "10"}, "/epochs"),
        ({"optimizer": {"name": "adamw", "betas": [True, 0.9]}}, "/optimizer/adamw/betas/0"),
        ({"optimizer": {"name": "sgd", "nesterov": 1}}, "/optimizer/sgd/nesterov"),
        ({"gradient_clipping": True}, "/gradient_clipping/value"),
        ({"label_smoothing": "0.1"}, "/label_smoothing"),
    ],
)
def test_booleans_and_strings_are_not_numbers(part: Json, wrong: str) -> None:
    body = {"student": "resnet18", "dataset": "file:///d", "method": "ce", "training": part}
    with pytest.raises(ValidationError) as caught:
        JobRequest.model_validate(body)
    assert ["/training" + wrong] == ["/" + "/".join(map(str, fault["loc"])) for fault in caught.value.errors()]


def test_integral_floats_are_integers_and_integers_are_floats() -> None:
    body = {"student": "resnet18", "dataset": "file:///d", "method": "ce"}
    body["training"] = {"epochs": 10.0, "label_smoothing": 0, "optimizer": {"name": "sgd", "learning_rate": 1}}
    training = JobRequest.model_validate(body).training
    assert isinstance(training.epochs, int)
    assert isinstance(training.label_smoothing, float)
    assert isinstance(training.optimizer.learning_rate, float)
    assert math.isclose(training.optimizer.learning_rate, 1)

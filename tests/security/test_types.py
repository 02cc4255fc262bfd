"""What a body may hold is what the document says: a value of another type is refused wherever it stands."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from api.jobs.schemas import JobRequest
from api.main import app
from ttm_core.spec.base import Spec, StrictModel
from ttm_core.spec.job import DistillSpec

Json = Any


def descendants(of: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in of.__subclasses__():
        yield model
        yield from descendants(model)


# All that comes in a body, and every part of it; what begins with an underscore is only the base of others.
assert app is not None
MODELS = {
    model.__name__: model
    for model in descendants(StrictModel)
    # The whole spec is drawn as the body that it is.
    if model.__name__[0] != "_" and model.model_fields and model is not DistillSpec
}
SPECS = {name for name, model in MODELS.items() if issubclass(model, Spec)}


def values(schema: Json, definitions: Json) -> st.SearchStrategy[Json]:
    """What a schema of the kinds that pydantic writes here allows."""
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
    raise AssertionError(schema)


def places(value: Json, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place within a document."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield (*at, name)
        yield from places(part, (*at, name))


OTHERS = st.sampled_from(
    [True, False, 0, 1, -1, 2, 0.5, 1.0, "1", "10", "0.5", "true", "yes", "", None, [], {}, [1], {"a": 1}]
)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_body_is_accepted_only_where_the_document_allows_it(name: str, data: st.DataObject) -> None:
    model = MODELS[name]
    schema = model.model_json_schema()
    document = data.draw(values(schema, schema.get("$defs", {})))
    if found := list(places(document)):
        changed = copy.deepcopy(document)
        *above, last = data.draw(st.sampled_from(found))
        at = changed
        for part in above:
            at = at[part]
        at[last] = data.draw(OTHERS)
        document = changed
    try:
        told = model.model_validate(document)
    except ValidationError:
        return
    jsonschema.Draft202012Validator(schema).validate(document)
    # As a job's row keeps it, and as a worker reads it.
    assert model.model_validate(told.model_dump(mode="json", exclude_unset=name not in SPECS)) == told


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ({"epochs": True}, "/epochs"),
        ({"epochs": "10"}, "/epochs"),
        ({"optimizer": {"name": "adamw", "betas": [True, 0.9]}}, "/optimizer/adamw/betas/0"),
        ({"optimizer": {"name": "sgd", "nesterov": 1}}, "/optimizer/sgd/nesterov"),
        ({"gradient_clipping": True}, "/clipping/value"),
        ({"label_smoothing": "0.1"}, "/label_smoothing"),
    ],
)
def test_a_number_is_neither_a_truth_nor_a_text(part: Json, wrong: str) -> None:
    told = {"student": "resnet18", "dataset": "file:///d", "method": "ce", "training": part}
    with pytest.raises(ValidationError) as refused:
        JobRequest.model_validate(told)
    assert ["/training" + wrong] == ["/" + "/".join(map(str, fault["loc"])) for fault in refused.value.errors()]


def test_whole_numbers_are_integers_and_integers_are_numbers() -> None:
    told = {"student": "resnet18", "dataset": "file:///d", "method": "ce"}
    told["training"] = {"epochs": 10.0, "label_smoothing": 0, "optimizer": {"name": "sgd", "learning_rate": 1}}
    training = JobRequest.model_validate(told).training
    assert isinstance(training.epochs, int)
    assert isinstance(training.label_smoothing, float)
    assert isinstance(training.optimizer.learning_rate, float)
    assert math.isclose(training.optimizer.learning_rate, 1)

"""A short run of ttm with its published weight is warned of; a chosen weight and other methods are not."""

from typing import Any

import pytest

from tests.ttm_core import factories
from ttm_core.pipeline.distill import distill
from ttm_core.spec.events import Event, Log


@pytest.mark.parametrize(
    ("method", "warned"), [("ttm", True), ({"kind": "ttm", "beta": 8}, False), ("wttm", False)], ids=str
)
def test_published_weight_in_a_short_run(
    method: str | dict[str, Any], warned: bool, digits_idx, teacher_file, tmp_path
) -> None:
    emitted: list[Event] = []
    spec = factories.spec(digits_idx, teacher_file, method=method, training={"epochs": 1})
    distill(spec, tmp_path, on_event=emitted.append)
    warnings = [event.message for event in emitted if isinstance(event, Log) and event.level == "warning"]
    assert any("set method.beta to about 1" in message for message in warnings) == warned

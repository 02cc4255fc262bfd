"""Published teachers: errors without weights or without access to the Hub."""

import pytest
from huggingface_hub import constants

from ttm_core.errors import BadSpec, TeacherUnreachable
from ttm_core.models import timm_models
from ttm_core.spec.job import TeacherSpec


def test_unreachable_hub_is_reported(tmp_path, monkeypatch):
    # A closed port gives the same error, but after half a minute of retries.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(TeacherUnreachable, match=r"'resnet18\.a1_in1k' are on the Hugging Face Hub") as raised:
        timm_models.fetch(TeacherSpec(checkpoint="timm:resnet18.a1_in1k"))
    assert (raised.value.code, raised.value.origin, raised.value.retryable) == ("teacher_unreachable", "system", True)


@pytest.mark.parametrize("name", ["no_such_model", "resnet18.no_such_tag"])
def test_name_without_published_weights_is_refused(name):
    with pytest.raises(BadSpec, match="no published weights"):
        timm_models.fetch(TeacherSpec(checkpoint=f"timm:{name}"))

"""Building specs from flags and files."""

from pathlib import Path
from typing import Any

import pytest
import typer

from ttm_client.cli.specs import put, put_assignments, read_spec, with_file_uris


@pytest.mark.parametrize(
    ("spec", "field", "value", "expected"),
    [
        ({}, "name", "x", {"name": "x"}),
        ({"name": "x"}, "name", None, {"name": "x"}),
        ({}, "training.epochs", 3, {"training": {"epochs": 3}}),
        ({"training": None}, "training.epochs", 3, {"training": {"epochs": 3}}),
        ({"method": "kd"}, "method.temperature", 4, {"method": {"kind": "kd", "temperature": 4}}),
        ({"student": "a"}, "student.image_size", 32, {"student": {"architecture": "a", "image_size": 32}}),
        ({"teacher": "u"}, "teacher.num_classes", 5, {"teacher": {"checkpoint": "u", "num_classes": 5}}),
        ({"dataset": "d"}, "dataset.format", "idx", {"dataset": {"uri": "d", "format": "idx"}}),
        ({"training": 5}, "training.epochs", 3, {"training": {"epochs": 3}}),
    ],
)
def test_put_sets_field_by_dotted_name(
    spec: dict[str, Any], field: str, value: object, expected: dict[str, Any]
) -> None:
    put(spec, field, value)
    assert spec == expected


def test_assignment_values_are_yaml() -> None:
    spec: dict[str, Any] = {}
    put_assignments(spec, ["a.b=1e-3", "a.c=true", "d=[1, x]", "e=", "f=a=b", "g=2030-01-31"])
    assert spec == {"a": {"b": 0.001, "c": True}, "d": [1, "x"], "f": "a=b", "g": "2030-01-31"}


@pytest.mark.parametrize(
    "content", [b"- a\n- b\n", b"a: [", b"\xff\xfe\x00", b"just words", b"!!python/object:os.system x"]
)
def test_invalid_spec_files_are_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(content)
    with pytest.raises(typer.BadParameter):
        read_spec(path)


def test_local_paths_become_file_uris(tmp_path: Path) -> None:
    spec = {
        "teachers": [str(tmp_path / "a b.pt"), {"checkpoint": "job:1", "weight": 2}],
        "student": {"architecture": "resnet18", "checkpoint": "https://host/x.pt"},
        "dataset": {"uri": str(tmp_path), "format": "idx", "unlabelled": [str(tmp_path / "b"), "upload:1"]},
    }
    assert with_file_uris(spec) == {
        "teachers": [(tmp_path / "a b.pt").as_uri(), {"checkpoint": "job:1", "weight": 2}],
        "student": {"architecture": "resnet18", "checkpoint": "https://host/x.pt"},
        "dataset": {"uri": tmp_path.as_uri(), "format": "idx", "unlabelled": [(tmp_path / "b").as_uri(), "upload:1"]},
    }
    assert with_file_uris({"student": "resnet18", "teacher": "s3://b/k"})["teacher"] == "s3://b/k"

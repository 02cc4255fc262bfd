"""Architectures of other packages: a package with a usable entry point and many hostile ones."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import acme
from ttm_core.models import build
from ttm_core.spec.catalogue import UnknownArchitecture
from ttm_core.spec.structure import ModelStructure

OTHERS = """
def acme_without_configuration(pretrained=False, **options):
    raise AssertionError("not called without a configuration")

def acme_other_name(pretrained=False, **options): ...

def resnet18(pretrained=False, **options):
    raise AssertionError("must not replace timm's model")
"""
HOSTILE = {
    "resnet18": "others:resnet18",
    "../../etc/passwd": "others:resnet18",
    "cifar/resnet20": "others:resnet18",
    "Acme": "others:resnet18",
    "a" * 65: "others:resnet18",
    "acme_raises": "raises:acme_raises",
    "acme_exits": "exits:acme_exits",
    "acme_missing_module": "no_such_module:acme_missing_module",
    "acme_missing_function": "others:acme_missing_function",
    "acme_without_configuration": "others:acme_without_configuration",
    "acme_renamed": "others:acme_other_name",
}


def test_usable_entry_points_are_described_and_hostile_ones_are_logged(tmp_path: Path) -> None:
    folder = acme.install(tmp_path / "site", HOSTILE)
    (folder / "others.py").write_text(OTHERS)
    (folder / "raises.py").write_text("raise RuntimeError('broken package')")
    (folder / "exits.py").write_text("raise SystemExit(7)")
    done = subprocess.run(
        [sys.executable, "-m", "ttm_core.models.installed.report"],
        env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    (row,) = json.loads(done.stdout)
    assert row["name"] == "acme_net"
    assert row["origin"] == "acme-models 1.0"
    assert row["parameters"] == 3 * 16 * 9 + 2 * 16 + 16 * 1000 + 1000
    assert row["macs"] > 0
    assert row["input_size"] == [3, 32, 32]
    for name in HOSTILE:
        assert f"The architecture {name!r} of the package acme-models is omitted" in done.stderr
    assert "RuntimeError: broken package" in done.stderr


def test_a_model_of_a_package_that_is_not_installed_names_the_group() -> None:
    with pytest.raises(UnknownArchitecture, match=r"entry point in the group ttm\.architectures is installed"):
        build(ModelStructure(architecture="acme_net", num_classes=3))

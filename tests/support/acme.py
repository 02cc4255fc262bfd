"""The package of docs/how-to/add-an-architecture.md, installed into a folder for PYTHONPATH."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/how-to/add-an-architecture.md"


def install(folder: Path, entry_points: Mapping[str, str] | None = None) -> Path:
    """Installs the package as pip would, optionally with further entry points. Returns the folder."""
    page = PAGE.read_text(encoding="utf-8")
    module, project = (_block(page, language) for language in ("python", "toml"))
    described = tomllib.loads(project)["project"]
    points = described["entry-points"]["ttm.architectures"] | dict(entry_points or {})
    name, version = described["name"].replace("-", "_"), described["version"]
    metadata = folder / f"{name}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (folder / f"{name}.py").write_text(module, encoding="utf-8")
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {described['name']}\nVersion: {version}\n")
    lines = "\n".join(f"{point} = {target}" for point, target in points.items())
    (metadata / "entry_points.txt").write_text(f"[ttm.architectures]\n{lines}\n")
    return folder


def _block(page: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)
    assert found is not None, f"{PAGE.name} has no {language} block"
    return found[1]

"""The template environment. Every value is escaped; nothing in a template disables escaping."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from starlette.responses import HTMLResponse

from api.dashboard import formats

# The entries of the navigation, and under each the pages that belong to it: name, path and title.
NAVIGATION = (
    ("Studies", (("studies", "/ui/studies", "Studies"), ("new study", "/ui/new-study", "New study"))),
    ("Jobs", (("jobs", "/ui/jobs", "Jobs"), ("new", "/ui/new", "New job"))),
    (
        "Models",
        (
            ("teachers", "/ui/teachers", "Teachers"),
            ("datasets", "/ui/datasets", "Datasets"),
            ("uploads", "/ui/uploads", "Uploads"),
            ("architectures", "/ui/architectures", "Architectures"),
            ("recipes", "/ui/recipes", "Recipes"),
        ),
    ),
    (
        "Fleet",
        (
            ("workers", "/ui/workers", "Workers"),
            ("queue", "/ui/queue", "Queue"),
            ("devices", "/ui/devices", "Devices"),
            ("stores", "/ui/stores", "Teacher stores"),
        ),
    ),
    (
        "Settings",
        (
            ("keys", "/ui/keys", "API keys"),
            ("webhooks", "/ui/webhooks", "Webhooks"),
            ("audit", "/ui/audit", "Audit log"),
            ("docs", "/docs", "API"),
        ),
    ),
)

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.globals["navigation"] = NAVIGATION
# The pages that the command palette finds, as JSON.
_environment.globals["destinations"] = json.dumps(
    [{"href": path, "text": title, "note": section} for section, pages in NAVIGATION for _, path, title in pages]
)
_environment.filters |= {
    "against_teacher": formats.against_teacher,
    "ago": formats.ago,
    "basename": formats.basename,
    "compression_text": formats.compression_text,
    "count": formats.count,
    "duration": formats.duration,
    "humanize": formats.humanize,
    "milliseconds": formats.milliseconds,
    "percent": formats.percent,
    "points": formats.points,
    "pretty_json": formats.pretty_json,
    "prose": formats.prose,
    "shell": formats.shell,
    "short": formats.short,
    "size": formats.size,
    "timestamp": formats.timestamp,
}


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A rendered page. Pages show the current state, so they must not be cached."""
    html = _environment.get_template(template).render(values)
    return HTMLResponse(html, status, headers={"Cache-Control": "no-store"})

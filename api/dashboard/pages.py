"""The templates, with everything escaped that is not markup of our own."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from starlette.responses import HTMLResponse

from api.dashboard import formats

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "count": formats.count,
    "ratio": formats.ratio,
    "words": formats.words,
    "percent": formats.percent,
    "size": formats.size,
    "duration": formats.duration,
    "moment": formats.moment,
    "pretty_json": formats.pretty_json,
    "prose": formats.prose,
    "shell": formats.shell,
    "short": formats.short,
    "tail": formats.tail,
}


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A rendered page. It shows the moment, so nothing keeps it."""
    html = _environment.get_template(template).render(values)
    return HTMLResponse(html, status, headers={"Cache-Control": "no-store"})

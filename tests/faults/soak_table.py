"""`python -m tests.faults.soak_table`: writes docs/reference/soak.json into docs/reliability.md."""

import json
from pathlib import Path
from typing import Any

_DOCS = Path(__file__).parents[2] / "docs"
FIGURES = _DOCS / "reference" / "soak.json"
PAGE = _DOCS / "reliability.md"
_BEGIN, _END = "<!-- soak: begin -->\n", "<!-- soak: end -->\n"


def render(figures: dict[str, Any]) -> str:
    """The table between the markers."""
    noticed = figures["worker_death_noticed_after_seconds"]
    kills = ", ".join(f"{name} {count}" for name, count in figures["kills"].items())
    attempts = ", ".join(f"{name} {count}" for name, count in figures["attempts"].items())
    rows = {
        "database": figures["database"],
        "jobs accepted with 201": figures["accepted"],
        "jobs with a lost response": figures["unanswered"],
        "workers": figures["workers"],
        "seconds": figures["seconds"],
        "killed": kills,
        "attempts": attempts,
        "**succeeded**": figures["succeeded"],
        "**lost**": figures["lost"],
        "**ended twice**": figures["ended_twice"],
        "**with wrong bytes**": figures["wrong_bytes"],
        "objects left for the collector": figures["unnamed_objects"],
        "workers killed while they held a job": noticed["deaths"],
        "seconds until the lost attempt was recorded (lease 5 s): median, maximum": f"{noticed['median']}, {noticed['most']}",
    }
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows.items())


def rewritten(page: str, figures: dict[str, Any]) -> str:
    """The page with an updated table."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return before + _BEGIN + render(figures) + _END + after


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(), json.loads(FIGURES.read_text())))

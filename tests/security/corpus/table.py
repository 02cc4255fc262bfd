"""`python -m tests.security.corpus.table`: how many cases of each kind there are, as docs/security.md has it."""

from tests.security.corpus import archives, checkpoints, images
from tests.security.corpus.requests import ADDRESSES, BODIES, ENTRIES, HEADERS, URIS

PATHS_WITH_HEADERS = ("/jobs", "/uploads", "/jobs/{job_id}", "/healthz")


def render() -> str:
    """The table in Markdown."""
    rows = [
        ("checkpoints", len(checkpoints.CASES), "a job's teacher, in the trainer"),
        ("archives", len(archives.CASES), "a job's dataset, in the trainer"),
        ("images", len(images.CASES), "a job's dataset, in the trainer"),
        ("addresses", len(URIS) * len(ADDRESSES), f"{len(URIS)} at each of {len(ADDRESSES)} places that take one"),
        ("headers", len(HEADERS) * len(PATHS_WITH_HEADERS), f"{len(HEADERS)} at {len(PATHS_WITH_HEADERS)} paths"),
        ("bodies", len(BODIES) * len(ENTRIES), f"{len(BODIES)} at each of {len(ENTRIES)} operations that take one"),
    ]
    lines = ["| what | cases | goes through |", "|---|---|---|"]
    lines += [f"| {name} | {count} | {through} |" for name, count, through in rows]
    lines.append(f"| together | {sum(count for _, count, _ in rows)} | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(render(), end="")

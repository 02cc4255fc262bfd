"""Prints the number of cases for docs/security.md: `python -m tests.security.corpus.table`."""

from tests.security.corpus import archives, checkpoints, images, onnx_files
from tests.security.corpus.requests import ADDRESSES, BODIES, ENTRIES, HEADERS, URIS

PATHS_WITH_HEADERS = ("/jobs", "/uploads", "/jobs/{job_id}", "/healthz")


def render() -> str:
    """The table in Markdown."""
    rows = [
        ("checkpoints", len(checkpoints.CASES), "a job's teacher, read by the trainer"),
        ("ONNX files", len(onnx_files.CASES), "a job's teacher, run by the trainer"),
        ("archives", len(archives.CASES), "a job's dataset, read by the trainer"),
        ("images", len(images.CASES), "a job's dataset, read by the trainer"),
        ("images", len(images.CASES), "an image to classify, read by a process of the API"),
        ("URIs", len(URIS) * len(ADDRESSES), f"{len(URIS)} in each of {len(ADDRESSES)} fields that accept a URI"),
        ("headers", len(HEADERS) * len(PATHS_WITH_HEADERS), f"{len(HEADERS)} at {len(PATHS_WITH_HEADERS)} paths"),
        ("bodies", len(BODIES) * len(ENTRIES), f"{len(BODIES)} for each of {len(ENTRIES)} operations with a JSON body"),
    ]
    lines = ["| Input | Cases | Entry point |", "|---|---|---|"]
    lines += [f"| {name} | {count} | {through} |" for name, count, through in rows]
    lines.append(f"| total | {sum(count for _, count, _ in rows)} | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(render(), end="")

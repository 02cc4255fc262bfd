"""Each code block of the tutorial, the how-to guides and the reference is run by a test, or says why not."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from api.http.problems import Problem
from api.jobs.bulk.schemas import BulkCancel, BulkTag
from api.jobs.validation.request import UnknownArchitecture
from tests.docs.blocks import Block, blocks, pages, to_run
from ttm_core.spec.job import DistillSpec
from ttm_jobs.webhook_signatures import new_secret, signed

TESTS = Path(__file__).parents[1]
HOW_TO = "docs/test_how_to.py"
# The test that runs the blocks of each page.
RUN_BY = {
    "tutorial.md": "docs/test_tutorial.py",
    "how-to/add-an-architecture.md": HOW_TO,
    "how-to/backup-and-restore.md": "deploy/test_backup.py",
    "how-to/bring-your-own-teacher.md": HOW_TO,
    "how-to/choose-the-student.md": "docs/test_blocks.py",
    "how-to/coming-from-other-tools.md": "docs/test_coming_from.py",
    "how-to/find-a-student.md": HOW_TO,
    "how-to/gpu-workers.md": HOW_TO,
    "how-to/run-a-table.md": HOW_TO,
    "how-to/run-in-production.md": HOW_TO,
    "how-to/see-what-the-student-lost.md": HOW_TO,
    "how-to/ship-on-a-board.md": HOW_TO,
    "how-to/single-sign-on.md": HOW_TO,
    "how-to/use-the-student.md": HOW_TO,
    "reference/data.md": "docs/test_blocks.py",
    "reference/http.md": "docs/test_blocks.py",
}
NOT_RUN = [block for page in pages() for block in blocks(page) if block.reason is not None]


@pytest.mark.parametrize("page", pages())
def test_every_block_is_run_or_says_why_not(page: str) -> None:
    unmarked = to_run(page)
    assert (page in RUN_BY) == bool(unmarked), f"add the test that runs {[*map(str, unmarked)]} to RUN_BY, or mark them"
    if unmarked:
        assert page.rpartition("/")[2] in (TESTS / RUN_BY[page]).read_text()


@pytest.mark.parametrize("block", NOT_RUN, ids=str)
def test_blocks_that_are_not_run_are_valid_shell(block: Block) -> None:
    # test_commands.py checks the commands and options of `ttm`, `make` and `python -m` in them.
    assert block.language == "sh", "run Python, JSON and YAML"
    checked = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_students_are_valid() -> None:
    for block in to_run("how-to/choose-the-student.md"):
        DistillSpec.model_validate({**json.loads(block.text), "dataset": "upload:ID"})


def test_unlabelled_images_are_valid() -> None:
    (block,) = to_run("reference/data.md")
    spec = DistillSpec.model_validate({**json.loads(block.text), "student": "resnet18", "teacher": "upload:ID"})
    assert len(spec.dataset.unlabelled) == 2


def test_problem_is_valid() -> None:
    problem, *_ = to_run("reference/http.md")
    fields = json.loads(problem.text)
    valid = Problem.model_validate({**fields, "errors": [{**each, "where": each["in"]} for each in fields["errors"]]})
    assert valid.code == UnknownArchitecture.code
    assert valid.status == UnknownArchitecture.status


def test_signatures_of_webhooks_are_verified() -> None:
    _, block, *_ = to_run("reference/http.md")
    names: dict[str, Any] = {}
    exec(compile(block.text, str(block), "exec"), names)
    old, new = new_secret(), new_secret()
    headers = signed([old, new], "01935c5e", 1_700_000_000, b"{}")
    assert names["is_genuine"](old, headers, b"{}")
    assert names["is_genuine"](new, headers, b"{}")
    assert not names["is_genuine"](new_secret(), headers, b"{}")
    assert not names["is_genuine"](new, headers, b"[]")


def test_bulk_requests_are_valid() -> None:
    _, _, tag, cancel = to_run("reference/http.md")
    BulkTag.model_validate_json(tag.text)
    assert BulkCancel.model_validate_json(cancel.text).dry_run

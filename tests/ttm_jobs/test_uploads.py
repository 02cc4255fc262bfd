import pytest
from sqlalchemy import Engine

from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import UploadNotFound
from ttm_jobs.models import UploadState
from ttm_jobs.repositories import uploads


def test_upload_is_received_and_completed(engine: Engine) -> None:
    with session_scope(engine) as session:
        upload = uploads.create(session, filename="teacher.safetensors", media_type="application/octet-stream")
    assert upload.state is UploadState.RECEIVING
    assert upload.key == f"uploads/{upload.id}"
    with session_scope(engine) as session:
        uploads.complete(session, upload.id, size=12, sha256="ab" * 32)
    with read_scope(engine) as session:
        completed = uploads.get(session, upload.id)
        assert (completed.state, completed.size, completed.filename) == (
            UploadState.COMPLETE,
            12,
            "teacher.safetensors",
        )
        assert completed.completed_at is not None


def test_aborted_upload_leaves_no_row(engine: Engine) -> None:
    with session_scope(engine) as session:
        upload = uploads.create(session, filename=None, media_type="application/zip")
    with session_scope(engine) as session:
        uploads.remove(session, upload.id)
    with read_scope(engine) as session, pytest.raises(UploadNotFound):
        uploads.get(session, upload.id)

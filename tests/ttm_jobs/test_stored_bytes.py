"""The stored bytes of projects, which triggers count, equal the sums over uploads, artifacts and checkpoints."""

from concurrent.futures import ThreadPoolExecutor
from random import Random

from sqlalchemy import Engine, delete, func, insert, select, update

from tests.support.factories import create_job
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.models import Artifact, Checkpoint, Job, Upload
from ttm_jobs.repositories import uploads
from ttm_jobs.repositories.access import projects

_PROJECTS = ("default", "other")


def summed(engine: Engine, project_id: str) -> int:
    files = [
        select(func.sum(table.size)).join(Job, Job.id == table.job_id).where(Job.project_id == project_id)
        for table in (Artifact, Checkpoint)
    ]
    with read_scope(engine) as session:
        queries = [select(func.sum(Upload.size)).where(Upload.project_id == project_id), *files]
        return sum(int(session.scalar(query) or 0) for query in queries)


def counted(engine: Engine, project_id: str) -> int:
    with read_scope(engine) as session:
        return projects.stored_bytes(session, project_id)


def change_files(engine: Engine, seed: int) -> None:
    """Adds, replaces and deletes files of a project; every third transaction is rolled back."""
    random = Random(seed)
    bound = bound_to(engine, _PROJECTS[seed % 2])
    with session_scope(bound) as session:
        job_ids = [create_job(session).id for _ in range(3)]
        upload_ids = [uploads.create(session, filename=None, media_type="x/y", size=seed).id for _ in range(3)]
        uploads.create(session, filename=None, media_type="x/y")
    with session_scope(bound) as session:
        uploads.complete(session, upload_ids[0], size=1_000, sha256="0" * 64)
        uploads.remove(session, upload_ids[1])
        at = now(session)
        common = {"key": "k", "sha256": "0" * 64, "lease_epoch": 1, "created_at": at}
        for job_id in job_ids:
            files = [common | {"job_id": job_id, "size": random.randrange(2**40)} for _ in range(2)]
            named = {"media_type": "x/y", "name": "student"}
            session.execute(insert(Artifact), [files[0] | named])
            session.execute(insert(Checkpoint), [files[1] | {"step": 1, "epoch": 1, "path": "p", "best": False}])
    for number in range(3):
        try:
            with session_scope(bound) as session:
                session.execute(update(Artifact).where(Artifact.job_id == job_ids[0]).values(size=random.randrange(99)))
                session.execute(delete(Checkpoint).where(Checkpoint.job_id == job_ids[1]))
                session.execute(delete(Job).where(Job.id == job_ids[2]))
                if number == 0:
                    raise InterruptedError
        except InterruptedError:
            continue


def test_counted_bytes_equal_the_sums(engine: Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: change_files(engine, seed), range(1, 13)))
    for project in _PROJECTS:
        assert counted(engine, project) == summed(engine, project) > 6 * 2**30
    with session_scope(engine) as session:
        session.execute(delete(Job))
        session.execute(delete(Upload))
    for project in _PROJECTS:
        assert counted(engine, project) == 0

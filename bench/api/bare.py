"""The baseline of the API benchmark: minimal FastAPI and SQLAlchemy endpoints for one row of the same database."""

import argparse
import socket

import uvicorn
from fastapi import Body, FastAPI
from fastapi.staticfiles import StaticFiles

from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import create_engine, read_scope, session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.models import Job
from ttm_jobs.states import JobState


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--files", help="a folder to serve at /files")
    options = parser.parse_args()
    engine = create_engine(options.database_url)
    app = FastAPI()
    if options.files is not None:
        app.mount("/files", StaticFiles(directory=options.files))

    @app.get("/rows/{row_id}")
    def read(row_id: str) -> dict[str, str | None]:
        with read_scope(engine) as session:
            row = session.get_one(Job, row_id)
            return {"id": row.id, "state": row.state, "name": row.name}

    @app.post("/rows", status_code=201)
    def create(body: dict[str, object] = Body()) -> dict[str, str]:
        with session_scope(engine) as session:
            row_id = new_id()
            at = now(session)
            session.add(
                Job(
                    id=row_id,
                    state=JobState.QUEUED,
                    spec=body,
                    student="resnet18",
                    method="ce",
                    dataset="file:///data",
                    priority=5,
                    rank=11,
                    max_attempts=3,
                    latest={},
                    created_at=at,
                    queued_at=at,
                    notified_at=at,
                )
            )
        return {"id": row_id}

    config = uvicorn.Config(app, access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=options.fd)])


if __name__ == "__main__":
    main()

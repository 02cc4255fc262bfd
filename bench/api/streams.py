"""Memory per listener of a job's event stream, and the delay until an event reaches all listeners."""

import asyncio
import statistics
import time

from bench.api.server import Server, Service
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import session_scope
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.jobs.transitions import append, locked

_ROUNDS = 20


class _Listener:
    """One connection; `newest` is the sequence number of the last event received."""

    def __init__(self) -> None:
        self.newest = 0
        self.changed = asyncio.Event()

    async def listen(self, server: Server, job_id: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        headers = "".join(f"{name}: {value}\r\n" for name, value in server.headers.items())
        writer.write(f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())
        try:
            while line := await reader.readline():
                if line.startswith(b"id:"):
                    self.newest = int(line[3:])
                    self.changed.set()
        finally:
            writer.close()

    async def reached(self, number: int) -> float:
        while self.newest < number:
            self.changed.clear()
            await self.changed.wait()
        return time.perf_counter()


def listeners(service: Service, spec: dict[str, object], count: int) -> dict[str, float]:
    """Milliseconds from the commit of an event to its last listener, and KiB per listener."""
    with session_scope(service.engine) as session:
        job_id = crud.create(session, spec=spec, student="resnet18", dataset="file:///data", method="ce").id

    def commit_event() -> tuple[int, float]:
        with session_scope(service.engine) as session:
            job = locked(session, job_id)
            number = append(session, job, "log", {"level": "info", "message": "bench"}, now(session)).number
        return number, time.perf_counter()

    async def run() -> dict[str, float]:
        before = service.server.process.memory_info().rss
        everyone = [_Listener() for _ in range(count)]
        tasks = [asyncio.create_task(one.listen(service.server, job_id)) for one in everyone]
        await asyncio.gather(*(one.reached(1) for one in everyone))
        held = service.server.process.memory_info().rss - before
        delays = []
        for _ in range(_ROUNDS):
            number, committed = await asyncio.to_thread(commit_event)
            times = await asyncio.gather(*(one.reached(number) for one in everyone))
            delays.append((max(times) - committed) * 1000)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return {
            "listeners": count,
            "last_reached_ms_median": statistics.median(delays),
            "last_reached_ms_most": max(delays),
            "kib_a_listener": held / 1024 / count,
        }

    return asyncio.run(run())

"""Sends webhooks: what the outbox owes, several at once, with patience for receivers that fail. Any number of processes
may do it at once.
"""

import logging
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta
from threading import Event as Flag

import httpcore2
from sqlalchemy import Engine

from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, read_scope, session_scope
from ttm_jobs.errors import ServiceError
from ttm_jobs.models import OutboxMessage
from ttm_jobs.repositories import outbox, webhooks
from ttm_jobs.repositories.webhooks import OutgoingRequest, RetryPolicy
from ttm_jobs.settings import Settings
from ttm_jobs.webhook_signatures import signed
from worker.inputs.network import Bounds, GuardedNetwork

logger = logging.getLogger(__name__)

_AT_ONCE = 16
# Of an answer nothing but its status is of interest; a connection is not held for the rest.
_ANSWER_BYTES = 64 * 1024
_FORGET_SECONDS = 600.0


class WebhookSender:
    """Takes deliveries from the outbox, and keeps as many on their way as it has hands."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._policy = RetryPolicy(
            first=timedelta(seconds=settings.webhook_retry_seconds),
            give_up_after=timedelta(seconds=settings.webhook_disable_seconds),
        )
        # One whose courier died with it in hand is sent again after this.
        self._again_after = timedelta(seconds=settings.webhook_timeout_seconds + 45)
        self._hands = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="webhook")
        self._under_way: set[Future[None]] = set()
        self._forget_at = 0.0

    def serve(self, stop: Flag) -> None:
        """Over and over, until `stop` is set."""
        while not stop.wait(self._settings.dispatch_interval_seconds):
            try:
                while self.send_some() and not stop.is_set():
                    wait(self._under_way, timeout=self._settings.dispatch_interval_seconds, return_when=FIRST_COMPLETED)
                self._forget()
            except DATABASE_UNAVAILABLE as error:
                logger.warning("webhooks wait for the database: %s", type(error).__name__)
                stop.wait(1.0)
        self._hands.shutdown(wait=False, cancel_futures=True)

    def send_some(self) -> int:
        """Sends off as many of those that are due as there are hands free. Returns how many are under way."""
        self._under_way = {future for future in self._under_way if not future.done()}
        free = _AT_ONCE - len(self._under_way)
        with read_scope(self._engine) as session:
            due = free > 0 and outbox.any_due(session, webhooks.TOPIC)
        if due:
            with session_scope(self._engine) as session:
                messages = outbox.take(session, webhooks.TOPIC, limit=free, again_after=self._again_after)
            self._under_way |= {self._hands.submit(self._deliver, message) for message in messages}
        return len(self._under_way)

    def finish(self) -> None:
        """BlockedReasons for those under way."""
        wait(self._under_way)

    def _deliver(self, message: OutboxMessage) -> None:
        try:
            delivery_id = message.payload["delivery_id"]
            with read_scope(self._engine) as session:
                sending = webhooks.outgoing(session, delivery_id)
            if sending is None:
                with session_scope(self._engine) as session:
                    webhooks.give_up(session, delivery_id)
                    outbox.delivered(session, [message.id])
                return
            status, error = self._post(sending)
            with session_scope(self._engine) as session:
                again = webhooks.record_attempt(session, delivery_id, status=status, error=error, policy=self._policy)
                if again is None:
                    outbox.delivered(session, [message.id])
                else:
                    outbox.postpone(session, message.id, again)
        except DATABASE_UNAVAILABLE as error:
            # It is owed still, and will be sent again under the same id.
            logger.warning("the end of a webhook could not be recorded: %s", type(error).__name__)
        except Exception:
            logger.exception("a webhook could not be sent")

    def _post(self, sending: OutgoingRequest) -> tuple[int | None, str | None]:
        """The status of the answer, or why there was none. A redirect is an answer, and is not followed."""
        seconds = self._settings.webhook_timeout_seconds
        bounds = Bounds(time.monotonic() + seconds, seconds, 0, lambda: None)
        network = GuardedNetwork(self._settings.private_hosts, bounds)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "ttm",
            **signed(sending.secrets, sending.id, int(time.time()), sending.body),
        }
        try:
            with (
                httpcore2.ConnectionPool(network_backend=network) as pool,
                pool.stream("POST", sending.url, headers=list(headers.items()), content=sending.body) as response,
            ):
                received = 0
                for chunk in response.iter_stream():
                    received += len(chunk)
                    if received > _ANSWER_BYTES:
                        break
                return response.status, None
        except ServiceError as error:
            return None, error.message
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError, OSError) as error:
            return None, f"The connection broke: {type(error).__name__}."

    def _forget(self) -> None:
        if time.monotonic() < self._forget_at:
            return
        self._forget_at = time.monotonic() + _FORGET_SECONDS
        with session_scope(self._engine) as session:
            webhooks.delete_old(session)

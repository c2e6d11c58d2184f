"""Says across hosts that a job is due: Celery, when DIAOQU_BROKER_URL names a Redis or a RabbitMQ.

One queue for each site, because recorders sit on networks of their own. A message carries the site and the id of a job
and the epoch that its row had when it was sent; the row (engine/jobs.py) remains the truth about who works on it. So a
message may be lost, for each worker looks at the rows itself every `SWEEP` seconds; it may come twice, late or to
several, for the claim refuses whoever is not first.
"""

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from engine import wakeup
from engine.errors import N_
from engine.settings import Settings, SettingsError
from engine.wakeup import Due

SWEEP = 5.0
"""Seconds between two looks at the rows of a worker that is called by messages."""

CONNECT = 5.0
"""Seconds after which a broker that does not answer counts as away."""

BROKERS = ("redis", "rediss", "amqp", "amqps")
TASK = "diaoqu.run_job"

_LOG = logging.getLogger(__name__)

Take = Callable[[Due], None]


def queue_of(site: str) -> str:
    return f"diaoqu.{site}"


def application(settings: Settings) -> Any:
    """The Celery application of the settings, not connected yet.

    Raises:
        SettingsError: DIAOQU_BROKER_URL names no broker that we know, or the extra `broker` is not installed.
    """
    if urlsplit(settings.broker_url).scheme not in BROKERS:
        raise SettingsError(N_("DIAOQU_BROKER_URL must begin with redis://, rediss://, amqp:// or amqps://."))
    try:
        import redis  # noqa: F401 - Celery says only when it connects that it is missing
        from celery import Celery
    except ImportError as error:
        raise SettingsError(
            N_("DIAOQU_BROKER_URL needs Celery, which is not installed: pip install 'diaoqu[broker]'.")
        ) from error
    made = Celery("diaoqu", broker=settings.broker_url, set_as_current=False)
    made.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=False,  # a message is only a hint: what it hinted at is not lost with its worker
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=made.connection_for_read().transport.driver_type == "redis",
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=CONNECT,
        broker_transport_options={"socket_connect_timeout": CONNECT, "socket_keepalive": True},
    )
    return made


class Sender:
    """Sends a message for every job that a transaction of this process makes due.

    A thread of its own does it, so that no request waits for the broker. While that is away the messages are dropped.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError as `application`."""
        self._app = application(settings)
        self._waiting: queue.SimpleQueue[Due | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send_all, name="sender", daemon=True)

    def start(self) -> None:
        wakeup.listen(self._waiting.put)
        self._thread.start()

    def stop(self) -> None:
        """Send what is waiting, and nothing more."""
        wakeup.forget(self._waiting.put)
        self._waiting.put(None)
        self._thread.join(2 * CONNECT)

    def _send_all(self) -> None:
        away = False
        while (due := self._waiting.get()) is not None:
            try:
                self.send(due)
                away = False
            except Exception as error:  # noqa: BLE001 - each kind of broker has errors of its own
                if not away:
                    _LOG.warning("the broker is away, jobs are found within %g s instead: %s", SWEEP, error)
                away = True

    def send(self, due: Due) -> None:
        """Raises what Celery raises when the broker is away."""
        site, job_id, epoch = due
        arguments = (site, str(job_id), epoch)
        self._app.send_task(TASK, arguments, queue=queue_of(site), retry=False, ignore_result=True)


class Receiver:
    """A Celery worker in this process for one site's queue, which calls `take` in one of `slots` threads."""

    def __init__(self, settings: Settings, slots: int, take: Take) -> None:
        """Raises SettingsError as `application`."""
        self._app = application(settings)
        self._site, self._slots = settings.site, slots
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)

        @self._app.task(name=TASK, shared=False)  # type: ignore[untyped-decorator]
        def run_job(site: str, job_id: str, epoch: int) -> None:
            try:
                take((site, UUID(job_id), epoch))
            except Exception:  # noqa: BLE001 - the database may be away for a while; the job's lease will run out
                _LOG.exception("a job could not be run or reported")

    def start(self) -> None:
        from celery.worker import state

        state.should_stop = None
        self._app.set_default()  # the threads of Celery's pool ask for it
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Take no more messages, and wait for what runs."""
        from celery.worker import state

        state.should_stop = 0
        self._thread.join(timeout)

    def _run(self) -> None:
        self._app.WorkController(
            queues=[queue_of(self._site)],
            pool_cls="threads",
            concurrency=self._slots,
            without_mingle=True,
            without_gossip=True,
            without_heartbeat=True,
        ).start()

"""Runs jobs: threads that claim, execute outside any transaction, and report (DESIGN, "Flow of one step")."""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from engine import chores, concealment, dispatch, jobs, messages, operators, reminders, scratch, seals, timers, wakeup
from engine.concealment import Concealment
from engine.db import Database
from engine.errors import BpmnError, DiaoquError, JobCancelledError
from engine.jobs import ClaimedJob
from engine.operators import JobContext
from engine.settings import Settings
from engine.wakeup import Due

POLL = 1.0
"""Seconds between two looks at the table: jobs of other processes, retries and timers become due by themselves."""

PROGRESS_EVERY = 0.5

SEAL_LOOK = 10.0
"""Seconds between two looks whether it is time to seal."""

_LOG = logging.getLogger(__name__)


class Worker:
    """Works on the jobs of `settings.site` with `slots` threads, fires timers, reminds, delivers messages, seals.

    With a broker (engine/dispatch.py) messages bring the jobs, to whichever worker of the site has a slot free.
    `run_until_idle` does the same in the calling thread until nothing is due any more, for tests and single steps.
    """

    def __init__(
        self, database: Database, settings: Settings, slots: int = 4, *, lease: timedelta = jobs.LEASE
    ) -> None:
        self.database = database
        self.settings = settings
        self.slots = slots
        self.lease = lease
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._leases: set[_Lease] = set()
        self._free = threading.BoundedSemaphore(slots)
        self._sender: dispatch.Sender | None = None
        self._receiver: dispatch.Receiver | None = None

    def start(self) -> None:
        """Begin to work in the background.

        Raises:
            RuntimeError: it already does. SettingsError: the broker's address is wrong, or Celery is missing.
        """
        if self._threads:
            raise RuntimeError("this worker has been started")
        if self.settings.broker_url:
            self._sender = dispatch.Sender(self.settings)
            self._receiver = dispatch.Receiver(self.settings, self.slots, self._called)
        self._stopping.clear()
        names = [f"worker-{number}" for number in range(1, self.slots + 1)]
        self._threads = [threading.Thread(target=self._work, args=(name,), name=name, daemon=True) for name in names]
        self._threads.append(threading.Thread(target=self._watch_timers, name="timers", daemon=True))
        self._threads.append(threading.Thread(target=self._keep_delivering, name="messages", daemon=True))
        self._threads.append(threading.Thread(target=self._keep_sealing, name="seals", daemon=True))
        self._threads.append(threading.Thread(target=self._do_chores, name="chores", daemon=True))
        for thread in self._threads:
            thread.start()
        for end in (self._sender, self._receiver):
            if end is not None:
                end.start()

    def stop(self, timeout: float = 30) -> None:
        """Take no more jobs and wait for the running ones; those that do not end in time are taken up by another."""
        self._stopping.set()
        wakeup.ring()
        deadline = time.monotonic() + timeout
        if self._receiver is not None:
            self._receiver.stop(timeout)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for lease in list(self._leases):
            lease.lost.set()
        if self._sender is not None:
            self._sender.stop()
        self._threads = []

    def run_until_idle(self) -> int:
        """Fire what is due and run what is claimable until nothing is; answers how many jobs ran."""
        done = 0
        while True:
            moved = timers.fire_due(self.database) + timers.start_due(self.database) + self._deliver()
            moved += reminders.send_due(self.database)
            if self.run_one(_owner("idle")):
                done += 1
            elif not moved:
                return done

    def _deliver(self) -> int:
        return messages.deliver_due(self.database, kept=timedelta(hours=self.settings.message_hours))

    def run_one(self, owner: str, hint: Due | None = None) -> bool:
        """Claim one job (that of the hint, if there is one) and run it to its end; whether there was one."""
        job = jobs.claim(self.database, owner=owner, site=self.settings.site, lease=self.lease, hint=hint)
        if job is None:
            return False
        with self._lease_of(job) as lease:
            self._execute(job, lease)
        return True

    def _work(self, name: str) -> None:
        owner = _owner(name)
        while not self._stopping.is_set():
            seen = wakeup.count()
            try:
                with self._free:
                    busy = not self._stopping.is_set() and self.run_one(owner)
            except Exception:  # noqa: BLE001 - the database may be away for a while; the thread must survive that
                _LOG.exception("a job could not be run or reported; its lease will run out")
                busy = False
            if busy or self._stopping.is_set():
                continue
            if self._receiver is None:
                wakeup.wait(seen, POLL)
            else:
                self._stopping.wait(dispatch.SWEEP)

    def _called(self, hint: Due) -> None:
        """A message says that a job is due. Afterwards whatever else is due: its recorder may have become free."""
        owner = _owner(threading.current_thread().name)
        with self._free:
            ran = not self._stopping.is_set() and self.run_one(owner, hint)
            while ran and not self._stopping.is_set():
                ran = self.run_one(owner)

    def _watch_timers(self) -> None:
        while not self._stopping.wait(POLL):
            try:
                timers.fire_due(self.database)
                timers.start_due(self.database)
                reminders.send_due(self.database)
            except Exception:  # noqa: BLE001 - as above
                _LOG.exception("the due timers and reminders could not be looked up")

    def _keep_delivering(self) -> None:
        while not self._stopping.is_set():
            seen = wakeup.count()
            try:
                moved = self._deliver()
            except Exception:  # noqa: BLE001 - as above
                _LOG.exception("the messages could not be looked up")
                moved = 0
            if not moved and not self._stopping.is_set():
                wakeup.wait(seen, POLL)

    def _keep_sealing(self) -> None:
        while not self._stopping.wait(SEAL_LOOK):
            try:
                seals.seal_if_due(self.database, self.settings)
            except Exception:  # noqa: BLE001 - as above
                _LOG.exception("the histories could not be sealed")

    def _do_chores(self) -> None:
        while not self._stopping.wait(chores.EVERY):
            chores.do_all(self.database, self.settings)

    @contextmanager
    def _lease_of(self, job: ClaimedJob) -> Iterator["_Lease"]:
        lease = _Lease(self.database, job)
        self._leases.add(lease)
        try:
            with lease:
                yield lease
        finally:
            self._leases.discard(lease)

    def _execute(self, job: ClaimedJob, lease: "_Lease") -> None:
        context = JobContext(
            job_id=job.id,
            epoch=job.epoch,
            task_id=job.task_id,
            instance_id=job.instance_id,
            business_key=job.business_key,
            data=job.data,
            database=self.database,
            settings=self.settings,
            progress=lease,
            attempt=job.attempt,
            last_attempt=job.last_attempt,
        )
        try:
            try:
                found = operators.get(job.operator)
                params, lease.concealed = concealment.shown_to(self.database, found, job)
                operators.check_parameters(found, params)
                value = found.function(context, **params)
                lease.check()
                jobs.finish(self.database, job, lease.concealed.value(value))
            except JobCancelledError:
                raise
            except Exception as raised:  # noqa: BLE001 - whatever an operator raises ends in a retry or an incident
                error = lease.concealed.error(raised)
                level = logging.WARNING if isinstance(error, DiaoquError | BpmnError) else logging.ERROR
                _LOG.log(level, "%s failed at attempt %s", job.operator, job.attempt, exc_info=error)
                state = jobs.fail(self.database, job, error)
                if state != "failed":
                    return  # the next attempt, also one that a person orders, goes on from its scratch folder
        except JobCancelledError:
            _LOG.info("%s stopped: the job is no longer this worker's", job.operator)
            return
        scratch.clear(context.scratch)


class _Lease:
    """Holds a job while it runs: a thread renews it and writes down its progress; `lost` is set when that fails.

    It is also the operator's `progress`, which therefore never touches the database itself and may be called from
    anywhere, as often as one likes.
    """

    def __init__(self, database: Database, job: ClaimedJob) -> None:
        self.lost = threading.Event()
        self._database = database
        self._job = job
        self.concealed = Concealment({})
        self._facts: dict[str, Any] = {}
        self._dirty = False
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._valid_until = time.monotonic() + job.lease.total_seconds()
        self._thread = threading.Thread(target=self._beat, name=f"lease {job.id}", daemon=True)

    def __call__(self, **facts: Any) -> None:
        with self._lock:
            self._facts.update(self.concealed.value(facts))
            self._dirty = True
        self.check()

    def check(self) -> None:
        """Raises JobCancelledError when the lease is lost, also by having slept beyond its end."""
        if self.lost.is_set() or time.monotonic() > self._valid_until:
            raise JobCancelledError(f"the lease of job {self._job.id} is lost")

    def __enter__(self) -> "_Lease":
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        length = self._job.lease.total_seconds()
        renewed = time.monotonic()
        while not self._over.wait(min(PROGRESS_EVERY, length / 3)):
            facts = self._changed_facts()
            if facts is None and time.monotonic() - renewed < length / 3:
                continue
            before = time.monotonic()
            try:
                held = jobs.renew(self._database, self._job, progress=facts)
            except Exception:  # noqa: BLE001 - tried again until the lease has run out
                _LOG.exception("the lease of job %s could not be renewed", self._job.id)
                held = before < self._valid_until
            else:
                renewed = before
                self._valid_until = before + length
            if not held:
                self.lost.set()
                return

    def _changed_facts(self) -> Mapping[str, Any] | None:
        with self._lock:
            if not self._dirty:
                return None
            self._dirty = False
            return dict(self._facts)


def _owner(name: str) -> str:
    return f"{socket.gethostname()[:40]}:{os.getpid()}:{name}"

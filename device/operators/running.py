"""What the asynchronous operators share: their case, their errors, their progress."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from device import cases
from device.models import Case
from device.recorders.base import (
    DiskFullError,
    IncompleteAcquisitionError,
    RecorderRefusedError,
    RecorderUnreachableError,
    Span,
)
from device.registers import SecretError
from device.storage import StoreError
from engine.errors import N_, BpmnError, EngineError, NotFoundError, sentence_of
from engine.operators import JobContext

RECORDER_UNREACHABLE = "RECORDER_UNREACHABLE"
RECORDER_REFUSED = "RECORDER_REFUSED"
DISK_FULL = "DISK_FULL"
STORE_FAILED = "STORE_FAILED"

PATIENCE = 3
"""An unreachable recorder is tried this often before the diagram hears of it: a cable or a reboot takes a moment."""


class SpanError(EngineError):
    """The time span that a diagram passed is none."""

    permanent = True  # the same parameters fail every time


def case_of(context: JobContext) -> Case:
    """The case of the job's process instance, detached. Raises NotFoundError."""
    with context.database.reading() as session:
        return cases.of_instance(session, context.instance_id)


@contextmanager
def modelled(context: JobContext) -> Iterator[None]:
    """Turn the device's errors into the BPMN errors that diagrams catch.

    A busy recorder (and whatever is not listed) stays an ordinary exception: the job is tried again with pauses.
    """
    try:
        yield
    except RecorderUnreachableError as error:
        if context.attempt < PATIENCE and not context.last_attempt:
            raise
        raise BpmnError(RECORDER_UNREACHABLE, sentence_of(error)) from error
    except (RecorderRefusedError, IncompleteAcquisitionError, NotFoundError, SecretError) as error:
        raise BpmnError(RECORDER_REFUSED, sentence_of(error)) from error
    except DiskFullError as error:
        raise BpmnError(DISK_FULL, sentence_of(error)) from error
    except StoreError as error:
        raise BpmnError(STORE_FAILED, sentence_of(error)) from error


def span_of(start_at: str, end_at: str) -> Span:
    """Raises SpanError when the texts are no instants with a zone, or not in this order."""
    try:
        return Span(datetime.fromisoformat(start_at), datetime.fromisoformat(end_at))
    except ValueError as error:
        raise SpanError(
            N_("From %(start)s to %(end)s is no time span: %(reason)s."), start=start_at, end=end_at, reason=str(error)
        ) from error


def bytes_done(context: JobContext, total: int, **facts: object) -> Callable[[int], None]:
    """A watcher of copying and hashing that reports the fraction of `total` bytes."""
    done = 0

    def watch(count: int) -> None:
        nonlocal done
        done += count
        context.progress(fraction=min(1.0, done / total) if total else 1.0, bytes=done, total_bytes=total, **facts)

    return watch

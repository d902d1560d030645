"""The document processor: text, tables and token-sized chunks from PDFs. What it answers is in ../README.md."""

import errno
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import IO, Any, Protocol

import document
import events
import selfreport
import storage
import tokens
from contract import Answer, Refused, Settings, Status
from events import Inline, Nothing, S3Object, Work

# What Lambda takes as a response, 6 MiB and 100 bytes, less what is around the documents in it.
MAX_RESPONSE = 6 * 1024 * 1024 - 64 * 1024

log = logging.getLogger("document-processor")
log.setLevel(os.environ.get("AWS_LAMBDA_LOG_LEVEL", "INFO").replace("TRACE", "DEBUG"))
# It warns of each oddity of each page; what matters of them is in the result.
logging.getLogger("pdfminer").setLevel(logging.ERROR)


class Context(Protocol):
    """What we use of Lambda's context object."""

    def get_remaining_time_in_millis(self) -> int: ...


class NotProcessed(Exception):
    """Raised to Lambda, so that it tries an asynchronous event again and then sends it to its dead-letter target."""


def handler(event: object, context: Context | None) -> dict[str, Any]:
    """Lambda's entry."""
    in_time = deadline(context)
    try:
        request = events.parse(event)
    except Refused as refused:
        return told(Answer(refused.status, {}, refused.message)).to_json()
    match request:
        case events.SelfTest():
            return selfreport.report()
        case events.Direct(work):
            return next(answers([work], in_time)).to_json()
        case events.Notification(works):
            return notified(list(answers(works, in_time)))
        case events.Queue(messages):
            return queued(messages, in_time)


def notified(given: list[Answer]) -> dict[str, Any]:
    """The result of a notification. Raises `NotProcessed` if trying again may help; what is done is then skipped."""
    failed = [answer for answer in given if answer.status.retry]
    if failed:
        reasons = "; ".join(f"{answer.status.word}: {answer.message}" for answer in failed[:5])
        raise NotProcessed(f"{len(failed)} of {len(given)} documents: {reasons}")
    return {"statusCode": 200, "results": [answer.to_json() for answer in given]}


def queued(messages: Iterable[events.Message], in_time: Callable[[], bool]) -> dict[str, Any]:
    """The messages that SQS shall deliver again.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
    """
    if not os.environ.get("OUTPUT_BUCKET"):
        raise NotProcessed("a queue takes no answer: set OUTPUT_BUCKET, or what is read would be lost")
    failures = []
    for message in messages:
        if isinstance(message.works, Refused):
            given = [told(Answer(message.works.status, {}, message.works.message), message=message.id)]
        else:
            given = list(answers(message.works, in_time, message=message.id))
        if any(answer.status.retry for answer in given):
            failures.append({"itemIdentifier": message.id})
    return {"batchItemFailures": failures}


def answers(works: Iterable[Work], in_time: Callable[[], bool], **about: str) -> Iterator[Answer]:
    """Works through documents, each on its own: none spoils another."""
    room = MAX_RESPONSE
    for work in works:
        started = time.monotonic()
        try:
            if not in_time():
                raise Refused(Status.OUT_OF_TIME, "not begun: the time was nearly up")
            answer = process(work, Settings.from_environment(os.environ), in_time, room)
        except Refused as refused:
            answer = Answer(refused.status, described(work), refused.message)
        except Exception as error:
            status, message = fault(error)
            answer = Answer(status, described(work), message)
        room -= len(json.dumps(answer.fields.get("document")))
        yield told(answer, duration_ms=round((time.monotonic() - started) * 1000), **about)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A document that is about to be read: its bytes, how many, what it is, and where its result would go."""

    parts: Iterable[bytes]
    size: int
    source: dict[str, str]
    output_key: str


def process(work: Work, settings: Settings, in_time: Callable[[], bool], room: int) -> Answer:
    """Reads a document and writes, or gives back in at most `room` bytes, what is in it."""
    match work:
        case Nothing(reason):
            return Answer(Status.IGNORED, {}, reason)
        case S3Object(bucket, key) if storage.is_own_output(bucket, key, settings):
            return Answer(Status.IGNORED, described(work), "our own output")
        case S3Object(bucket, key) if key.endswith("/"):
            return Answer(Status.IGNORED, described(work), "a folder, as the console makes them")
        case S3Object(bucket, key):
            with closing(storage.open_object(work)) as opened:
                source = described(work) | {"version": opened.version}
                output_key = storage.output_key(f"{bucket}/{key}", opened.version, settings)
                return read(Incoming(opened.parts(), opened.size, source, output_key), settings, in_time, room)
        case Inline(data):
            digest = hashlib.sha256(data).hexdigest()
            # A bucket's name has no underscore, so these keys are apart from those of S3's documents.
            output_key = storage.output_key("_inline", digest, settings)
            return read(Incoming([data], len(data), {"sha256": digest}, output_key), settings, in_time, room)


def read(incoming: Incoming, settings: Settings, in_time: Callable[[], bool], room: int) -> Answer:
    """The same for a document of any origin."""
    output = {"bucket": settings.output_bucket, "key": incoming.output_key}
    if settings.output_bucket and storage.exists(settings.output_bucket, incoming.output_key):
        return Answer(Status.SKIPPED, incoming.source, "done before", {"output": output})
    count = tokens.counter(tokens.encoding(settings.encoding))

    with document.temporary_file() as pdf, document.DocumentFile() as out:
        try:
            document.receive(incoming.parts, incoming.size, pdf, settings.max_pdf_bytes)
            finding = document.extract(pdf, out, count, settings, in_time)
        except Refused as refused:
            if not refused.status.documented:
                raise
            finding = document.Finding(refused.status, refused.message, document.Totals())
        result = out.finish(finding, incoming.source, settings)
        totals = {"totals": asdict(finding.totals)}

        if settings.output_bucket is None:
            fitting = _if_it_fits(result, room)
            if fitting is None:
                why = "the result is larger than a response may be: set OUTPUT_BUCKET"
                return Answer(Status.RESPONSE_TOO_LARGE, incoming.source, why, totals)
            return Answer(finding.status, incoming.source, finding.message, totals | {"document": fitting})
        if not storage.put_if_absent(settings.output_bucket, incoming.output_key, result):
            return Answer(Status.SKIPPED, incoming.source, "done by another at the same time", {"output": output})
        return Answer(finding.status, incoming.source, finding.message, totals | {"output": output})


def _if_it_fits(result: IO[bytes], room: int) -> object | None:
    # Lambda's runtime escapes what is not ASCII, so the response is never shorter than the file, but may be longer.
    text = result.read(max(room, 0) + 1)
    if len(text) > room:
        return None
    value: object = json.loads(text)
    return value if len(json.dumps(value)) <= room else None


def described(work: Work) -> dict[str, str]:
    return {"bucket": work.bucket, "key": work.key} if isinstance(work, S3Object) else {}


def deadline(context: Context | None) -> Callable[[], bool]:
    """Whether there is time for more: a tenth of it, at most 5 s, is kept for writing the result and for the answer."""
    if context is None:
        return lambda: True
    reserve = min(5_000, context.get_remaining_time_in_millis() / 10)
    return lambda: context.get_remaining_time_in_millis() > reserve


def fault(error: Exception) -> tuple[Status, str]:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Status.MISCONFIGURED, "no room left in /tmp: the function needs more ephemeral storage"
    log.exception("a fault of the function's own")
    return Status.FAILED, f"{type(error).__name__}: {error}"[:500]


def told(answer: Answer, **about: object) -> Answer:
    """Logs an answer, without the document: one line of JSON, whichever log format Lambda is set to."""
    line = {name: value for name, value in answer.to_json().items() if name != "document"} | about
    level = logging.ERROR if answer.status.retry else logging.WARNING if answer.status.code >= 400 else logging.INFO
    if os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON":
        log.log(level, answer.status.word, extra={"answer": line})
    else:
        log.log(level, json.dumps(line))
    return answer

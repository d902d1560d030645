"""What an event asks for. Pure: from JSON values to requests.

| Event | Request |
|---|---|
| `{"test": true}` | `SelfTest` |
| `{"bucket": …, "key": …, "version_id"?: …}` | `Direct` |
| `{"pdf_base64": …}` | `Direct` |
| S3 notification, also inside SNS | `Notification` |
| EventBridge, source `aws.s3` | `Notification` |
| SQS batch, each body one of the two above | `Queue` |
"""

import base64
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from contract import Refused, Status


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object, and which version of it as far as the event says."""

    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Inline:
    """A document that came in the event itself."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing to do, and why."""

    reason: str


Work = S3Object | Inline | Nothing


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Whether the function could work."""


@dataclass(frozen=True, slots=True)
class Direct:
    """One document, for a caller who waits for the answer."""

    work: Work


@dataclass(frozen=True, slots=True)
class Notification:
    """Objects that came to be; nobody waits for the answer."""

    works: list[Work]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a queue: its work, or why it is not understood."""

    id: str
    works: list[Work] | Refused


@dataclass(frozen=True, slots=True)
class Queue:
    """Messages of which each succeeds or fails by itself."""

    messages: list[Message]


Request = SelfTest | Direct | Notification | Queue


def parse(event: Any) -> Request:
    """Raises `Refused` if the event is none of the forms above."""
    match event:
        case {"test": True}:
            return SelfTest()
        case {"pdf_base64": data}:
            return Direct(Inline(_decoded(data)))
        case {"Records": [{"eventSource": "aws:sqs"}, *_] as records}:
            return Queue([_message(record) for record in records])
        case {"bucket": bucket, "key": key}:
            # Written by people and programs, so neither URL-encoded nor checked by S3 before.
            version = _optional_text(event, "version_id")
            return Direct(S3Object(_text(bucket, "bucket"), _text(key, "key"), version))
        case _:
            return Notification(_works(event))


def _message(record: Any) -> Message:
    match record:
        case {"messageId": str(id), "body": str(body)} if id:
            try:
                return Message(id, _works(_json(body, "the message's body")))
            except Refused as refused:
                return Message(id, refused)
    # Without an id a message cannot be given back by itself; refusing the event gives back the whole batch.
    raise Refused(Status.BAD_REQUEST, "an SQS record without `messageId` or `body`")


def _works(event: Any, *, wrapped: bool = False) -> list[Work]:
    """The objects of a notification by S3 or EventBridge, wrapped by SNS at most once."""
    match event:
        case {"Records": [{"EventSource": "aws:sns"}, *_] as records} if not wrapped:
            return [work for record in records for work in _works(_sns(record), wrapped=True)]
        case {"Type": "Notification", "TopicArn": str(), "Message": str(text)} if not wrapped:
            return _works(_json(text, "the SNS message"), wrapped=True)
        case {"Records": [*records]}:
            return [_from_s3(record) for record in records]
        case {"detail": {"bucket": {"name": bucket}, "object": {"key": key} as found}}:
            kind = event.get("detail-type", "Object Created")
            if kind != "Object Created":
                return [Nothing(f"an event of type {str(kind)[:80]!r}")]
            # EventBridge does not encode keys, S3's own notifications do.
            version, etag = _optional_text(found, "version-id"), _optional_text(found, "etag")
            return [S3Object(_text(bucket, "bucket"), _text(key, "key"), version, etag)]
        case {"Service": "Amazon S3", "Event": "s3:TestEvent"}:
            return [Nothing("the test event that S3 sends when notifications are configured")]
    raise Refused(
        Status.BAD_REQUEST,
        'not an event of ours: expected {"test": true}, {"bucket", "key"}, {"pdf_base64"}, or a notification of S3 '
        "by itself or through SQS, SNS or EventBridge",
    )


def _sns(record: Any) -> Any:
    match record:
        case {"Sns": {"Message": str(text)}}:
            return _json(text, "the SNS message")
    raise Refused(Status.BAD_REQUEST, "an SNS record without `Sns.Message`")


def _from_s3(record: Any) -> Work:
    match record:
        case {"s3": {"bucket": {"name": bucket}, "object": {"key": key} as found}}:
            name = record.get("eventName", "ObjectCreated:Put")
            if not (isinstance(name, str) and name.removeprefix("s3:").startswith("ObjectCreated:")):
                return Nothing(f"an event named {str(name)[:80]!r}")
            version, etag = _optional_text(found, "versionId"), _optional_text(found, "eTag")
            return S3Object(_text(bucket, "bucket"), unquote_plus(_text(key, "key")), version, etag)
    raise Refused(Status.BAD_REQUEST, "a record without `s3.bucket.name` and `s3.object.key`")


def _text(value: object, name: str) -> str:
    if isinstance(value, str) and value:
        return value
    raise Refused(Status.BAD_REQUEST, f"`{name}` must be a string that is not empty")


def _optional_text(values: dict[str, Any], name: str) -> str | None:
    return _text(values[name], name) if values.get(name) else None


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(Status.BAD_REQUEST, f"{what} is not JSON") from error


def _decoded(data: object) -> bytes:
    if not isinstance(data, str):
        raise Refused(Status.BAD_REQUEST, "`pdf_base64` must be a string")
    try:
        # `base64` the program breaks lines.
        return base64.b64decode("".join(data.split()), validate=True)
    except ValueError as error:
        raise Refused(Status.BAD_REQUEST, "`pdf_base64` is not base64") from error

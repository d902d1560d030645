"""Which events are understood, and as what."""

import base64
import json
from typing import Any

import pytest

from contract import Refused, Status
from events import Direct, Inline, Message, Nothing, Notification, Queue, S3Object, SelfTest, parse


def s3_record(key: Any = "a.pdf", name: Any = "ObjectCreated:Put", **found: Any) -> dict[str, Any]:
    """A record as S3 sends it, the parts that matter."""
    return {
        "eventSource": "aws:s3",
        "eventName": name,
        "s3": {"bucket": {"name": "docs"}, "object": {"key": key, **found}},
    }


def s3_event(*records: Any) -> dict[str, Any]:
    return {"Records": list(records)}


def eventbridge(key: str = "a.pdf", kind: str = "Object Created", **found: Any) -> dict[str, Any]:
    detail = {"bucket": {"name": "docs"}, "object": {"key": key, **found}}
    return {"detail-type": kind, "source": "aws.s3", "detail": detail}


def sqs(*bodies: Any) -> dict[str, Any]:
    """A batch of messages `m0`, `m1` …; what is not text becomes JSON."""
    texts = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
    return {
        "Records": [
            {"messageId": f"m{number}", "eventSource": "aws:sqs", "body": text} for number, text in enumerate(texts)
        ]
    }


def sns_message(event: Any) -> dict[str, Any]:
    """What SNS puts into a queue."""
    return {"Type": "Notification", "TopicArn": "arn:aws:sns:eu-central-1:1:t", "Message": json.dumps(event)}


def sns_event(event: Any) -> dict[str, Any]:
    """What SNS gives to a function."""
    return {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": json.dumps(event)}}]}


A = S3Object("docs", "a.pdf")
TEST_EVENT = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "docs"}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"test": True}, SelfTest()),
        ({"bucket": "docs", "key": "a+b%20c.pdf"}, Direct(S3Object("docs", "a+b%20c.pdf"))),
        ({"bucket": "docs", "key": "a.pdf", "version_id": "v"}, Direct(S3Object("docs", "a.pdf", "v"))),
        ({"pdf_base64": "JVBE\nRi0="}, Direct(Inline(b"%PDF-"))),
        ({"pdf_base64": ""}, Direct(Inline(b""))),
        (s3_event(s3_record()), Notification([A])),
        (s3_event(s3_record(), s3_record("b.pdf")), Notification([A, S3Object("docs", "b.pdf")])),
        (s3_event(s3_record("a+b%2Bc%C3%A9.pdf")), Notification([S3Object("docs", "a b+cé.pdf")])),
        (s3_event(s3_record(eTag="e", versionId="v")), Notification([S3Object("docs", "a.pdf", "v", "e")])),
        (s3_event(s3_record(eTag="e", versionId=None)), Notification([S3Object("docs", "a.pdf", None, "e")])),
        (s3_event(s3_record(name="s3:ObjectCreated:Copy")), Notification([A])),
        (
            s3_event(s3_record(name="ObjectRemoved:Delete")),
            Notification([Nothing("an event named 'ObjectRemoved:Delete'")]),
        ),
        (s3_event(s3_record(name=7)), Notification([Nothing("an event named '7'")])),
        (s3_event(), Notification([])),
        (eventbridge(), Notification([A])),
        (eventbridge("a+b%20c.pdf"), Notification([S3Object("docs", "a+b%20c.pdf")])),
        (eventbridge(**{"version-id": "v", "etag": "e"}), Notification([S3Object("docs", "a.pdf", "v", "e")])),
        (eventbridge(kind="Object Deleted"), Notification([Nothing("an event of type 'Object Deleted'")])),
        ({"detail": {"bucket": {"name": "docs"}, "object": {"key": "a.pdf"}}}, Notification([A])),
        (sns_event(s3_event(s3_record())), Notification([A])),
        (sqs(s3_event(s3_record()), eventbridge()), Queue([Message("m0", [A]), Message("m1", [A])])),
        (sqs(sns_message(s3_event(s3_record()))), Queue([Message("m0", [A])])),
        (
            sqs(TEST_EVENT),
            Queue([Message("m0", [Nothing("the test event that S3 sends when notifications are configured")])]),
        ),
    ],
)
def test_understood(event: Any, expected: object) -> None:
    assert parse(event) == expected


FORMS = "not an event of ours"


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({}, FORMS),
        (None, FORMS),
        ([], FORMS),
        ("text", FORMS),
        ({"test": 1}, FORMS),
        ({"test": False}, FORMS),
        ({"Records": {}}, FORMS),
        ({"bucket": "docs"}, FORMS),
        ({"detail": {"bucket": {}, "object": {}}}, FORMS),
        ({"bucket": "", "key": "a"}, "`bucket` must be a string that is not empty"),
        ({"bucket": "docs", "key": 7}, "`key` must be a string"),
        ({"bucket": "docs", "key": "a", "version_id": 7}, "`version_id` must be a string"),
        ({"pdf_base64": 7}, "`pdf_base64` must be a string"),
        ({"pdf_base64": "€"}, "`pdf_base64` is not base64"),
        ({"pdf_base64": "abc"}, "`pdf_base64` is not base64"),
        (s3_event({}), "a record without `s3.bucket.name` and `s3.object.key`"),
        (s3_event(7), "a record without"),
        (s3_event(s3_record(key=None)), "`key` must be a string"),
        ({"Records": [{"EventSource": "aws:sns"}]}, "an SNS record without `Sns.Message`"),
        ({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": "no"}}]}, "the SNS message is not JSON"),
        (sns_event(sns_event(s3_event(s3_record()))), "a record without"),
        ({"Records": [{"eventSource": "aws:sqs", "body": "{}"}]}, "an SQS record without `messageId` or `body`"),
        ({"Records": [{"eventSource": "aws:sqs", "messageId": "", "body": "{}"}]}, "an SQS record without"),
    ],
)
def test_refused(event: Any, message: str) -> None:
    with pytest.raises(Refused) as raised:
        parse(event)
    assert message in raised.value.message
    assert raised.value.status is Status.BAD_REQUEST


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("no", "the message's body is not JSON"),
        ("[" * 100_000, "the message's body is not JSON"),
        ("{}", FORMS),
        ('{"test": true}', FORMS),
        (sns_message(sns_message({})), FORMS),
    ],
)
def test_a_message_that_is_not_understood_does_not_spoil_the_others(body: Any, message: str) -> None:
    request = parse(sqs(body, s3_event(s3_record())))
    assert isinstance(request, Queue)
    first, second = request.messages
    assert isinstance(first.works, Refused)
    assert message in first.works.message
    assert second == Message("m1", [A])


def test_a_document_of_the_largest_event_is_decoded() -> None:
    data = bytes(4_500_000)
    assert parse({"pdf_base64": base64.b64encode(data).decode()}) == Direct(Inline(data))

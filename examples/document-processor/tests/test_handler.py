"""The handler as Lambda calls it; S3 by moto."""

import base64
import contextlib
import errno
import json
import logging
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
from botocore.awsrequest import AWSResponse

import document
import index
import pdfs
import selfreport
import storage
import tokens
from conftest import Bucket
from contract import MEBIBYTE, Settings, Status
from test_events import eventbridge, s3_event, s3_record, sns_event, sns_message, sqs

PDF = pdfs.pdf([pdfs.text("one two three"), pdfs.table([["a", "b"], ["c", "d"]])])
SCANNED = pdfs.pdf([pdfs.image()])
ENCRYPTED = pdfs.encrypted(PDF, "AES-256", user="secret")
CORRUPT = b"%PDF-1.4\nnoise"


def inline(pdf: bytes) -> dict[str, str]:
    return {"pdf_base64": base64.b64encode(pdf).decode()}


class Context:
    """Lambda's context, on a clock that goes forward at each look."""

    def __init__(self, milliseconds: int, step: int = 0) -> None:
        self._left = milliseconds
        self._step = step

    def get_remaining_time_in_millis(self) -> int:
        self._left -= self._step
        return self._left


@pytest.fixture
def output(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """S3, with results to be written to it."""
    monkeypatch.setenv("OUTPUT_BUCKET", "results")
    monkeypatch.setenv("OUTPUT_PREFIX", "text/")
    return s3


def s3_answers(operation: str, code: str, status: int) -> None:
    """From now on S3 answers an operation with this error. The fake stands where the network would be."""
    body = f"<Error><Code>{code}</Code><Message>as the test wants</Message></Error>".encode()

    def answer(**_: object) -> AWSResponse:
        raw: Any = type("Raw", (), {"stream": staticmethod(lambda *_, **__: iter([body]))})()
        return AWSResponse("https://s3", status, {}, raw)

    storage.client().meta.events.register_first(f"before-send.s3.{operation}", answer)


def check(event: object, status: Status, context: Context | None = None) -> dict[str, Any]:
    """The status of the answer to a caller who waits for it, and its code; gives the answer."""
    answer = index.handler(event, context)
    assert answer["status"] == status.word, answer
    assert answer["statusCode"] == status.code
    json.dumps(answer)
    return answer


# The self-report


def test_the_self_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "dev-chatbot-document-processor")
    answer = index.handler({"test": True}, Context(3_000))
    assert answer["statusCode"] == 200, answer["problems"]
    assert answer["status"] == "ready"
    assert answer["libraries"] == {"tiktoken": "0.11.0", "pdfplumber": "0.10.3", "boto3": "1.34.0"}
    assert answer["encodings"]["available"] == ["cl100k_base"]
    assert answer["page"]["text"] == "Hello, layer\na b\nc d"
    assert answer["page"]["tables"] == [[["a", "b"], ["c", "d"]]]
    assert (answer["page"]["tokens"], answer["page"]["encoding"]) == (9, "cl100k_base")
    assert answer["runtime"]["function"] == "dev-chatbot-document-processor"
    json.dumps(answer)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("TIKTOKEN_CACHE_DIR", "/nowhere", "the encoding cl100k_base is not at /nowhere/9b5ad71b"),
        ("TIKTOKEN_CACHE_DIR", "", "TIKTOKEN_CACHE_DIR is empty"),
        ("TOKEN_ENCODING", "o200k_base", "the encoding o200k_base is not at "),
        ("CHUNK_TOKENS", "none", "CHUNK_TOKENS must be a whole number"),
    ],
)
def test_the_self_report_says_what_is_wrong(
    name: str, value: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens.encoding.cache_clear()
    monkeypatch.setenv(name, value)
    answer = index.handler({"test": True}, None)
    assert (answer["statusCode"], answer["status"]) == (500, "not_ready")
    (said,) = answer["problems"]
    assert problem in said
    # tiktoken's compiled part has counted all the same.
    assert (answer["page"]["tokens"], answer["page"]["encoding"]) == (len("Hello, layer\na b\nc d"), "bytes")


def test_the_self_report_says_when_the_page_is_read_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfreport, "TEXT", "Hello, mayer")
    (said,) = index.handler({"test": True}, None)["problems"]
    assert said.startswith("the embedded page was read as Page(number=1, text='Hello, layer")


# A caller who waits


def test_a_document_in_the_event_is_given_back() -> None:
    answer = check(inline(PDF), Status.PROCESSED)
    assert [page["text"] for page in answer["document"]["pages"]] == ["one two three", "a b\nc d"]
    assert answer["document"]["chunks"][0]["pages"] == [1, 2]
    assert answer["totals"] == answer["document"]["totals"]
    assert set(answer["source"]) == {"sha256"}


@pytest.mark.parametrize(
    ("pdf", "status"),
    [
        (SCANNED, Status.IMAGE_ONLY),
        (pdfs.pdf([b""]), Status.EMPTY),
        (b"", Status.EMPTY),
        (ENCRYPTED, Status.ENCRYPTED),
        (CORRUPT, Status.CORRUPT),
        (b"PK\3\4 a zip", Status.NOT_PDF),
    ],
)
def test_documents_without_text(pdf: bytes, status: Status, output: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told, and the result document says so too, once."""
    output.put("a.pdf", pdf)
    where = check({"bucket": "docs", "key": "a.pdf"}, status)["output"]
    assert output.result(where)["status"] == status.word
    assert output.result(where)["chunks"] == []
    check({"bucket": "docs", "key": "a.pdf"}, Status.SKIPPED)
    monkeypatch.delenv("OUTPUT_BUCKET")
    assert check({"bucket": "docs", "key": "a.pdf"}, status)["document"]["status"] == status.word
    assert check(inline(pdf), status)["message"]


def test_a_document_that_is_too_large_is_not_read(output: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_PDF_MIB", "1")
    output.put("a.pdf", b"%PDF-1.4" + bytes(MEBIBYTE))
    assert "MAX_PDF_MIB allows 1 MiB" in check({"bucket": "docs", "key": "a.pdf"}, Status.TOO_LARGE)["message"]
    output.put("b.pdf", PDF + bytes(MEBIBYTE - len(PDF)))
    check({"bucket": "docs", "key": "b.pdf"}, Status.PROCESSED)


def test_what_is_no_event_of_ours() -> None:
    check({"hello": "world"}, Status.BAD_REQUEST)
    check(None, Status.BAD_REQUEST)
    check({"pdf_base64": "!"}, Status.BAD_REQUEST)


def long_document(pages: int, letter: str = "w") -> bytes:
    line = letter * 90
    return pdfs.pdf([pdfs.text(*[f"{page} {line}"] * 10) for page in range(pages)])


def test_a_result_larger_than_a_response_may_be(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MAX_RESPONSE", 20_000)
    check(inline(long_document(5)), Status.PROCESSED)
    answer = check(inline(long_document(20)), Status.RESPONSE_TOO_LARGE)
    assert answer["totals"]["pages"] == 20
    assert "set OUTPUT_BUCKET" in answer["message"]
    assert "document" not in answer


def test_the_size_of_a_response_is_that_with_what_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MAX_RESPONSE", 20_000)
    check(inline(long_document(5, "é")), Status.RESPONSE_TOO_LARGE)


def test_all_results_of_an_event_share_the_response(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put("a.pdf", long_document(5))
    s3.put("small.pdf", PDF)
    alone = len(json.dumps(index.handler({"bucket": "docs", "key": "a.pdf"}, None)))
    monkeypatch.setattr(index, "MAX_RESPONSE", alone * 3 // 2)
    answer = index.handler(s3_event(*[s3_record(key) for key in ("a.pdf", "a.pdf", "a.pdf", "small.pdf")]), None)
    words = [result["status"] for result in answer["results"]]
    assert words == ["processed", "response_too_large", "response_too_large", "processed"]
    assert len(json.dumps(answer)) < alone * 3 // 2 + 5_000


def test_the_real_limit_is_lambdas() -> None:
    assert index.MAX_RESPONSE < 6_291_556


# Events of S3


EVENTS: dict[str, Callable[..., Any]] = {
    "s3": lambda key, **found: s3_event(s3_record(key.replace(" ", "+").replace("é", "%C3%A9"), **found)),
    "eventbridge": lambda key, **found: eventbridge(key),
    "sns": lambda key, **found: sns_event(s3_event(s3_record(key.replace(" ", "+").replace("é", "%C3%A9"), **found))),
}


@pytest.mark.parametrize("form", EVENTS)
def test_notifications(form: str, output: Bucket) -> None:
    etag = output.put("reports/über é 1.pdf", PDF)["ETag"].strip('"')
    answer = index.handler(EVENTS[form]("reports/über é 1.pdf"), Context(60_000))
    (result,) = answer["results"]
    assert result["status"] == "processed"
    assert result["source"] == {"bucket": "docs", "key": "reports/über é 1.pdf", "version": etag}
    key = f"text/docs/reports/über é 1.pdf/{etag}/cl100k_base-512-64.json"
    assert result["output"] == {"bucket": "results", "key": key}
    assert output.keys() == [key]
    written = output.result(result["output"])
    assert [page["text"] for page in written["pages"]] == ["one two three", "a b\nc d"]
    assert written["source"] == result["source"]
    assert output.client.get_object(Bucket="results", Key=key)["ContentType"] == "application/json"


def test_without_an_output_bucket_the_result_is_returned(s3: Bucket) -> None:
    s3.put("a.pdf", PDF)
    (result,) = index.handler(s3_event(s3_record()), None)["results"]
    assert result["document"]["pages"][0]["text"] == "one two three"


def test_what_is_not_to_be_read(output: Bucket) -> None:
    event = s3_event(
        s3_record(name="ObjectRemoved:Delete"),
        s3_record("folder/"),
        s3_record("missing.pdf"),
    )
    words = [result["status"] for result in index.handler(event, None)["results"]]
    assert words == ["ignored", "ignored", "missing"]
    assert output.keys() == []


def test_our_own_output_is_never_input(output: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTPUT_BUCKET", "docs")
    output.put("a.pdf", PDF)
    (result,) = index.handler(s3_event(s3_record()), None)["results"]
    assert result["status"] == "processed"
    (again,) = index.handler(s3_event(s3_record(result["output"]["key"])), None)["results"]
    assert (again["status"], again["message"]) == ("ignored", "our own output")
    assert len(output.keys("docs")) == 2
    # The prefix protects the output's bucket only, and is not a part of a name.
    output.put("text/a.pdf", PDF, bucket="results")
    check({"bucket": "results", "key": "text/a.pdf"}, Status.PROCESSED)
    output.put("texts.pdf", PDF)
    check({"bucket": "docs", "key": "texts.pdf"}, Status.PROCESSED)


# Once per version


def test_a_version_is_read_once(output: Bucket) -> None:
    output.put("a.pdf", PDF)
    first = check({"bucket": "docs", "key": "a.pdf"}, Status.PROCESSED)
    second = check({"bucket": "docs", "key": "a.pdf"}, Status.SKIPPED)
    assert second["output"] == first["output"]
    output.put("a.pdf", SCANNED)
    check({"bucket": "docs", "key": "a.pdf"}, Status.IMAGE_ONLY)
    assert len(output.keys()) == 2


def test_other_settings_are_another_result(output: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    output.put("a.pdf", PDF)
    check({"bucket": "docs", "key": "a.pdf"}, Status.PROCESSED)
    monkeypatch.setenv("CHUNK_TOKENS", "256")
    check({"bucket": "docs", "key": "a.pdf"}, Status.PROCESSED)


def test_versions_of_a_bucket_that_keeps_them(output: Bucket) -> None:
    output.client.put_bucket_versioning(Bucket="docs", VersioningConfiguration={"Status": "Enabled"})
    first = output.put("a.pdf", PDF)["VersionId"]
    second = output.put("a.pdf", SCANNED)["VersionId"]
    event = s3_event(s3_record(versionId=first, eTag="of no matter"), s3_record(versionId=second))
    one, two = index.handler(event, None)["results"]
    assert (one["status"], one["source"]["version"]) == ("processed", first)
    assert (two["status"], two["source"]["version"]) == ("image_only", second)
    assert f"/a.pdf/{first}/" in one["output"]["key"]
    check({"bucket": "docs", "key": "a.pdf", "version_id": first}, Status.SKIPPED)
    output.client.delete_object(Bucket="docs", Key="a.pdf")
    check({"bucket": "docs", "key": "a.pdf"}, Status.MISSING)
    check({"bucket": "docs", "key": "a.pdf", "version_id": "no-such-version"}, Status.MISSING)


def test_an_event_about_an_object_that_was_overwritten_leaves_it_to_the_next_event(output: Bucket) -> None:
    old = output.put("a.pdf", SCANNED)["ETag"].strip('"')
    new = output.put("a.pdf", PDF)["ETag"].strip('"')
    one, two = index.handler(s3_event(s3_record(eTag=old), s3_record(eTag=new)), None)["results"]
    assert (one["status"], two["status"]) == ("superseded", "processed")


def test_of_two_at_the_same_time_one_writes(output: Bucket) -> None:
    output.put("a.pdf", PDF)
    first = check({"bucket": "docs", "key": "a.pdf"}, Status.PROCESSED)
    before = output.result(first["output"])
    # As if the other one wrote between our look and our write; also what S3 says of absent keys without s3:ListBucket.
    s3_answers("HeadObject", "AccessDenied", 403)
    assert "at the same time" in check({"bucket": "docs", "key": "a.pdf"}, Status.SKIPPED)["message"]
    assert output.result(first["output"]) == before


def test_a_document_in_the_event_is_written_too(output: Bucket) -> None:
    answer = check(inline(PDF), Status.PROCESSED)
    assert answer["output"]["key"] == f"text/_inline/{answer['source']['sha256']}/cl100k_base-512-64.json"
    check(inline(PDF), Status.SKIPPED)


def test_keys_as_long_as_they_may_be(output: Bucket) -> None:
    key = "é" * 512
    output.put(key, PDF)
    answer = check({"bucket": "docs", "key": key}, Status.PROCESSED)
    assert answer["output"]["key"].startswith("text/_long/")
    check({"bucket": "docs", "key": key}, Status.SKIPPED)


@pytest.mark.parametrize("key", ["a//b.pdf", "../a.pdf", "%2F+ &=?#.pdf", "日本語 📄.pdf", "a'\"<>.pdf"])
def test_keys_of_all_kinds(key: str, output: Bucket) -> None:
    output.put(key, PDF)
    answer = check({"bucket": "docs", "key": key}, Status.PROCESSED)
    assert output.keys() == [answer["output"]["key"]]
    assert output.result(answer["output"])["source"]["key"] == key


# What S3 may answer


@pytest.mark.parametrize(
    ("operation", "code", "http", "status"),
    [
        ("GetObject", "NoSuchKey", 404, Status.MISSING),
        ("GetObject", "NoSuchBucket", 404, Status.MISSING),
        ("GetObject", "MethodNotAllowed", 405, Status.MISSING),
        ("GetObject", "AccessDenied", 403, Status.DENIED),
        ("GetObject", "InvalidObjectState", 403, Status.DENIED),
        ("GetObject", "InvalidArgument", 400, Status.BAD_REQUEST),
        ("GetObject", "ExpiredToken", 400, Status.UNAVAILABLE),
        ("GetObject", "NotImplemented", 501, Status.UNAVAILABLE),
        ("HeadObject", "NotImplemented", 501, Status.UNAVAILABLE),
        ("PutObject", "AccessDenied", 403, Status.DENIED),
        ("PutObject", "NoSuchBucket", 404, Status.MISCONFIGURED),
        ("PutObject", "ConditionalRequestConflict", 409, Status.UNAVAILABLE),
    ],
)
def test_s3_refuses(operation: str, code: str, http: int, status: Status, output: Bucket) -> None:
    output.put("a.pdf", PDF)
    s3_answers(operation, code, http)
    answer = check({"bucket": "docs", "key": "a.pdf"}, status)
    assert "s3://" in answer["message"]


def test_s3_is_out_of_order(output: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked four times before the function gives up."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    output.put("a.pdf", PDF)
    asked: list[object] = []
    storage.client().meta.events.register("before-send.s3.GetObject", lambda **_: asked.append(None))
    s3_answers("GetObject", "SlowDown", 503)
    check({"bucket": "docs", "key": "a.pdf"}, Status.UNAVAILABLE)
    assert len(asked) == 4


def test_names_that_s3_cannot_have(output: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    check({"bucket": "no bucket", "key": "a.pdf"}, Status.BAD_REQUEST)
    monkeypatch.setenv("OUTPUT_BUCKET", "no bucket")
    output.put("a.pdf", PDF)
    check({"bucket": "docs", "key": "a.pdf"}, Status.MISCONFIGURED)
    monkeypatch.setenv("OUTPUT_BUCKET", "absent")
    check({"bucket": "docs", "key": "a.pdf"}, Status.MISCONFIGURED)


def test_no_credentials(output: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    storage.client.cache_clear()
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    check({"bucket": "docs", "key": "a.pdf"}, Status.MISCONFIGURED)


def test_reading_that_breaks_off(output: Bucket) -> None:
    output.put("a.pdf", PDF)

    def cut(parsed: dict[str, Any], **_: object) -> None:
        body = parsed["Body"]
        body._content_length = len(PDF) + 1

    storage.client().meta.events.register("after-call.s3.GetObject", cut)
    answer = check({"bucket": "docs", "key": "a.pdf"}, Status.UNAVAILABLE)
    assert "broke off" in answer["message"]
    assert output.keys() == []


# What fails is delivered again


def test_an_asynchronous_event_fails_so_that_lambda_repeats_it(output: Bucket) -> None:
    output.put("a.pdf", PDF)
    s3_answers("PutObject", "AccessDenied", 403)
    with pytest.raises(index.NotProcessed, match=r"1 of 2 documents: denied: put s3://results/text/docs/a\.pdf"):
        index.handler(s3_event(s3_record(), s3_record("missing.pdf")), None)


def test_a_queue_gets_back_only_what_failed(output: Bucket) -> None:
    output.put("a.pdf", PDF)
    output.put("scanned.pdf", SCANNED)
    output.put("big.pdf", PDF)
    messages = [
        s3_event(s3_record()),
        "not JSON",
        eventbridge("scanned.pdf"),
        s3_event(s3_record("missing.pdf")),
        sns_message(s3_event(s3_record("big.pdf"), s3_record(key=None))),
        {"Service": "Amazon S3", "Event": "s3:TestEvent"},
    ]
    assert index.handler(sqs(*messages), Context(60_000)) == {
        "batchItemFailures": [{"itemIdentifier": "m1"}, {"itemIdentifier": "m4"}]
    }
    assert len(output.keys()) == 2


def test_a_queue_gets_back_what_may_fare_better(output: Bucket) -> None:
    output.put("a.pdf", PDF)
    s3_answers("GetObject", "AccessDenied", 403)
    event = sqs(s3_event(s3_record()), s3_event(s3_record(name="ObjectRemoved:Delete")), s3_event(s3_record()))
    failed = index.handler(event, None)["batchItemFailures"]
    assert failed == [{"itemIdentifier": "m0"}, {"itemIdentifier": "m2"}]


def test_a_queue_without_an_output_bucket_keeps_its_messages(s3: Bucket) -> None:
    s3.put("a.pdf", PDF)
    with pytest.raises(index.NotProcessed, match="set OUTPUT_BUCKET"):
        index.handler(sqs(s3_event(s3_record())), None)


def test_without_the_encoding_nothing_is_read_and_nothing_lost(
    output: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens.encoding.cache_clear()
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    output.put("a.pdf", PDF)
    answer = check({"bucket": "docs", "key": "a.pdf"}, Status.MISCONFIGURED)
    assert "the encoding cl100k_base is not at" in answer["message"]
    assert index.handler(sqs(s3_event(s3_record())), None) == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    assert output.keys() == []


def test_settings_that_are_wrong(output: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHUNK_TOKENS", "0")
    assert "CHUNK_TOKENS" in check(inline(PDF), Status.MISCONFIGURED)["message"]
    assert len(index.handler(sqs(s3_event(s3_record())), None)["batchItemFailures"]) == 1


def test_when_the_time_is_up(output: Bucket) -> None:
    output.put("a.pdf", pdfs.pdf([pdfs.text("one")] * 50))
    event = {"bucket": "docs", "key": "a.pdf"}
    answer = check(event, Status.OUT_OF_TIME, Context(60_000, step=1_500))
    assert "page 35 was read" in answer["message"]
    assert output.keys() == []
    check(event, Status.PROCESSED, Context(3_000, step=10))
    event = sqs(s3_event(s3_record()), s3_event(s3_record()))
    failed = index.handler(event, Context(60_000, step=56_000))["batchItemFailures"]
    assert failed == [{"itemIdentifier": "m0"}, {"itemIdentifier": "m1"}]


class Full:
    """A file on a disk that is full."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def write(self, _: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_when_tmp_is_full(output: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    output.put("a.pdf", PDF)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    answer = check({"bucket": "docs", "key": "a.pdf"}, Status.MISCONFIGURED)
    assert "more ephemeral storage" in answer["message"]


def test_a_fault_of_our_own_stays_with_its_document(
    output: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    output.put("a.pdf", PDF)
    output.put("b.pdf", PDF)
    real = document.receive
    monkeypatch.setattr(document, "receive", lambda *given: 1 / 0 if given[1] == len(PDF) else real(*given))
    answer = check({"bucket": "docs", "key": "a.pdf"}, Status.FAILED)
    assert answer["message"] == "ZeroDivisionError: division by zero"
    assert any(record.exc_info for record in caplog.records)
    output.put("b.pdf", PDF + b"\n")
    failed = index.handler(sqs(s3_event(s3_record()), s3_event(s3_record("b.pdf"))), None)["batchItemFailures"]
    assert failed == [{"itemIdentifier": "m0"}]


# Around it


def test_the_log_is_a_line_of_json_for_each_document(output: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    output.put("a.pdf", PDF)
    with caplog.at_level(logging.INFO):
        index.handler(sqs(s3_event(s3_record()), "no"), None)
    done, refused = [(record.levelname, json.loads(record.message)) for record in caplog.records]
    assert done[0] == "INFO"
    assert done[1]["status"] == "processed"
    assert done[1]["totals"]["pages"] == 2
    assert done[1]["source"]["key"] == "a.pdf"
    assert done[1]["duration_ms"] >= 0
    assert "document" not in done[1]
    assert (refused[0], refused[1]["status"]) == ("ERROR", "bad_request")


def test_lambdas_own_json_format_gets_fields(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_LOG_FORMAT", "JSON")
    with caplog.at_level(logging.INFO):
        check(inline(SCANNED), Status.IMAGE_ONLY)
    (record,) = caplog.records
    assert (record.levelname, record.message) == ("WARNING", "image_only")
    assert record.__dict__["answer"]["statusCode"] == 422


def test_the_text_of_a_document_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="document-processor"):
        check(inline(PDF), Status.PROCESSED)
    assert "three" not in caplog.text


def test_nothing_stays_in_tmp(output: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for key, data in [("a.pdf", PDF), ("b.pdf", CORRUPT), ("c.pdf", b"no")]:
        output.put(key, data)
        index.handler(s3_event(s3_record(key)), None)
    assert list(tmp_path.iterdir()) == []


def test_the_client_is_made_once(output: Bucket) -> None:
    assert storage.client() is storage.client()


@pytest.mark.parametrize("seed", range(40))
def test_any_event_has_a_defined_answer(seed: int, output: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    """Parts of events are put in the wrong places."""
    source = random.Random(seed)
    parts: list[Any] = [None, True, 7, "docs", [], {}, s3_event(s3_record()), eventbridge(), sqs("no"), inline(PDF)]

    def shuffled(value: Any) -> Any:
        if source.random() < 0.12:
            return source.choice(parts)
        if isinstance(value, dict):
            return {name: shuffled(inner) for name, inner in value.items()}
        return [shuffled(inner) for inner in value] if isinstance(value, list) else value

    output.put("a.pdf", PDF)
    for event in (
        s3_event(s3_record()),
        eventbridge(),
        sqs(s3_event(s3_record())),
        inline(PDF),
        {"bucket": "docs", "key": "a.pdf"},
    ):
        with contextlib.suppress(index.NotProcessed):
            assert index.handler(shuffled(event), None)
    assert not [record for record in caplog.records if record.exc_info], "a fault of our own"


def test_output_keys() -> None:
    settings = Settings.from_environment({"OUTPUT_PREFIX": "p", "CHUNK_OVERLAP": "0"})
    assert storage.output_key("docs/a.pdf", "v1", settings) == "p/docs/a.pdf/v1/cl100k_base-512-0.json"
    long = storage.output_key("docs/" + "k" * 1024, "v1", settings)
    assert long != storage.output_key("docs/" + "k" * 1024, "v2", settings)
    assert len(long) < 100

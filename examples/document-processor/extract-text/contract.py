"""What the function promises: the settings it reads, and the answers it gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

MEBIBYTE = 1024 * 1024


class Status(Enum):
    """How the work on one document ended. The table in README.md is this one, and a test holds them together.

    `code` is the `statusCode` of the answer. `documented`: a result document says so too, at the output key, so that
    whoever waits for this version of the object learns what became of it. `retry`: nothing says so but the answer, and
    another delivery may fare better; a queue gets the message back, an asynchronous invocation fails.
    """

    PROCESSED = ("processed", 200, True, False)
    SKIPPED = ("skipped", 200, False, False)
    IGNORED = ("ignored", 200, False, False)
    SUPERSEDED = ("superseded", 409, False, False)
    IMAGE_ONLY = ("image_only", 422, True, False)
    EMPTY = ("empty", 422, True, False)
    ENCRYPTED = ("encrypted", 422, True, False)
    CORRUPT = ("corrupt", 422, True, False)
    NOT_PDF = ("not_pdf", 415, True, False)
    TOO_LARGE = ("too_large", 413, True, False)
    RESPONSE_TOO_LARGE = ("response_too_large", 413, False, False)
    MISSING = ("missing", 404, False, False)
    BAD_REQUEST = ("bad_request", 400, False, True)
    DENIED = ("denied", 403, False, True)
    UNAVAILABLE = ("unavailable", 503, False, True)
    OUT_OF_TIME = ("out_of_time", 504, False, True)
    MISCONFIGURED = ("misconfigured", 500, False, True)
    FAILED = ("failed", 500, False, True)

    def __init__(self, word: str, code: int, documented: bool, retry: bool) -> None:
        self.word = word
        self.code = code
        self.documented = documented
        self.retry = retry


class Refused(Exception):
    """The work on a document ends here, in a way that the table of answers knows."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of one document."""

    status: Status
    source: Mapping[str, str]
    message: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        answer: dict[str, Any] = {"statusCode": self.status.code, "status": self.status.word}
        if self.source:
            answer["source"] = dict(self.source)
        if self.message:
            answer["message"] = self.message
        return answer | dict(self.fields)


@dataclass(frozen=True, slots=True)
class Settings:
    """The function's settings, from its environment variables."""

    output_bucket: str | None
    output_prefix: str
    encoding: str
    chunk_tokens: int
    chunk_overlap: int
    max_pdf_bytes: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Raises `Refused` with the variable, what it may be, and what it is."""
        prefix = environment.get("OUTPUT_PREFIX", "extracted/").strip("/")
        if not prefix:
            # What lies under the prefix is never taken for input; without one, nothing could be told apart.
            raise Refused(Status.MISCONFIGURED, "OUTPUT_PREFIX must not be empty: it keeps our output from coming back")
        chunk_tokens = _whole_number(environment, "CHUNK_TOKENS", default=512, low=32, high=8192)
        return cls(
            output_bucket=environment.get("OUTPUT_BUCKET") or None,
            output_prefix=prefix + "/",
            encoding=environment.get("TOKEN_ENCODING") or "cl100k_base",
            chunk_tokens=chunk_tokens,
            # At most half, so that every chunk brings at least as much that is new as it repeats.
            chunk_overlap=_whole_number(
                environment, "CHUNK_OVERLAP", default=min(64, chunk_tokens // 2), low=0, high=chunk_tokens // 2
            ),
            max_pdf_bytes=_whole_number(environment, "MAX_PDF_MIB", default=200, low=1, high=10_240) * MEBIBYTE,
        )


def _whole_number(environment: Mapping[str, str], name: str, *, default: int, low: int, high: int) -> int:
    text = environment.get(name) or str(default)
    # Not `int(text)` alone: that takes "1_0" and "٣" too, which nobody means.
    if text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high:
        return int(text)
    raise Refused(Status.MISCONFIGURED, f"{name} must be a whole number from {low} to {high}, not {text[:40]!r}")

"""Objects in S3: the PDF that is read, and the result that is written."""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

from contract import MEBIBYTE, Refused, Settings, Status
from events import S3Object


@functools.cache
def client() -> Any:
    """The client for S3, made when first needed and reused by later invocations."""
    made = boto3.client(
        "s3", config=Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 4})
    )
    made.meta.events.register("before-call.s3.PutObject", _only_if_absent)
    return made


def _only_if_absent(params: dict[str, Any], **_: object) -> None:
    # 412 when the key is there, 409 while another such PUT is under way:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
    # botocore 1.34, which boto3 1.34.0 needs, knows no parameter `IfNoneMatch` (1.35.2 does).
    params["headers"]["If-None-Match"] = "*"


@dataclass(frozen=True, slots=True)
class Opened:
    """An object of which nothing has been read yet, and which version of it this is."""

    version: str
    size: int
    _body: Any
    _name: str

    def parts(self) -> Iterator[bytes]:
        """The object's bytes."""
        try:
            yield from self._body.iter_chunks(MEBIBYTE)
        except BotoCoreError as error:
            raise Refused(Status.UNAVAILABLE, f"reading {self._name} broke off: {error}") from error

    def close(self) -> None:
        self._body.close()


def open_object(wanted: S3Object) -> Opened:
    """Begins to read an object, in the version that the event is about."""
    which = {"Bucket": wanted.bucket, "Key": wanted.key}
    if wanted.version_id:
        which["VersionId"] = wanted.version_id
    elif wanted.etag:
        which["IfMatch"] = f'"{wanted.etag}"'
    name = f"s3://{wanted.bucket}/{wanted.key}"
    try:
        found = client().get_object(**which)
    except (BotoCoreError, ClientError) as error:
        raise _refused(error, f"get {name}") from error
    # Objects of a bucket whose versioning is suspended, or was off when they came, all have the version "null".
    version_id = found.get("VersionId", "null")
    version = version_id if version_id != "null" else found["ETag"].strip('"')
    return Opened(version, found["ContentLength"], found["Body"], name)


def is_own_output(bucket: str, key: str, settings: Settings) -> bool:
    return bucket == settings.output_bucket and key.startswith(settings.output_prefix)


def output_key(place: str, version: str, settings: Settings) -> str:
    """Where the result goes: the same for the same version of a document and the same settings."""
    how = f"{settings.encoding}-{settings.chunk_tokens}-{settings.chunk_overlap}"
    key = f"{settings.output_prefix}{place}/{version}/{how}.json"
    if len(key.encode()) <= 1024:
        return key
    # The longest key that S3 takes; the document's own may be as long.
    return f"{settings.output_prefix}_long/{hashlib.sha256(key.encode()).hexdigest()}.json"


def exists(bucket: str, key: str) -> bool:
    """Whether an object is there. False if we may not know: then the conditional PUT decides."""
    try:
        client().head_object(Bucket=bucket, Key=key)
    except (BotoCoreError, ClientError) as error:
        # Without s3:ListBucket, S3 says 403 for what is not there.
        if _http_status(error) in (403, 404):
            return False
        raise _refused_output(error, f"look for s3://{bucket}/{key}") from error
    return True


def put_if_absent(bucket: str, key: str, document: IO[bytes]) -> bool:
    """Writes a result; false if it is there already."""
    try:
        client().put_object(Bucket=bucket, Key=key, Body=document, ContentType="application/json")
    except (BotoCoreError, ClientError) as error:
        if _http_status(error) == 412:
            return False
        raise _refused_output(error, f"put s3://{bucket}/{key}") from error
    return True


def _http_status(error: BotoCoreError | ClientError) -> int:
    """0 if S3 gave no answer."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"]) if isinstance(error, ClientError) else 0


def _refused_output(error: BotoCoreError | ClientError, what: str) -> Refused:
    refused = _refused(error, what)
    if refused.status in (Status.MISSING, Status.BAD_REQUEST):
        return Refused(Status.MISCONFIGURED, f"{refused.message} (OUTPUT_BUCKET, OUTPUT_PREFIX)")
    return refused


# Of the many reasons for a 400 these are the caller's; most others are about credentials and clocks.
_CALLERS_FAULT = ("InvalidArgument", "InvalidBucketName", "KeyTooLongError")


def _refused(error: BotoCoreError | ClientError, what: str) -> Refused:
    status = Status.UNAVAILABLE
    match error:
        case ParamValidationError():
            status = Status.BAD_REQUEST
        case NoCredentialsError():
            status = Status.MISCONFIGURED
        case ClientError(response={"Error": {"Code": code}}):
            match _http_status(error):
                case 404 | 405:  # 405: this version is a delete marker
                    status = Status.MISSING
                case 401 | 403:
                    status = Status.DENIED
                case 412:
                    what += ": overwritten since, which has an event of its own"
                    status = Status.SUPERSEDED
                case 400 if code in _CALLERS_FAULT:
                    status = Status.BAD_REQUEST
    return Refused(status, f"{what}: {error}")

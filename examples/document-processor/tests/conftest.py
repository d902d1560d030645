"""What all tests stand on: the function on the path as in /var/task, an encoding's file, no network, S3 by moto."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

FUNCTION = Path(__file__).parent.parent / "extract-text"
sys.path.insert(0, str(FUNCTION))

import storage  # noqa: E402
import tokens  # noqa: E402

CACHE = Path(__file__).parent / ".cache"
# The smallest wheel that has the file which tiktoken would download for cl100k_base.
WHEEL = "litellm==1.55.0"
MEMBER = "litellm/litellm_core_utils/tokenizers/9b5ad71b2ce5302211f9c61530b329a4922fc6a4"


@pytest.fixture(scope="session")
def encodings() -> Path:
    """A cache directory of tiktoken's with cl100k_base, filled from the package index once."""
    path = CACHE / MEMBER.rpartition("/")[2]
    if not path.exists():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL]
            subprocess.run(command, check=True)
            (wheel,) = Path(folder).glob("*.whl")
            data = zipfile.ZipFile(wheel).read(MEMBER)
        assert hashlib.sha256(data).hexdigest() == tokens.ENCODINGS["cl100k_base"]
        CACHE.mkdir(exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}")
        aside.write_bytes(data)
        aside.replace(path)
    return CACHE


@pytest.fixture(autouse=True)
def bare_environment(encodings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a function without settings, in which nothing reaches the network."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "OUTPUT_", "CHUNK_", "TOKEN_", "TIKTOKEN_", "DATA_GYM_", "MAX_PDF_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(encodings))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr(socket.socket, "connect", _refuse)
    monkeypatch.setattr(socket, "getaddrinfo", _refuse)


def _refuse(*arguments: object, **_: object) -> None:
    raise AssertionError(f"the network was used: {arguments}")


class Bucket:
    """S3 as the tests see it: a bucket for documents, and one for results."""

    def __init__(self) -> None:
        self.client = boto3.client("s3")
        for bucket in ("docs", "results"):
            place = {"LocationConstraint": "eu-central-1"}
            self.client.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)

    def put(self, key: str, data: bytes, bucket: str = "docs") -> dict[str, Any]:
        """Writes an object; gives what S3 said."""
        answer: dict[str, Any] = self.client.put_object(Bucket=bucket, Key=key, Body=data)
        return answer

    def keys(self, bucket: str = "results") -> list[str]:
        return [found["Key"] for found in self.client.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def result(self, place: dict[str, str]) -> dict[str, Any]:
        """The JSON document at `{"bucket", "key"}`."""
        body = self.client.get_object(Bucket=place["bucket"], Key=place["key"])["Body"].read()
        document: dict[str, Any] = json.loads(body)
        return document


@pytest.fixture
def s3() -> Iterator[Bucket]:
    storage.client.cache_clear()
    with mock_aws():
        yield Bucket()
    storage.client.cache_clear()

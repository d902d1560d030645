"""Documents of 2,000 pages take no more memory than such of 100: from S3 to S3, over HTTP, in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

import pdfs
from contract import MEBIBYTE

# Of content each page has; twice this, as read and as decoded, is what pdfminer would keep of it.
CONTENT = 16 * 1024


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """moto's S3 on loopback, and no other address."""
    monkeypatch.undo()  # of what forbids the network: the server is in this process, and the client below
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def document(pages: int, first: int = 0) -> bytes:
    """Pages of text that differ, with content of some length, some with a table."""
    return pdfs.pdf(
        pdfs.text(*[f"page {page} line {line} the quick brown fox" for line in range(5)])
        + (pdfs.table([[f"{page}", "b"], ["c", "d"]]) if page % 10 == 0 else b"")
        + pdfs.padding(CONTENT)
        for page in range(first, first + pages)
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; Lambda is Linux too")
def test_memory_does_not_grow_with_the_document(server: str, encodings: Path) -> None:
    secrets = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=server, **secrets)
    client.create_bucket(Bucket="docs")
    client.create_bucket(Bucket="results")
    for key, pages in [("100.pdf", 100), ("2000.pdf", 2000)]:
        client.put_object(Bucket="docs", Key=key, Body=document(pages))

    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "AWS_ENDPOINT_URL_S3": server,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "TIKTOKEN_CACHE_DIR": str(encodings),
        "OUTPUT_BUCKET": "results",
    }
    # The first document is read twice: what is made once per process is then made.
    command = [sys.executable, str(Path(__file__).parent / "big.py"), "docs", "100.pdf", "100.pdf", "2000.pdf"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    first, again, large = (json.loads(line) for line in run.stdout.splitlines())

    assert (first["status"], again["status"], large["status"]) == ("processed", "skipped", "processed")
    assert (first["totals"]["pages"], large["totals"]["pages"]) == (100, 2000)
    assert large["totals"]["tables"] == 200
    grown = large["peak"] - again["peak"]
    print(f"peak after 100 pages {again['peak'] / MEBIBYTE:.1f} MiB, after 2,000 {grown / MEBIBYTE:.1f} MiB more")
    assert grown < 6 * MEBIBYTE, f"{grown / MEBIBYTE:.1f} MiB for 1,900 pages of {CONTENT // 1024} KiB more"

    result = json.loads(client.get_object(Bucket="results", Key=large["output"]["key"])["Body"].read())
    assert [page["page"] for page in result["pages"]] == list(range(1, 2001))
    assert sorted({page for chunk in result["chunks"] for page in chunk["pages"]}) == list(range(1, 2001))
    assert len(result["chunks"]) == large["totals"]["chunks"]

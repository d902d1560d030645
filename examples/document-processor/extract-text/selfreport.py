"""What `{"test": true}` is answered: whether the function, its layer and its settings are fit for work."""

import io
import os
import platform
from importlib import metadata
from typing import Any

import tiktoken

import document
import tokens
from contract import Refused, Settings

# A page with two words over a table of two by two, drawn with lines.
PDF = b"""%PDF-1.4
1 0 obj << /Type /Catalog /Pages 2 0 R >> endobj
2 0 obj << /Type /Pages /Kids [3 0 R] /Count 1 >> endobj
3 0 obj << /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R
 /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >> endobj
4 0 obj << /Length 302 >> stream
BT /F1 12 Tf 20 160 Td (Hello, layer) Tj ET
20 100 m 180 100 l S 20 120 m 180 120 l S 20 140 m 180 140 l S
20 100 m 20 140 l S 100 100 m 100 140 l S 180 100 m 180 140 l S
BT /F1 12 Tf 25 125 Td (a) Tj ET BT /F1 12 Tf 105 125 Td (b) Tj ET
BT /F1 12 Tf 25 105 Td (c) Tj ET BT /F1 12 Tf 105 105 Td (d) Tj ET
endstream endobj
trailer << /Root 1 0 R >>
%%EOF
"""
TEXT = "Hello, layer\na b\nc d"
TABLES: list[document.Table] = [[["a", "b"], ["c", "d"]]]

LIBRARIES = ("tiktoken", "pdfplumber", "boto3")


def report() -> dict[str, Any]:
    """Works without a network, and without settings that are right: it says which are not."""
    problems: list[str] = []
    encoding, wanted = bytes_encoding(), "cl100k_base"
    try:
        settings = Settings.from_environment(os.environ)
        wanted = settings.encoding
        encoding = tokens.encoding(wanted)
    except Refused as refused:
        problems.append(refused.message)

    page = next(document.read_pages(io.BytesIO(PDF)))
    if (page.text, page.tables) != (TEXT, TABLES):
        problems.append(f"the embedded page was read as {page}")

    directory = tokens.cache_directory()
    return {
        "statusCode": 500 if problems else 200,
        "status": "not_ready" if problems else "ready",
        "problems": problems,
        "runtime": {
            "python": platform.python_version(),
            "architecture": platform.machine(),
            "environment": os.environ.get("AWS_EXECUTION_ENV"),
            "function": os.environ.get("AWS_LAMBDA_FUNCTION_NAME"),
        },
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "encodings": {
            "wanted": wanted,
            "available": [name for name in tokens.ENCODINGS if not tokens.missing(name)],
            "directory": str(directory) if directory else None,
        },
        "page": {
            "text": page.text,
            "tables": page.tables,
            "tokens": tokens.counter(encoding)(page.text),
            "encoding": encoding.name,
        },
    }


def bytes_encoding() -> tiktoken.Encoding:
    """A token for each byte: shows that tiktoken's compiled part works, where no encoding is at hand."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    return tiktoken.Encoding("bytes", pat_str=r"[\s\S]+", mergeable_ranks=ranks, special_tokens={})

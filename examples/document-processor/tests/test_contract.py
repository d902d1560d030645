"""Settings, and the table of answers in README.md."""

import re
from pathlib import Path

import pytest

from contract import MEBIBYTE, Refused, Settings, Status

README = Path(__file__).parent.parent / "README.md"


def check(environment: dict[str, str], expected: dict[str, object] | str) -> None:
    """Settings as expected, or a refusal with this in its message."""
    if isinstance(expected, str):
        with pytest.raises(Refused, match=re.escape(expected)) as raised:
            Settings.from_environment(environment)
        assert raised.value.status is Status.MISCONFIGURED
    else:
        settings = Settings.from_environment(environment)
        assert {name: getattr(settings, name) for name in expected} == expected


def test_defaults() -> None:
    check(
        {},
        {
            "output_bucket": None,
            "output_prefix": "extracted/",
            "encoding": "cl100k_base",
            "chunk_tokens": 512,
            "chunk_overlap": 64,
            "max_pdf_bytes": 200 * MEBIBYTE,
        },
    )


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"OUTPUT_BUCKET": "b"}, {"output_bucket": "b"}),
        ({"OUTPUT_BUCKET": ""}, {"output_bucket": None}),
        ({"OUTPUT_PREFIX": "/a/b/"}, {"output_prefix": "a/b/"}),
        ({"OUTPUT_PREFIX": ""}, "OUTPUT_PREFIX must not be empty"),
        ({"OUTPUT_PREFIX": "/"}, "OUTPUT_PREFIX must not be empty"),
        ({"TOKEN_ENCODING": "o200k_base"}, {"encoding": "o200k_base"}),
        ({"CHUNK_TOKENS": "32"}, {"chunk_tokens": 32, "chunk_overlap": 16}),
        ({"CHUNK_TOKENS": "8192", "CHUNK_OVERLAP": "4096"}, {"chunk_tokens": 8192, "chunk_overlap": 4096}),
        ({"CHUNK_OVERLAP": "0"}, {"chunk_overlap": 0}),
        ({"CHUNK_TOKENS": "31"}, "CHUNK_TOKENS must be a whole number from 32 to 8192, not '31'"),
        ({"CHUNK_TOKENS": "8193"}, "CHUNK_TOKENS must be"),
        ({"CHUNK_TOKENS": "many"}, "CHUNK_TOKENS must be"),
        ({"CHUNK_TOKENS": "1_00"}, "CHUNK_TOKENS must be"),
        ({"CHUNK_TOKENS": "٣٣٣"}, "CHUNK_TOKENS must be"),
        ({"CHUNK_TOKENS": "-64"}, "CHUNK_TOKENS must be"),
        ({"CHUNK_TOKENS": "9" * 5000}, "CHUNK_TOKENS must be"),
        ({"CHUNK_TOKENS": "100", "CHUNK_OVERLAP": "51"}, "CHUNK_OVERLAP must be a whole number from 0 to 50, not '51'"),
        ({"MAX_PDF_MIB": "1"}, {"max_pdf_bytes": MEBIBYTE}),
        ({"MAX_PDF_MIB": "0"}, "MAX_PDF_MIB must be"),
    ],
)
def test_settings(environment: dict[str, str], expected: dict[str, object] | str) -> None:
    check(environment, expected)


def test_the_table_of_answers_in_the_readme_is_the_one_in_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (yes|no) \| (yes|no) \|", README.read_text(), re.MULTILINE)
    code = [(s.word, str(s.code), "yes" if s.documented else "no", "yes" if s.retry else "no") for s in Status]
    assert rows == code


def test_every_setting_is_in_the_readme() -> None:
    source = (Path(__file__).parent.parent / "extract-text" / "contract.py").read_text()
    names = set(re.findall(r'environment(?:\.get\(|, )"([A-Z_]+)"', source))
    assert len(names) == 6
    assert names == set(re.findall(r"^\| `([A-Z_]+)` \|", README.read_text(), re.MULTILINE)) - {"TIKTOKEN_CACHE_DIR"}

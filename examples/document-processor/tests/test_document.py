"""From PDFs of all kinds to pages, and to the JSON document."""

import io
import json
import random
import re
import struct
from typing import Any

import pytest

import document
import pdfs
from contract import MEBIBYTE, Refused, Settings, Status
from document import DocumentFile, Finding, Page
from tokens import counter, encoding

SETTINGS = Settings.from_environment({})


def pages_of(pdf: bytes) -> list[Page]:
    return list(document.read_pages(io.BytesIO(pdf)))


def extracted(pdf: bytes, in_time: Any = lambda: True) -> tuple[Finding, dict[str, Any]]:
    """The finding, and the JSON document as its file has it."""
    with DocumentFile() as out:
        finding = document.extract(io.BytesIO(pdf), out, counter(encoding("cl100k_base")), SETTINGS, in_time)
        return finding, json.loads(out.finish(finding, {"sha256": "0"}, SETTINGS).read())


def check(pdf: bytes, status: Status, message: str = "", **totals: int) -> dict[str, Any]:
    """What a PDF turns out to be, whether that is found or refused; gives the document, if there is one."""
    try:
        finding, result = extracted(pdf)
    except Refused as refused:
        finding, result = Finding(refused.status, refused.message, document.Totals()), {}
    assert finding.status is status, finding
    assert re.search(message, finding.message), finding
    assert {name: getattr(finding.totals, name) for name in totals} == totals
    return result


ROWS = [["Item", "Price"], ["Tea (black)", "3.50"], ["Café", "4.00"]]


def test_text_of_pages() -> None:
    first, second = pages_of(pdfs.pdf([pdfs.text("Hello, (world)", "second line"), pdfs.text("Größe: 3 €")]))
    assert first == Page(1, "Hello, (world)\nsecond line")
    assert second == Page(2, "Größe: 3 €")


def test_tables() -> None:
    (page,) = pages_of(pdfs.pdf([pdfs.text("Prices") + pdfs.table(ROWS) + pdfs.table([["x"], ["y"]], top=200)]))
    assert page.tables == [ROWS, [["x"], ["y"]]]
    assert "Tea (black) 3.50" in page.text


def test_the_document() -> None:
    result = check(
        pdfs.pdf([pdfs.text("one"), pdfs.table(ROWS) + pdfs.image()]),
        Status.PROCESSED,
        pages=2,
        tables=1,
        images=1,
        chunks=1,
    )
    words = "Item Price\nTea (black) 3.50\nCafé 4.00"
    count = counter(encoding("cl100k_base"))
    assert result == {
        "version": 1,
        "pages": [
            {"page": 1, "text": "one", "tokens": 1, "tables": [], "images": 0},
            {"page": 2, "text": words, "tokens": count(words), "tables": [ROWS], "images": 1},
        ],
        "chunks": [{"chunk": 0, "pages": [1, 2], "tokens": count("one\n\n" + words), "text": "one\n\n" + words}],
        "status": "processed",
        "message": "",
        "source": {"sha256": "0"},
        "encoding": "cl100k_base",
        "chunk_tokens": 512,
        "chunk_overlap": 64,
        "totals": {
            "pages": 2,
            "tokens": 1 + count(words),
            "tables": 1,
            "images": 1,
            "chunks": 1,
            "damaged_pages": 0,
        },
    }


def test_200_pages() -> None:
    lines = [f"line {line} has some words in it" for line in range(8)]
    result = check(pdfs.pdf([pdfs.text(f"page {page}", *lines) for page in range(1, 201)]), Status.PROCESSED, pages=200)
    assert [page["page"] for page in result["pages"]] == list(range(1, 201))
    assert result["pages"][99]["text"].startswith("page 100\nline 0")
    assert len(result["chunks"]) == result["totals"]["chunks"] > 20
    for chunk in result["chunks"]:
        assert chunk["tokens"] <= 512
        named = {int(number) for number in re.findall(r"page (\d+)", chunk["text"])}
        assert named <= set(chunk["pages"])
    assert sorted({page for chunk in result["chunks"] for page in chunk["pages"]}) == list(range(1, 201))


ALGORITHMS = ["RC4-40", "RC4-128", "AES-128", "AES-256-R5", "AES-256"]
PLAIN = pdfs.pdf([pdfs.text("secret")])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_password_is_needed(algorithm: str) -> None:
    check(pdfs.encrypted(PLAIN, algorithm, user="user"), Status.ENCRYPTED, "needs a password")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_owners_password_alone_keeps_nobody_from_reading(algorithm: str) -> None:
    result = check(pdfs.encrypted(PLAIN, algorithm, user=""), Status.PROCESSED)
    assert result["pages"][0]["text"] == "secret"


def test_a_way_to_encrypt_that_nobody_knows() -> None:
    pdf = PLAIN.replace(b"trailer << ", b"trailer << /Encrypt << /Filter /Rot13 /V 9 >> /ID [<00> <00>] ")
    check(pdf, Status.ENCRYPTED, "Unknown filter")


def test_scanned() -> None:
    result = check(pdfs.pdf([pdfs.image(), pdfs.image()]), Status.IMAGE_ONLY, "scanned", pages=2, images=2, chunks=0)
    assert [page["images"] for page in result["pages"]] == [1, 1]


def test_a_cover_that_is_an_image_does_not_make_it_scanned() -> None:
    check(pdfs.pdf([pdfs.image(), pdfs.text("one")]), Status.PROCESSED, images=1)


def test_empty() -> None:
    check(pdfs.pdf([]), Status.EMPTY, "^0 pages", pages=0)
    check(pdfs.pdf([b"", b""]), Status.EMPTY, "^2 pages", pages=2)


@pytest.mark.parametrize(
    "pdf",
    [
        b"%PDF-1.4\n",
        b"%PDF-1.4\n%%EOF",
        b"%PDF-1.4\n" + random.Random(1).randbytes(10_000),
        PLAIN.replace(b"/Root 1 0 R", b"/Root 9 0 R"),
        PLAIN[: len(PLAIN) * 2 // 3],
        PLAIN.replace(b"/Pages 2 0 R", b"/Pages [1 2 3]"),
        # A tree of pages that is a ring.
        PLAIN.replace(b"/Kids [5 0 R]", b"/Kids [2 0 R]"),
    ],
    ids=["header", "nothing", "noise", "no root", "cut off", "pages", "ring"],
)
def test_corrupt(pdf: bytes) -> None:
    check(pdf, Status.CORRUPT, ".")


def test_a_table_of_objects_that_is_wrong_does_not_matter() -> None:
    pdf = pdfs.pdf([pdfs.text("one"), pdfs.text("two")]).replace(b"%PDF-1.4\n", b"%PDF-1.4\n% longer than it was\n")
    check(pdf, Status.PROCESSED, pages=2)


def test_a_broken_page_does_not_spoil_the_others() -> None:
    pdf = pdfs.pdf([pdfs.text("one"), pdfs.text("two"), pdfs.text("three")])
    broken = pdf.replace(b"(two) Tj", b"/F Tm Tj").replace(b"7 0 obj\n<< ", b"7 0 obj\n<< /Rotate [1] ")
    result = check(broken, Status.PROCESSED, pages=3, damaged_pages=1)
    assert [page["text"] for page in result["pages"]] == ["one", "", "three"]
    assert result["pages"][1]["error"]
    assert "error" not in result["pages"][0]


def test_pages_that_break_off_after_some_are_told() -> None:
    pdf = pdfs.pdf([pdfs.text("one"), pdfs.text("two")]).replace(b"7 0 R] /Count", b"/X   ] /Count")
    result = check(pdf, Status.PROCESSED, "break off before page 2", pages=1)
    assert result["pages"][0]["text"] == "one"
    assert result["message"]


def test_only_broken_pages_are_a_corrupt_document() -> None:
    pdf = PLAIN.replace(b"<< /Type /Page ", b"<< /Type /Page /Rotate [1] ")
    check(pdf, Status.CORRUPT, "none of 1 pages has text", pages=1, damaged_pages=1)


def test_text_that_is_no_unicode_is_written_as_utf_8() -> None:
    """A TrueType font whose only character, glyph 1, is one half of a surrogate pair."""
    segments = struct.pack(">4H", 4, 0, 0, 0) + struct.pack(">2H", 0xD83D, 0xFFFF) + b"\0\0"
    segments += struct.pack(">2H2H2H", 0xD83D, 0xFFFF, (1 - 0xD83D) & 0xFFFF, 1, 0, 0)
    cmap = struct.pack(">HHHHL", 0, 1, 3, 1, 12) + struct.pack(">HHH", 4, len(segments) + 6, 0) + segments
    font_file = struct.pack(">4sHHHH4sLLL", b"\0\1\0\0", 1, 0, 0, 0, b"cmap", 0, 28, len(cmap)) + cmap
    font = b"""<< /Type /Font /Subtype /Type0 /BaseFont /X /Encoding /Identity-H /DescendantFonts [
        << /Type /Font /Subtype /CIDFontType2 /BaseFont /X /FontDescriptor << /FontFile2 7 0 R >>
           /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) >> >> ] >>"""
    pdf = pdfs.pdf([b"BT /F 10 Tf 50 750 Td <0001> Tj ET"], font, [pdfs.stream(font_file)])
    result = check(pdf, Status.PROCESSED)
    assert result["pages"][0]["text"] == "?"


def test_time_that_is_up_between_pages() -> None:
    checks = iter([True, True, False])
    with pytest.raises(Refused, match="page 3 was read") as raised:
        extracted(pdfs.pdf([pdfs.text("one")] * 10), lambda: next(checks))
    assert raised.value.status is Status.OUT_OF_TIME


@pytest.mark.parametrize("seed", range(150))
def test_any_damage_has_a_defined_answer(seed: int) -> None:
    """Bytes are turned over, cut out and doubled; whatever comes of it is an answer that the table knows."""
    source = random.Random(seed)
    pdf = bytearray(pdfs.pdf([pdfs.text("one", "two"), pdfs.table(ROWS), pdfs.image()]))
    if seed % 3 == 0:
        pdf = bytearray(pdfs.encrypted(bytes(pdf), source.choice(ALGORITHMS), user=""))
    for _ in range(source.randrange(1, 20)):
        at = source.randrange(len(pdf))
        match source.randrange(3):
            case 0:
                pdf[at] = source.randrange(256)
            case 1:
                del pdf[at : at + source.randrange(40)]
            case _:
                pdf[at:at] = pdf[at : at + source.randrange(40)]
    try:
        extracted(bytes(pdf))
    except Refused as refused:
        assert refused.status in (Status.CORRUPT, Status.ENCRYPTED)


def test_what_is_kept_for_later_pages_is_a_fixed_number() -> None:
    cache = {number: number for number in range(10)}
    document._keep_newest(cache, 4)
    document._keep_newest(cache, 4)
    assert list(cache) == [6, 7, 8, 9]


# Receiving


def receive(parts: list[bytes], size: int, limit: int = MEBIBYTE) -> bytes:
    target = io.BytesIO()
    document.receive(parts, size, target, limit)
    return target.read()


def test_a_pdf_is_received() -> None:
    assert receive([b"%PDF-1.4", b" more"], 13) == b"%PDF-1.4 more"
    assert receive([b"\xef\xbb\xbf junk %PDF-1.4"], 20) == b"\xef\xbb\xbf junk %PDF-1.4"


@pytest.mark.parametrize(
    ("parts", "size", "status"),
    [
        ([], 0, Status.EMPTY),
        ([b"PK\3\4", b"%PDF-1.4"], 12, Status.NOT_PDF),
        ([b" " * 1024 + b"%PDF-1.4"], 1032, Status.NOT_PDF),
        ([b"%PDF-1.4"], MEBIBYTE + 1, Status.TOO_LARGE),
    ],
)
def test_what_is_not_received(parts: list[bytes], size: int, status: Status) -> None:
    with pytest.raises(Refused) as raised:
        receive(parts, size)
    assert raised.value.status is status


def test_an_error_may_bring_foreign_text_but_little_of_it() -> None:
    assert document._why(ValueError()) == "ValueError"
    assert len(document._why(ValueError("x" * 10**6))) < 250

"""From a PDF to one JSON document of pages and chunks. At no time is more of either in memory than a page."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import IO, Any, Self

import pdfplumber
from pdfminer.pdfdocument import PDFEncryptionError
from pdfminer.pdfpage import PDFPage
from pdfplumber.page import Page as PlumberPage
from pdfplumber.pdf import PDF

from contract import MEBIBYTE, Refused, Settings, Status
from tokens import Chunk, Chunker, Count, count_page

VERSION = 1

Table = list[list[str | None]]


@dataclass(slots=True)
class Page:
    """What was read of a page; `error` says why it is not everything."""

    number: int
    text: str = ""
    tables: list[Table] = field(default_factory=list)
    images: int = 0
    error: str = ""


@dataclass(slots=True)
class Totals:
    """The document in numbers."""

    pages: int = 0
    tokens: int = 0
    tables: int = 0
    images: int = 0
    chunks: int = 0
    damaged_pages: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a PDF turned out to be."""

    status: Status
    message: str
    totals: Totals


def temporary_file() -> IO[bytes]:
    """A file in /tmp without a name: its room is free again however this process ends, and Lambda reuses /tmp."""
    return tempfile.TemporaryFile(prefix="document-processor-")


def receive(parts: Iterable[bytes], size: int, target: IO[bytes], limit: int) -> None:
    """Writes a PDF of `size` bytes to a file. Raises `Refused`, without reading on, if it is too large or no PDF."""
    if size == 0:
        raise Refused(Status.EMPTY, "no bytes")
    if size > limit:
        raise Refused(Status.TOO_LARGE, f"{size} bytes, MAX_PDF_MIB allows {limit // MEBIBYTE} MiB")
    for number, part in enumerate(parts):
        # ISO 32000-1, 7.5.2 wants the header first; readers, as its annex H says, look at the first 1,024 bytes.
        if number == 0 and b"%PDF-" not in part[:1024]:
            raise Refused(Status.NOT_PDF, "there is no %PDF- in the first 1,024 bytes")
        target.write(part)
    target.seek(0)


def read_pages(pdf_file: IO[bytes]) -> Iterator[Page]:
    """Reads a PDF page by page. Raises `Refused` where it cannot be read on."""
    try:
        # With the empty password: an owner's password restricts printing and such, only a user's keeps us out.
        pdf = pdfplumber.open(pdf_file)  # type: ignore[arg-type]  # any file will do
    except PDFEncryptionError as error:
        raise Refused(Status.ENCRYPTED, f"needs a password, or an unknown way to decrypt: {_why(error)}") from error
    except Exception as error:  # pdfminer raises whatever a broken file leads it to
        raise Refused(Status.CORRUPT, f"not readable as a PDF: {_why(error)}") from error

    # Not `pdf.pages`: it makes all pages first, and each holds the bytes of its content.
    nodes = PDFPage.create_pages(pdf.doc)
    number = 0
    while True:
        number += 1
        try:
            node = next(nodes, None)
        except Exception as error:
            raise Refused(Status.CORRUPT, f"the pages break off before page {number}: {_why(error)}") from error
        if node is None:
            return
        yield _read_page(pdf, node, number)
        _forget(pdf)


def _read_page(pdf: PDF, node: PDFPage, number: int) -> Page:
    page = Page(number)
    try:
        source = PlumberPage(pdf, node, page_number=number)
        try:
            page.images = len(source.images)
            # Text of a broken font may have halves of surrogate pairs, which UTF-8 cannot carry.
            page.text = source.extract_text().encode("utf-8", "replace").decode()
            page.tables = source.extract_tables()
        finally:
            source.flush_cache()
            # A method in an attribute of its own object: the page would stay until the next garbage collection.
            del source.get_textmap
    except Exception as error:  # one broken page is no reason to lose the others
        page.error = _why(error)
    return page


_OBJECT_STREAMS_KEPT = 32
_FONTS_KEPT = 64


def _forget(pdf: PDF) -> None:
    """Drops what pdfminer keeps of every object it has read, and would keep until the document is closed.

    What is costly to read again and shared by pages stays, a fixed number of it: an object stream holds the small parts
    of about a hundred objects. These attributes are private; the requirement of pdfplumber pins pdfminer.six to
    20221105, and tests/test_memory.py fails when they are no longer what they are.
    """
    pdf.doc._cached_objs.clear()
    _keep_newest(pdf.doc._parsed_objs, _OBJECT_STREAMS_KEPT)
    _keep_newest(pdf.rsrcmgr._cached_fonts, _FONTS_KEPT)


def _keep_newest(cache: dict[Any, Any], count: int) -> None:
    for key in list(cache)[:-count]:
        del cache[key]


class DocumentFile:
    """The result, a JSON document in a temporary file, written as pages and chunks come.

    Chunks come while pages still do, so they have a file of their own until the end.
    """

    def __init__(self) -> None:
        self._file = temporary_file()
        self._later = temporary_file()
        self._file.write(f'{{"version": {VERSION}, "pages": ['.encode())
        self._pages = _Items(self._file)
        self._chunks = _Items(self._later)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._later.close()

    def page(self, page: Page, tokens: int) -> None:
        record: dict[str, Any] = {"page": page.number, "text": page.text, "tokens": tokens}
        record |= {"tables": page.tables, "images": page.images}
        self._pages.append(record | ({"error": page.error} if page.error else {}))

    def chunk(self, chunk: Chunk) -> None:
        record = asdict(chunk)
        self._chunks.append({"chunk": record.pop("number")} | record)

    def finish(self, finding: Finding, source: Mapping[str, str], settings: Settings) -> IO[bytes]:
        """Completes the document; gives its file, at the start, to be read before this is closed."""
        self._file.write(b'\n], "chunks": [')
        self._later.seek(0)
        shutil.copyfileobj(self._later, self._file)
        tail = {
            "status": finding.status.word,
            "message": finding.message,
            "source": dict(source),
            "encoding": settings.encoding,
            "chunk_tokens": settings.chunk_tokens,
            "chunk_overlap": settings.chunk_overlap,
            "totals": asdict(finding.totals),
        }
        self._file.write(b"\n], " + _encoded(tail)[1:] + b"\n")
        self._file.seek(0)
        return self._file


class _Items:
    """Writes the items of a JSON array, one a line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._separator = b"\n"

    def append(self, item: Mapping[str, Any]) -> None:
        self._file.write(self._separator + _encoded(item))
        self._separator = b",\n"


def extract(
    pdf_file: IO[bytes],
    out: DocumentFile,
    count: Count,
    settings: Settings,
    in_time: Callable[[], bool],
) -> Finding:
    """Writes the pages of a PDF, and chunks of their text, to `out`."""
    totals = Totals()
    message = ""
    chunker = Chunker(count, settings.chunk_tokens, settings.chunk_overlap)
    try:
        for page in read_pages(pdf_file):
            tokens = count_page(count, page.text)
            out.page(page, tokens)
            for chunk in chunker.add(page.number, page.text):
                out.chunk(chunk)
                totals.chunks += 1
            totals.pages += 1
            totals.tokens += tokens
            totals.tables += len(page.tables)
            totals.images += page.images
            totals.damaged_pages += bool(page.error)
            if not in_time():
                raise Refused(Status.OUT_OF_TIME, f"page {totals.pages} was read when the time was up")
    except Refused as refused:
        if refused.status is not Status.CORRUPT or totals.pages == 0:
            raise
        message = refused.message
    for chunk in chunker.finish():
        out.chunk(chunk)
        totals.chunks += 1

    if totals.tokens:
        return Finding(Status.PROCESSED, message, totals)
    if totals.damaged_pages or message:
        return Finding(Status.CORRUPT, message or f"none of {totals.pages} pages has text, some are damaged", totals)
    if totals.images:
        return Finding(Status.IMAGE_ONLY, f"{totals.pages} pages of images, without text: scanned?", totals)
    return Finding(Status.EMPTY, f"{totals.pages} pages, without text or images", totals)


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _why(error: Exception) -> str:
    """An error in a few words: foreign bytes can be in its text, any number of them."""
    text = str(error)
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__

"""PDFs made to order, byte by byte (ISO 32000-1): no library to install, and every mistake can be made on purpose."""

import io
from collections.abc import Iterable, Sequence

import pypdf

HELVETICA = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"


def pdf(pages: Iterable[bytes], font: bytes = HELVETICA, others: Sequence[bytes] = ()) -> bytes:
    """A PDF with these contents of pages, and a table of where the objects are.

    Objects 1 to 4 are the catalog, the tree of pages, the font and an image; then two for each page, then the others.
    """
    contents = list(pages)
    kids = b" ".join(b"%d 0 R" % (5 + 2 * index) for index in range(len(contents)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d /MediaBox [0 0 600 800] /Resources << /Font << /F 3 0 R >> "
        b"/XObject << /I 4 0 R >> >> >>" % (kids, len(contents)),
        font,
        stream(b"\0\xff\xff\0", b"/Subtype /Image /Width 2 /Height 2 /ColorSpace /DeviceGray /BitsPerComponent 8"),
    ]
    for index, content in enumerate(contents):
        objects += [b"<< /Type /Page /Parent 2 0 R /Contents %d 0 R >>" % (6 + 2 * index), stream(content)]
    objects += others

    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    xref = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer << /Root 1 0 R /Size %d >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, xref)
    return bytes(out)


def stream(data: bytes, dictionary: bytes = b"") -> bytes:
    """The body of an object that is a stream."""
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (dictionary, len(data), data)


def text(*lines: str) -> bytes:
    """Lines of text from the top of a page."""
    shown = b" T*\n".join(b"(%s) Tj" % _escaped(line) for line in lines)
    return b"BT /F 10 Tf 50 750 Td 14 TL\n%s\nET\n" % shown


def table(rows: Sequence[Sequence[str]], top: int = 400) -> bytes:
    """A table with ruled lines: cells of 100 by 20."""
    bottom, right = top - 20 * len(rows), 50 + 100 * len(rows[0])
    rules = [b"50 %d m %d %d l S" % (y, right, y) for y in range(bottom, top + 1, 20)]
    rules += [b"%d %d m %d %d l S" % (x, bottom, x, top) for x in range(50, right + 1, 100)]
    cells = [
        b"BT /F 10 Tf %d %d Td (%s) Tj ET" % (55 + 100 * column, top - 14 - 20 * row, _escaped(cell))
        for row, cells in enumerate(rows)
        for column, cell in enumerate(cells)
    ]
    return b"\n".join(rules + cells) + b"\n"


def image() -> bytes:
    """An image over the whole page, as a scanner makes."""
    return b"q 600 0 0 800 0 0 cm /I Do Q\n"


def padding(size: int) -> bytes:
    """Bytes that show nothing: a comment."""
    return b"%" + b"x" * size + b"\n"


def encrypted(plain: bytes, algorithm: str, user: str, owner: str = "owner") -> bytes:
    """The same PDF with passwords. Algorithms: RC4-40, RC4-128, AES-128, AES-256-R5, AES-256."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(plain))
    writer.encrypt(user, owner, algorithm=algorithm)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def _escaped(line: str) -> bytes:
    return line.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")

"""Counting in tokens, without a network, and cutting text into chunks of so many."""

import functools
import hashlib
import os
import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tiktoken

from contract import Refused, Status

_URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"

# The files that tiktoken would download, by encoding, and their SHA-256: what tiktoken_ext.openai_public has inside
# its functions, where it cannot be asked for without loading. A test compares the two.
ENCODINGS = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "p50k_base": "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
    "r50k_base": "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
}


def cache_directory() -> Path | None:
    """Where tiktoken looks for its files (`tiktoken.load.read_file_cached`)."""
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if variable in os.environ:
            return Path(os.environ[variable]) if os.environ[variable] else None
    return Path(tempfile.gettempdir(), "data-gym-cache")


def cache_file(name: str) -> str:
    """The name in the cache of an encoding's file."""
    return hashlib.sha1(_URL.format(name).encode()).hexdigest()


def missing(name: str) -> str:
    """Why an encoding cannot be had without a network; empty if it can."""
    if name not in ENCODINGS:
        return f"TOKEN_ENCODING must be one of {', '.join(ENCODINGS)}, not {name[:40]!r}"
    directory = cache_directory()
    if directory is None:
        return "tiktoken's cache is switched off: TIKTOKEN_CACHE_DIR is empty"
    path = directory / cache_file(name)
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"the encoding {name} is not at {path} ({error.strerror}): add it to the layer, set TIKTOKEN_CACHE_DIR"
    if hashlib.sha256(data).hexdigest() != ENCODINGS[name]:
        return f"{path} is not the file of the encoding {name}: its SHA-256 differs"
    return ""


@functools.cache
def encoding(name: str) -> tiktoken.Encoding:
    """An encoding from the cache. Raises `Refused` if it is not there.

    tiktoken itself would download it, without a timeout: in a VPC without a way out that is a function that hangs until
    Lambda ends it. An estimate instead would make chunks that are too long for the model they are cut for, and nobody
    would notice. So the file is there, or the function says which one is not.
    """
    if why := missing(name):
        raise Refused(Status.MISCONFIGURED, why)
    return tiktoken.get_encoding(name)


Count = Callable[[str], int]


def counter(of: tiktoken.Encoding) -> Count:
    """Counts the tokens of a text."""
    return lambda text: len(of.encode_ordinary(text))


_LONG_RUN = re.compile(r"\S{512}|\s{512}")


def count_page(count: Count, text: str) -> int:
    """Counts the tokens of a text of any kind.

    tiktoken needs time quadratic in the length of what has no blank between: 30 s for 100,000 Han characters. Such text
    is counted in parts, which may give a token more at a seam.
    """
    if not _LONG_RUN.search(text):
        return count(text)
    return sum(count(text[start : start + 512]) for start in range(0, len(text), 512))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Text of at most so many tokens, and the pages it is from, in order."""

    number: int
    pages: list[int]
    tokens: int
    text: str


@dataclass(frozen=True, slots=True)
class _Piece:
    """A word with the blanks before it (or a part of a long word), which no chunk divides."""

    page: int
    text: str
    tokens: int


# A word of more tokens may be divided. With half of the smallest chunk, it fits behind an overlap of the other half.
_WORD_TOKENS = 16
_WORD = re.compile(r"(\s*)(\S{1,128})")
_MOST_BLANKS = 16


class Chunker:
    """Cuts the text of pages, given one after the other, into chunks.

    A chunk is at most `limit` tokens, counted on its own text, and begins with at most `overlap` tokens from the end of
    the one before. It holds back no more than one chunk, however long the document.
    """

    def __init__(self, count: Count, limit: int, overlap: int) -> None:
        self._count = count
        self._limit = limit
        self._overlap = overlap
        self._grain = max(_WORD_TOKENS, overlap // 2)
        self._pieces: list[_Piece] = []
        self._repeated = 0
        self._tokens = 0
        self._number = 0

    def add(self, page: int, text: str) -> Iterator[Chunk]:
        """Takes the text of a page; gives the chunks that are complete now."""
        waiting = deque(self._split(page, text))
        while waiting:
            is_new = len(self._pieces) > self._repeated
            if is_new and self._tokens + waiting[0].tokens > self._limit:
                chunk, too_many = self._cut()
                waiting.extendleft(reversed(too_many))
                yield chunk
            else:
                piece = waiting.popleft()
                self._pieces.append(piece)
                self._tokens += piece.tokens

    def finish(self) -> Iterator[Chunk]:
        """Gives what is left."""
        while len(self._pieces) > self._repeated:
            chunk, too_many = self._cut()
            self._pieces.extend(too_many)
            yield chunk

    def _cut(self) -> tuple[Chunk, list[_Piece]]:
        """The chunk of the pieces gathered, and those that did not fit after all."""
        pieces = self._pieces
        too_many: list[_Piece] = []
        # The tokens of a text are nearly the sum of those of its words, but only nearly.
        while (tokens := self._count(_joined(pieces))) > self._limit and len(pieces) > 1:
            if len(pieces) > self._repeated + 1:
                too_many.insert(0, pieces.pop())
            else:
                pieces.pop(0)
                self._repeated -= 1
        pages = sorted({piece.page for piece in pieces})
        chunk = Chunk(self._number, pages, tokens, _joined(pieces))

        self._pieces = self._tail(pieces)
        self._repeated = len(self._pieces)
        self._tokens = sum(piece.tokens for piece in self._pieces)
        self._number += 1
        return chunk, too_many

    def _tail(self, pieces: list[_Piece]) -> list[_Piece]:
        start, tokens = len(pieces), 0
        while start > 0 and tokens + pieces[start - 1].tokens <= self._overlap:
            start -= 1
            tokens += pieces[start].tokens
        tail = pieces[start:]
        while tail and self._count(_joined(tail)) > self._overlap:
            tail.pop(0)
        return tail

    def _split(self, page: int, text: str) -> Iterator[_Piece]:
        # Stripped, so that blanks are always followed by a word: else the expression would try each of them.
        for found in _WORD.finditer(text.strip()):
            blanks, word = found.groups()
            # More blanks than these carry nothing, and tiktoken is slow with them.
            lead = blanks[:_MOST_BLANKS] if found.start() else "\n\n"
            yield from self._divided(page, lead + word)

    def _divided(self, page: int, text: str) -> Iterator[_Piece]:
        tokens = self._count(text)
        if tokens <= self._grain or len(text) == 1:
            yield _Piece(page, text, tokens)
        else:
            middle = len(text) // 2
            yield from self._divided(page, text[:middle])
            yield from self._divided(page, text[middle:])


def _joined(pieces: list[_Piece]) -> str:
    return "".join(piece.text for piece in pieces).strip()

"""Encodings that are here, counting, and chunks."""

import itertools
import random
import re
import time
from pathlib import Path

import pytest
import tiktoken

import tokens
from contract import Refused, Status
from tokens import Chunk, Chunker, Count, count_page, counter, encoding


@pytest.fixture
def count() -> Count:
    return counter(encoding("cl100k_base"))


# Encodings


def test_our_list_of_files_is_tiktokens(monkeypatch: pytest.MonkeyPatch) -> None:
    public = pytest.importorskip("tiktoken_ext.openai_public")
    asked: list[tuple[str, str]] = []

    def note(url: str, expected_hash: str) -> dict[bytes, int]:
        asked.append((url, expected_hash))
        return {}

    monkeypatch.setattr(public, "load_tiktoken_bpe", note)
    for name in tokens.ENCODINGS:
        public.ENCODING_CONSTRUCTORS[name]()
    assert asked == [(tokens._URL.format(name), digest) for name, digest in tokens.ENCODINGS.items()]


def test_the_name_in_the_cache() -> None:
    assert tokens.cache_file("cl100k_base") == "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TIKTOKEN_CACHE_DIR": "/a", "DATA_GYM_CACHE_DIR": "/b"}, Path("/a")),
        ({"DATA_GYM_CACHE_DIR": "/b"}, Path("/b")),
        ({"TIKTOKEN_CACHE_DIR": ""}, None),
        ({}, Path("/tmp/data-gym-cache")),
    ],
)
def test_where_tiktoken_looks(
    environment: dict[str, str], expected: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert tokens.cache_directory() == expected


def check_missing(name: str, directory: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoding is refused with this message; nothing is loaded, deleted or downloaded."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", directory)
    monkeypatch.setattr("tiktoken.registry.ENCODINGS", {})
    encoding.cache_clear()
    with pytest.raises(Refused) as raised:
        encoding(name)
    assert raised.value.status is Status.MISCONFIGURED
    assert re.search(message, raised.value.message)


def test_an_encoding_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_missing(
        "cl100k_base",
        str(tmp_path),
        f"cl100k_base is not at {tmp_path}/9b5ad71b2ce5302211f9c6.*set TIKTOKEN_CACHE_DIR",
        monkeypatch,
    )
    check_missing("cl100k_base", "", "TIKTOKEN_CACHE_DIR is empty", monkeypatch)
    check_missing("klingon", str(tmp_path), "must be one of cl100k_base, .*, not 'klingon'", monkeypatch)


def test_a_file_of_an_encoding_that_is_damaged_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / tokens.cache_file("cl100k_base")
    path.write_bytes(b"broken")
    check_missing("cl100k_base", str(tmp_path), "its SHA-256 differs", monkeypatch)
    assert path.read_bytes() == b"broken"


def test_an_encoding_is_loaded_from_the_cache_once() -> None:
    encoding.cache_clear()
    assert encoding("cl100k_base") is encoding("cl100k_base")
    assert encoding("cl100k_base").encode("hello world") == [15339, 1917]


# Counting


@pytest.mark.parametrize(
    ("text", "expected"), [("", 0), ("hello world", 2), ("a" * 4096, 512), ("漢字" * 50, 150), ("<|endoftext|>", 7)]
)
def test_counts(text: str, expected: int, count: Count) -> None:
    assert count_page(count, text) == expected


@pytest.mark.parametrize("text", ["a" * 200_000, "漢字" * 100_000, " " * 200_000, "." * 100_000])
def test_text_without_blanks_is_counted_in_time(text: str, count: Count) -> None:
    started = time.monotonic()
    assert count_page(count, text) > 0
    assert list(chunks(count, [text], 512, 64)) is not None
    assert time.monotonic() - started < 20


# Chunks


def chunks(count: Count, pages: list[str], limit: int, overlap: int) -> list[Chunk]:
    chunker = Chunker(count, limit, overlap)
    found = [chunk for number, text in enumerate(pages, start=1) for chunk in chunker.add(number, text)]
    return found + list(chunker.finish())


def check(count: Count, pages: list[str], limit: int, overlap: int) -> list[Chunk]:
    """Chunks keep what they promise: size, overlap, every word in order, and the pages each is from."""
    found = chunks(count, pages, limit, overlap)
    words = [(word, number) for number, text in enumerate(pages, start=1) for word in text.split()]
    at = 0  # the first word that no chunk has had yet
    for number, chunk in enumerate(found):
        assert chunk.number == number
        assert chunk.text == chunk.text.strip()
        assert count(chunk.text) == chunk.tokens <= limit
        mine = chunk.text.split()
        repeated = next(n for n in range(min(at, len(mine)), -1, -1) if mine[:n] == [w for w, _ in words[at - n : at]])
        if number == 0:
            assert repeated == 0
        assert count(" ".join(mine[:repeated])) <= overlap
        covered = words[at - repeated : at - repeated + len(mine)]
        assert mine == [word for word, _ in covered]
        assert chunk.pages == sorted({page for _, page in covered})
        at += len(mine) - repeated
        assert len(mine) > repeated
    assert at == len(words)
    return found


def prose(seed: int, words: int) -> str:
    """Words that differ, so that a test can tell where a chunk begins."""
    source = random.Random(seed)
    return " ".join(f"{source.choice('abcdefgh')}{source.randrange(10**6)}" for _ in range(words))


@pytest.mark.parametrize(("limit", "overlap"), [(32, 0), (32, 16), (64, 7), (512, 64), (8192, 4096)])
@pytest.mark.parametrize(
    "pages",
    [
        [prose(1, 3000)],
        [prose(page, 30) for page in range(60)],
        [prose(1, 500), "", "  \n ", prose(2, 5), prose(3, 500)],
        [prose(1, 400).replace(" ", "\n"), prose(2, 400).replace(" ", "  \n\n \t")],
        ["one"],
    ],
    ids=["one page", "many pages", "blank pages", "blanks", "one word"],
)
def test_chunks(pages: list[str], limit: int, overlap: int, count: Count) -> None:
    check(count, pages, limit, overlap)


def test_the_overlap_is_used(count: Count) -> None:
    text = prose(1, 3000)
    without, with_overlap = check(count, [text], 512, 0), check(count, [text], 512, 256)
    assert len(with_overlap) > 1.8 * len(without)
    assert with_overlap[0].text.split()[-1] in with_overlap[1].text.split()


def test_no_text_makes_no_chunk(count: Count) -> None:
    assert chunks(count, ["", " \n"], 64, 8) == []
    assert chunks(count, [], 64, 8) == []


def test_chunks_are_full(count: Count) -> None:
    *full, _ = check(count, [prose(1, 3000)], 512, 64)
    assert min(chunk.tokens for chunk in full) > 500


def test_a_chunk_says_all_pages_it_is_from(count: Count) -> None:
    found = check(count, [f"w{page}" for page in range(1, 41)], 64, 8)
    assert found[0].pages == list(range(1, found[0].pages[-1] + 1))
    # The overlap's pages are there too.
    assert found[1].pages[0] <= found[0].pages[-1]


@pytest.mark.parametrize("text", ["漢字仮名" * 2000, "a" * 5000, "👩‍👩‍👧‍👦" * 300, prose(1, 500).replace(" ", "")])
@pytest.mark.parametrize(("limit", "overlap"), [(32, 16), (512, 64)])
def test_what_has_no_blanks_is_divided_and_nothing_is_lost(text: str, limit: int, overlap: int, count: Count) -> None:
    found = chunks(count, [text], limit, overlap)
    assert all(chunk.tokens <= limit and chunk.tokens == count(chunk.text) for chunk in found)
    joined = found[0].text
    for before, chunk in itertools.pairwise(found):
        repeated = max(n for n in range(len(chunk.text)) if before.text.endswith(chunk.text[:n]))
        joined += chunk.text[repeated:]
    assert set(joined) == set(text)
    assert len("".join(chunk.text for chunk in found)) >= len(text)


def test_the_limit_holds_where_tokens_do_not_add_up() -> None:
    def count(text: str) -> int:
        """Costs a token more for every two words that meet, as no sum over words can know."""
        return len(text.split()) + len(text.split()) // 2

    found = check(count, [prose(1, 500)], 32, 0)
    assert {chunk.tokens for chunk in found[:-1]} == {31}
    check(count, [prose(1, 500)], 32, 16)


def test_the_limit_holds_even_against_the_overlap() -> None:
    found = check(lambda text: 40 if len(text.split()) > 3 else len(text.split()), [prose(1, 100)], 32, 16)
    assert {chunk.tokens for chunk in found} == {3}


def test_counting_is_that_of_the_encoding_wanted() -> None:
    letters = tiktoken.Encoding(
        "letters", pat_str=r"[\s\S]", mergeable_ranks={bytes([n]): n for n in range(256)}, special_tokens={}
    )
    found = check(counter(letters), ["a b c d e f g h i j k l m n o p q r s t u v w x y z"], 32, 0)
    assert [chunk.tokens for chunk in found] == [29, 21]

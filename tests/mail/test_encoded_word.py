"""Test encoded words and charsets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.mail import charset, encoded_word
from ingest.mail.defect import Defect

BAD = {Defect.BAD_ENCODED_WORD}
UNKNOWN = {Defect.UNKNOWN_CHARSET}
BYTES = {Defect.BAD_CHARSET_BYTES}

WORDS = {
    "plain": ("plain text", "plain text", set()),
    "q": ("=?utf-8?q?caf=C3=A9?=", "café", set()),
    "upper-case": ("=?UTF-8?Q?caf=C3=A9_x?=", "café x", set()),
    "b": ("=?utf-8?b?Y2Fmw6k=?=", "café", set()),
    "b-unpadded": ("=?utf-8?b?Y2Fmw6k?=", "café", set()),
    "b-folded-within": ("=?utf-8?b?Y2Fm\n w6k=?=", "café", set()),
    "latin": ("=?iso-8859-1?q?caf=E9?=", "café", set()),
    "adjacent": ("=?utf-8?q?a?= =?utf-8?q?b?=\n =?utf-8?q?c?=", "abc", set()),
    "adjacent-charsets": ("=?utf-8?q?=C3=A9?= =?iso-8859-1?q?=E9?=", "éé", set()),
    "character-cut-in-two": ("=?utf-8?b?Y2Fmww==?= =?UTF-8?q?=A9?=", "café", set()),
    "within-text": ("a =?utf-8?q?b?= c =?utf-8?q?d?=e", "a b c de", set()),
    "language": ("=?utf-8*en?q?caf=C3=A9?=", "café", set()),
    "raw-spaces": ("=?utf-8?Q?two words?= x", "two words x", set()),
    "question-mark": ("=?utf-8?Q?why?not?=", "why?not", set()),
    "empty": ("=?utf-8?Q??= x", " x", set()),
    "bad-escape": ("=?utf-8?q?100=?=", "100=", set()),
    "in-quotes": ('"=?utf-8?q?caf=C3=A9?="', '"café"', set()),
    "not-base64": ("=?utf-8?b?!!?= x", "=?utf-8?b?!!?= x", BAD),
    "one-letter-over": ("=?utf-8?b?YWJjZ?=", "=?utf-8?b?YWJjZ?=", BAD),
    "bad-between-good": (
        "=?utf-8?q?a?= =?utf-8?b?!?= =?utf-8?q?b?=",
        "a =?utf-8?b?!?= b",
        BAD,
    ),
    "never-closed": ("=?utf-8?q?abc", "=?utf-8?q?abc", set()),
    "no-such-encoding": ("=?utf-8?x?abc?=", "=?utf-8?x?abc?=", set()),
    "closed-by-the-next": ("=?utf-8?q?a=?utf-8?q?b?=", "=?utf-8?q?ab", set()),
    "unknown-charset": ("=?x-martian?q?caf=C3=A9?=", "café", UNKNOWN),
    "codec-that-is-no-charset": ("=?unicode_escape?q?=5Cx41?=", "\\x41", UNKNOWN),
    "nul-in-charset": ("=?utf-8\0?q?a?=", "a", UNKNOWN),
    "nul": ("=?utf-8?q?a=00b?=", "a\ufffdb", set()),
    "lone-surrogate": ("=?utf-8?q?=ED=A0=80?=", "\ufffd" * 3, BYTES),
    "bad-octet": ("=?utf-8?q?a=FFb?=", "a\ufffdb", BYTES),
    "bom": ("=?utf-8?q?=EF=BB=BFa?=", "a", set()),
    "iso-2022-jp": ("=?iso-2022-jp?b?GyRCJCIbKEI=?= =?iso-2022-jp?b?GyRCJCIbKEI=?=", "ああ", set()),
}


@pytest.mark.parametrize("name", WORDS)
def test_decode(name: str) -> None:
    value, text, defects = WORDS[name]
    assert encoded_word.decode_words(value) == (text, frozenset(defects))


def test_twenty_thousand_words_are_decoded_up_to_the_bound() -> None:
    one = "=?utf-8?q?=C3=A9?= "
    text, defects = encoded_word.decode_words(one * 20_000)
    assert text.startswith("é" * (encoded_word.MAX_DECODED // len(one)))
    assert text.count("=?") == 20_000 - encoded_word.MAX_DECODED // len(one)
    assert defects == BAD


@pytest.mark.parametrize("piece", ["=?a?q?", "=?", "=?=", "=", "?="])
def test_rows_of_openings_are_text(piece: str) -> None:
    value = piece * (encoded_word.MAX_DECODED // len(piece))
    assert encoded_word.decode_words(value).text == value


@pytest.mark.parametrize(
    ("value", "text"), [("a\n b", "a b"), (" a \t\n\t b ", "a b"), ("", ""), ("\n ", "")]
)
def test_unfold(value: str, text: str) -> None:
    assert encoded_word.unfold(value) == text


CHARSETS = [
    ("utf-8", "é", "utf-8"), ("UTF8", "é", "utf-8"), ("utf-8mb4", "é", "utf-8"),
    ("utf_8", "é", "utf-8"), ('"utf-8"', "é", "utf-8"),
    ("ISO-8859-1", "é", "latin-1"), ("iso8859-1", "é", "latin-1"), ("latin1", "é", "latin-1"),
    ("iso-8859-15", "€", "iso8859-15"), ("iso-8859-8-i", "א", "iso8859-8"),
    ("windows-1252", "€", "cp1252"), ("cp1251", "Ж", "cp1251"), ("CP-850", "é", "cp850"),
    ("koi8-r", "Ж", "koi8-r"), ("macintosh", "é", "mac-roman"),
    ("gb2312", "中鎔", "gb18030"), ("GBK", "中", "gbk"), ("gb18030", "中", "gb18030"),
    ("big5", "中", "cp950"), ("ks_c_5601-1987", "한", "cp949"), ("euc-kr", "한", "euc-kr"),
    ("shift_jis", "①", "cp932"), ("euc-jp", "日", "euc-jp"), ("iso-2022-jp", "日", "iso2022_jp"),
    ("utf-16", "日", "utf-16"), ("utf-16", "日", "utf-16-be"), ("utf-32be", "日", "utf-32-be"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "codec"), CHARSETS)
def test_names_seen_in_mail(name: str, text: str, codec: str) -> None:
    assert charset.decode_text(text.encode(codec), name) == (text, frozenset())


@pytest.mark.parametrize(
    "name", [None, "", "us-ascii", "ANSI_X3.4-1968", "unknown-8bit", "x-unknown", "646"]
)
def test_undeclared_is_utf8_else_latin1(name: str | None) -> None:
    assert charset.decode_text("é".encode(), name) == ("é", frozenset())
    assert charset.decode_text(b"\xe9", name) == ("é", frozenset())


@pytest.mark.parametrize(
    ("data", "text", "defects"),
    [
        (b"J+APY-rg", "J\xf6rg", set()),
        (b"a +- b +AGE-c", "a + b ac", set()),
        (b"+2D3eAA-", "\U0001f600", set()),  # a surrogate pair
        (b"+2AA-x", "\ufffdx", {Defect.BAD_CHARSET_BYTES}),  # a lone surrogate
        (b"+AAA-", "\ufffd", set()),
        (b"\xff+", "\ufffd", {Defect.BAD_CHARSET_BYTES}),
    ],
)
@pytest.mark.parametrize("name", ["utf-7", "UTF7", "unicode-1-1-utf-7"])
def test_utf7(name: str, data: bytes, text: str, defects: set[Defect]) -> None:
    decoded = charset.decode_text(data, name)
    assert (decoded.text, decoded.defects) == (text, defects)


@given(st.binary())
def test_utf7_takes_any_bytes(data: bytes) -> None:
    charset.decode_text(data, "utf-7").text.encode()


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("=?iso-8859-1?Q?J\xf6rg?=", "J\xf6rg"),  # read as Latin-1
        ("=?iso-8859-1?Q?J\xf6rg_=F6?=", "J\xf6rg \xf6"),
        ("=?utf-8?Q?J\xf6rg_=C3=B6?=", "J\xf6rg \xf6"),
        ("=?us-ascii?Q?J\xf6rg?=", "J\xf6rg"),
        ("=?iso-8859-2?q?Wa\xb3\xeasa?=", "Wa\u0142\u0119sa"),
        ("=?koi8-r?q?\xc9\xd7\xc1\xce?=", "\u0438\u0432\u0430\u043d"),
        ("=?gb2312?q?\xd6\xd0?=", "\u4e2d"),
        ("=?utf-8?q?\u4e2d?=", "\u4e2d"),
    ],
)
def test_raw_bytes_within_a_word(word: str, text: str) -> None:
    assert encoded_word.decode_words(word).text == text


@pytest.mark.parametrize(
    "name",
    ["zlib", "idna", "unicode_escape", "punycode", "rot13", "hex", "mbcs", "oem",
     "undefined", "raw_unicode_escape", "base64_codec", "os.path", "x" * 100_000, "\0", "é"],
)  # fmt: skip
def test_what_is_no_charset_is_not_looked_up(name: str) -> None:
    assert charset.decode_text(b"a\\x41+AGE-", name) == ("a\\x41+AGE-", frozenset(UNKNOWN))


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("utf-8", b"a\xffb", "a\ufffdb"),
        ("windows-1252", b"a\x81b", "a\ufffdb"),
        ("gb2312", b"a\xffb", "a\ufffdb"),
        ("utf-16", b"\xd8\x00\x00a", "\ufffda"),
    ],
)
def test_octets_that_the_charset_has_not(name: str, data: bytes, text: str) -> None:
    assert charset.decode_text(data, name) == (text, frozenset(BYTES))


def test_every_codec_on_the_list_exists_and_gives_storable_text() -> None:
    junk = bytes(range(256)) * 2 + b"\x1b$B\xff\x1b\x830\x81\xd8\x00\xdc\x00"
    for codec in set(charset._CODECS):
        charset.decode_text(junk, codec).text.encode()

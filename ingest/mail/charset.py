"""Decode bytes to text by the name of a charset.

Input: bytes and a charset name as mail writes it. Output: `Decoded`: text that every store can
hold (no NUL, no lone surrogates, no byte order mark) and the defects. Any bytes can be decoded.

Names are looked up in a table of this module. Python's codec registry would accept `zlib`, `idna`
or `unicode_escape` from a stranger, and it imports modules by that name to look them up.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from ingest.mail.defect import Defect


class Decoded(NamedTuple):
    """Decoded text, and the defects of its source."""

    text: str
    defects: frozenset[Defect]


_UNDECLARED = ""
_MAX_NAME = 64
_SURROGATE = re.compile("[\ud800-\udfff]")
_PUNCTUATION = {ord(char): None for char in "-_ .:()'\"\t"}

_NONE: frozenset[Defect] = frozenset()
_UNKNOWN = frozenset({Defect.UNKNOWN_CHARSET})
_BAD_BYTES = frozenset({Defect.BAD_CHARSET_BYTES})

# Python codec -> the names seen for it, without punctuation. If mailers use the name of a standard
# (gb2312, ks_c_5601-1987, shift_jis, big5) for a vendor's superset of it, the name is listed with
# the superset.
_NAMES = {
    _UNDECLARED: "usascii ascii us 646 iso646us ansix341968 ansix341986 iso646irv1991 cp367 "
    "ibm367 unknown8bit xunknown unknown default none 7bit 8bit binary xuserdefined",
    "utf-8": "utf8 utf8mb4 utf8mb3 xutf8 unicode11utf8 cp65001 utf",
    "utf-7": "utf7 xutf7 unicode11utf7 xunicode20utf7 csutf7 cp65000",
    "utf-16": "utf16 unicode ucs2 iso10646ucs2",
    "utf-16-le": "utf16le",
    "utf-16-be": "utf16be",
    "utf-32": "utf32",
    "utf-32-le": "utf32le",
    "utf-32-be": "utf32be",
    "iso8859-1": "latin1 l1 isolatin1 ibm819 cp819 isoir100 iso885911987",
    "iso8859-2": "latin2 l2",
    "iso8859-7": "greek",
    "iso8859-8": "iso88598i iso88598e hebrew",
    "iso8859-6": "iso88596i iso88596e arabic",
    "iso8859-5": "cyrillic",
    "iso8859-9": "latin5 l5",
    "iso8859-15": "latin9 l9 latin0",
    "cp1252": "ansi",
    "cp874": "windows874",
    "tis-620": "tis620 tis6200 iso885911",
    "koi8-r": "koi8r koi8 xkoi8r cskoi8r",
    "koi8-u": "koi8u koi8ru",
    "koi8-t": "koi8t",
    "mac-roman": "macintosh macroman xmacroman mac",
    "mac-cyrillic": "maccyrillic xmaccyrillic",
    "gb18030": "gb18030 gb2312 gbk cp936 windows936 ms936 euccn xeuccn gb gb231280 xgbk csgb2312 "
    "gb18030-2022 chinese",
    "hz": "hz hzgb2312 hzgb",
    "cp950": "big5 cnbig5 xxbig5 cp950 windows950 ms950 csbig5",
    "big5hkscs": "big5hkscs",
    "euc_jp": "eucjp xeucjp ujis",
    "cp932": "shiftjis sjis xsjis mskanji cp932 windows31j ms932 windows932",
    "iso2022_jp_2": "iso2022jp iso2022jp1 iso2022jp2 csiso2022jp",
    "iso2022_jp_3": "iso2022jp3",
    "iso2022_jp_2004": "iso2022jp2004",
    "iso2022_jp_ext": "iso2022jpext",
    "cp949": "euckr ksc56011987 ksc56011989 ksc5601 cp949 windows949 ms949 uhc korean xwindows949",
    "iso2022_kr": "iso2022kr csiso2022kr",
    "johab": "johab cp1361",
}


def _build_codec_table() -> dict[str, str]:
    table = {name: codec for codec, names in _NAMES.items() for name in names.split()}
    for number in (*range(1, 12), *range(13, 17)):
        for name in (f"iso8859{number}", f"8859{number}"):
            table.setdefault(name, f"iso8859-{number}")
    for page in (*range(1250, 1259), 437, 720, 737, 775, 850, 852, 855, 857, 858, 860, 861, 862,
                 863, 864, 865, 866, 869, 1006, 1125):  # fmt: skip
        for prefix in ("cp", "windows", "win", "ibm", "xcp", "microsoftcp", "dos"):
            table.setdefault(f"{prefix}{page}", f"cp{page}")
    return table


_CODECS = _build_codec_table()


def decode_text(data: bytes, name: str | None) -> Decoded:
    """Decode `data` from the charset `name`; None or '' means that none was declared.

    Undeclared text and US-ASCII are read as UTF-8, else as Latin-1: a mail without a declaration,
    and one that falsely claims to be ASCII, are the two commonest faults. A name that is not in
    the table is treated in the same way, with the defect UNKNOWN_CHARSET. Bytes that are invalid
    in the charset become U+FFFD, with the defect BAD_CHARSET_BYTES.
    """
    codec: str | None = _UNDECLARED
    if name:
        codec = _find_codec(name[:_MAX_NAME])
    if codec is None or codec is _UNDECLARED:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        return Decoded(_make_storable(text), _NONE if codec is not None else _UNKNOWN)
    if codec == "utf-16" and data[:2] not in {b"\xff\xfe", b"\xfe\xff"}:
        codec = "utf-16-be"  # RFC 2781 4.3: without a byte order mark, big-endian
    elif codec == "utf-32" and data[:4] not in {b"\xff\xfe\0\0", b"\0\0\xfe\xff"}:
        codec = "utf-32-be"
    if codec == "utf-7":
        return _decode_utf7(data)
    try:
        return Decoded(_make_storable(data.decode(codec)), _NONE)
    except UnicodeDecodeError:
        return Decoded(_make_storable(data.decode(codec, "replace")), _BAD_BYTES)


def is_utf7(name: str) -> bool:
    """Tell whether text in the charset `name` is UTF-7, in which US-ASCII is not itself."""
    return _find_codec(name[:_MAX_NAME]) == "utf-7"


def is_utf8(name: str) -> bool:
    """Tell whether text in the charset `name` is read as UTF-8."""
    return _find_codec(name[:_MAX_NAME]) in {None, _UNDECLARED, "utf-8"}


# Shared by threads: the cache has its own lock, and its results are strings.
@lru_cache(maxsize=256)
def _find_codec(name: str) -> str | None:
    return _CODECS.get(name.lower().translate(_PUNCTUATION))


def _decode_utf7(data: bytes) -> Decoded:
    """Decode UTF-7 (RFC 2152), the only charset here that can write half of a surrogate pair."""
    text = data.decode("utf-7", "replace")
    clean = _SURROGATE.sub("\ufffd", text)
    return Decoded(_make_storable(clean), _BAD_BYTES if "\ufffd" in clean else _NONE)


def _make_storable(text: str) -> str:
    """Return `text` without a byte order mark, and with U+FFFD in place of NUL."""
    if text[:1] == "\ufeff":
        text = text[1:]
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text

"""Parse single settings: convert a value from TOML into the value that the program uses.

There is one function for each type of setting. Each raises `InvalidValue` for a value that it does
not accept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MAX_DURATION = 86_400  # seconds
MAX_MAILMAP = 4 << 20  # bytes; the file of Linux has 50 KiB


class InvalidValue(Exception):  # noqa: N818 - "raise InvalidValue" needs no suffix
    """A value that a setting does not accept.

    As text it continues `KEY must be`: it names the `expected` values, then the actual `value`.
    With `is_item`, `value` is the invalid item of a list. `cause` is the error of the system or of
    a library.
    """

    def __init__(
        self, expected: str, value: Any, *, is_item: bool = False, cause: object = None
    ) -> None:
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        verb = "but it contains" if is_item else "not"
        super().__init__(f"{expected}, {verb} {shown}" + (f": {cause}" if cause else ""))


def parse_text(value: Any) -> str:
    """Parse a string; it may be empty."""
    if not isinstance(value, str):
        raise InvalidValue("text in quotes", value)
    return value


def parse_list_id(value: Any) -> str:
    """Parse the id of a list: a string of at least one character, in any case.

    The result is in lower case, as ids are compared. `*`, commas, `<`, `>` and white space are not
    accepted: the store joins ids with commas and uses `*` for the lists that a mail names itself,
    and RFC 2919 3 does not allow these characters either.
    """
    list_id = parse_text(value).lower()
    if list_id in ("", "*") or any(char in ",<>" or char.isspace() for char in list_id):
        raise InvalidValue("what List-Id says between <>, without comma or white space", value)
    return list_id


def parse_texts(value: Any) -> tuple[str, ...]:
    """Parse a list of strings; it may be empty."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidValue('a list of texts, as in ["a", "b"]', value)
    return tuple(value)


def parse_mail_addresses(value: Any) -> tuple[str, ...]:
    """Parse a list of mail addresses `LOCAL@DOMAIN` without white space; it may be empty."""
    addresses = parse_texts(value)
    for address in addresses:
        local, separator, domain = address.rpartition("@")
        if not (local and separator and domain) or any(char.isspace() for char in address):
            raise InvalidValue("a list of mail addresses", address, is_item=True)
    return addresses


def parse_address_patterns(value: Any) -> tuple[str, ...]:
    """Parse a list of mail addresses, in which one `*` may stand for any characters."""
    patterns = parse_mail_addresses(value)
    for pattern in patterns:
        if pattern.count("*") > 1:
            raise InvalidValue("a list of mail addresses with at most one *", pattern, is_item=True)
    return patterns


def parse_bool(value: Any) -> bool:
    """Parse a boolean: `true` or `false`."""
    if not isinstance(value, bool):
        raise InvalidValue("true or false", value)
    return value


def parse_web_url(value: Any) -> str:
    """Parse an HTTP or HTTPS URL. The result has no slash at its end, so paths can be appended."""
    if not _is_web_url(value):
        raise InvalidValue("a URL, as in https://patches.example.org", value)
    return str(value).rstrip("/")


def parse_web_urls(value: Any) -> tuple[str, ...]:
    """Parse a list of HTTP or HTTPS URLs; it may be empty. The URLs are not changed."""
    urls = parse_texts(value)
    for url in urls:
        if not _is_web_url(url):
            raise InvalidValue(
                'a list of URLs, as in ["https://ci.example.org/hook"]', url, is_item=True
            )
    return urls


def _is_web_url(value: Any) -> bool:
    if not isinstance(value, str) or any(char.isspace() or char in '<>"' for char in value):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc != ""


def parse_mode(value: Any) -> int:
    """Parse the permissions of a file: an integer from 0 to 0o777."""
    # Without 0o, TOML reads 660 as a decimal number, which is another mode.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 0o777:
        raise InvalidValue("permissions in octal, as in 0o660", value)
    return value


def parse_file(value: Any) -> Path:
    """Parse the absolute path of a file. The file need not exist."""
    if not isinstance(value, str) or not value.startswith("/"):
        raise InvalidValue("the absolute path of a file", value)
    return Path(value)


def parse_directory(value: Any) -> Path:
    """Parse the absolute path of a directory. The directory need not exist."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise InvalidValue("the absolute path of a directory", value)
    return Path(value)


def parse_table(value: Any) -> Mapping[str, Any]:
    """Parse a table."""
    if not isinstance(value, dict):
        raise InvalidValue("a table", value)
    return value


def parse_tables(value: Any) -> tuple[Mapping[str, Any], ...]:
    """Parse a list of tables, `[[…]]`; it may be empty."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidValue("tables, each in double brackets", value)
    return tuple(value)


# git-check-ref-format(1), and what would be a pattern.
_REF = re.compile(r"refs(?:/(?!\.)[^\x00-\x20\x7f~^:?*\[\\/]+(?<!\.)(?<!\.lock))+(?:/\*)?|refs/\*")
_STATE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
MAX_REF_PATTERNS = 100


def parse_refs(value: Any) -> tuple[tuple[str, str], ...]:
    """Parse a table from patterns of refs to states, of at least one entry.

    A pattern is the full name of a ref, or one that ends in `/*`.
    """
    example = '{ "refs/heads/master" = "accepted" }'
    if not isinstance(value, dict) or not 0 < len(value) <= MAX_REF_PATTERNS:
        raise InvalidValue(f"a table from refs to states, as in {example}", value)
    for pattern, state in value.items():
        if not _REF.fullmatch(pattern) or ".." in pattern or "@{" in pattern:
            raise InvalidValue(
                f"full names of refs or patterns that end in /*, as in {example}",
                pattern,
                is_item=True,
            )
        if not isinstance(state, str) or not _STATE.fullmatch(state):
            raise InvalidValue(f"states in lower case, as in {example}", state, is_item=True)
    return tuple(value.items())


def parse_ref(value: Any) -> str:
    """Parse the full name of a ref."""
    is_ref = isinstance(value, str) and _REF.fullmatch(value) and not value.endswith("*")
    if not is_ref or ".." in value or "@{" in value:
        raise InvalidValue('the full name of a ref, as in "refs/heads/master"', value)
    return str(value)


def parse_file_name(value: Any) -> str:
    """Parse the path of a file, absolute or not."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise InvalidValue("the path of a file", value)
    return value


def check_maintainers_file(path: str) -> None:
    """Raise `InvalidValue` if this is no absolute path, or its file cannot be read."""
    try:
        with parse_file(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        raise InvalidValue("a file that can be read", path, cause=error.strerror) from None


def parse_keyrings(value: Any) -> tuple[str, ...]:
    """Parse a list of keyrings in the form of patatt; it may be empty.

    A keyring is the absolute path of a folder, or a folder in a git repository,
    `ref:/REPOSITORY:REF:FOLDER`.
    """
    keyrings = parse_texts(value)
    for keyring in keyrings:
        is_in_git = keyring.startswith("ref:/") and keyring.count(":") >= 2
        if not keyring.startswith("/") and not is_in_git:
            raise InvalidValue(
                'a list of absolute paths, or of "ref:/REPOSITORY:REF:FOLDER"',
                keyring,
                is_item=True,
            )
    return keyrings


def read_mailmap_setting(value: Any) -> str:
    """Read the file at an absolute path, of at most `MAX_MAILMAP` bytes, and return its text.

    "" means no file, and gives "". Bytes that are not UTF-8 become U+FFFD.
    """
    if value == "":
        return ""
    path = parse_file(value)
    try:
        if path.stat().st_size > MAX_MAILMAP:
            raise InvalidValue(f"a file of at most {MAX_MAILMAP} bytes", value)
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InvalidValue("a file that can be read", value, cause=error.strerror) from None


def parse_integer(value: Any) -> int:
    """Parse an integer, which may be negative."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidValue("a whole number", value)
    return value


def parse_count(value: Any) -> int:
    """Parse a number of things or of bytes: an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidValue("a whole number above 0", value)
    return value


def parse_duration(value: Any) -> float:
    """Parse a time in seconds: a number above 0, up to `MAX_DURATION` (one day)."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= MAX_DURATION:
        raise InvalidValue(f"seconds, above 0 and up to {MAX_DURATION}", value)
    return float(value)


def parse_delimiter(value: Any) -> str:
    """Parse a delimiter: a string of one character except "@"; "" means none."""
    if not isinstance(value, str) or len(value) > 1 or value == "@":
        raise InvalidValue('one character, as in "+"', value)
    return value


def parse_log_format(value: Any) -> str:
    """Parse the format of log lines: "logfmt" or "json"."""
    if value not in ("logfmt", "json"):
        raise InvalidValue('"logfmt" or "json"', value)
    return str(value)

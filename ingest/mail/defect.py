"""Name the defects that a message can have.

`Defect` is the closed set of defects that the parser records. A defect never stops a message: it
says what was repaired, cut or could not be read. The values are stored and exported, so they must
stay the same: add values, do not rename them.
"""

from enum import StrEnum


class Defect(StrEnum):
    """A defect of a message. The comment next to a value says how the parser handles it."""

    # wire and container
    BARE_CR = "bare-cr"  # a CR without LF: kept in the raw bytes, a line end in text
    BARE_LF = "bare-lf"  # an LF without CR in SMTP or LMTP (RFC 5321 2.3.8): kept, a line end
    LONG_LINE = "long-line"  # over 998 bytes (RFC 5322 2.1.1): accepted
    NUL = "nul"  # NUL bytes: kept in the raw bytes, U+FFFD in text
    TRUNCATED = "truncated"  # the archive ends within the message: what it holds is kept

    # headers
    NO_HEADERS = "no-headers"  # nothing that looks like a header block
    BAD_HEADER_LINE = "bad-header-line"  # a line with no colon or with a space before it
    HEADERS_CAPPED = "headers-capped"  # too many or too large: the rest is not read
    HEADER_8BIT = "header-8bit"  # undeclared 8-bit text: read as UTF-8, else as Latin-1
    BAD_ENCODED_WORD = "bad-encoded-word"  # an RFC 2047 word that cannot be decoded: shown as is
    DUPLICATE_FROM = "duplicate-from"  # the first is used
    DUPLICATE_MESSAGE_ID = "duplicate-message-id"  # the first is used
    DUPLICATE_SUBJECT = "duplicate-subject"  # the first is used
    MANY_FROM = "many-from"  # several addresses in From: the first that is no list is used
    NO_FROM = "no-from"  # no usable address in From
    NO_MESSAGE_ID = "no-message-id"  # an id is derived from the SHA-256 of the raw bytes
    LONG_MESSAGE_ID = "long-message-id"  # too long: replaced by its SHA-256
    REFERENCES_CAPPED = "references-capped"  # only the first and the last hundred are read
    BAD_DATE = "bad-date"  # Date is missing or invalid: taken from Received, else null
    NAME_CAPPED = "name-capped"  # a name in From over 255 characters: cut
    LISTS_CAPPED = "lists-capped"  # a hundred lists, the maximum: there may be more

    # MIME and charsets
    WRONG_CONTENT_TYPE = "wrong-content-type"  # text declared as binary: read as text/plain
    UNKNOWN_CHARSET = "unknown-charset"  # not a known charset: read as UTF-8, else as Latin-1
    BAD_CHARSET_BYTES = "bad-charset-bytes"  # bytes invalid in the declared charset: U+FFFD
    BAD_TRANSFER_ENCODING = "bad-transfer-encoding"  # invalid base64 or quoted-printable
    BAD_MULTIPART = "bad-multipart"  # boundary missing, unusable or never closed
    PARTS_CAPPED = (
        "parts-capped"  # too many parts, too deep or too large: the rest is not read as text
    )
    SUBJECT_CAPPED = "subject-capped"  # over 1,000 characters: cut
    FLOWED_DIFF = "flowed-diff"  # a diff sent as format=flowed: unwrapped as RFC 3676 says

    # commentary
    TRAILERS_CAPPED = "trailers-capped"  # a thousand, the maximum: there may be more
    DEPENDENCIES_CAPPED = "dependencies-capped"  # too many, or too long for an id: left out

    # diff
    MORE_PATCHES = "more-patches"  # other patches are attached: the record has the first
    DAMAGED_DIFF = "damaged-diff"  # hunks shorter or longer than their headers say: kept

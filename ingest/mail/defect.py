"""The names of what can be wrong with a message.

Input: nothing. Output: `Defect`, the closed set of named flaws that parsing records.
A defect never stops a message: it says what was repaired, cut or could not be read.
The values are stored and exported, so they are stable: add, do not rename.
"""

from enum import StrEnum


class Defect(StrEnum):
    """One flaw of a message, named. The comment says what was done about it."""

    # wire and container
    BARE_CR = "bare-cr"  # a CR not followed by LF: kept in the raw bytes, a line end in text
    BARE_LF = "bare-lf"  # by SMTP or LMTP, an LF without CR (RFC 5321 2.3.8): kept, a line end
    LONG_LINE = "long-line"  # over 998 octets (RFC 5322 2.1.1): accepted
    NUL = "nul"  # NUL octets: kept in the raw bytes, U+FFFD in text
    TRUNCATED = "truncated"  # the archive ended within the message: what there is, is kept

    # headers
    NO_HEADERS = "no-headers"  # nothing that looks like a header block
    BAD_HEADER_LINE = "bad-header-line"  # a line with no colon or with a space before it
    HEADERS_CAPPED = "headers-capped"  # beyond the bounds: the rest is not read
    HEADER_8BIT = "header-8bit"  # undeclared 8-bit: UTF-8, else Latin-1
    BAD_ENCODED_WORD = "bad-encoded-word"  # RFC 2047 that cannot be decoded: shown as it came
    DUPLICATE_FROM = "duplicate-from"  # the first counts
    DUPLICATE_MESSAGE_ID = "duplicate-message-id"  # the first counts
    DUPLICATE_SUBJECT = "duplicate-subject"  # the first counts
    MANY_FROM = "many-from"  # several addresses in From: the first counts
    NO_FROM = "no-from"  # no usable address in From
    NO_MESSAGE_ID = "no-message-id"  # an id is derived from the SHA-256 of the raw bytes
    LONG_MESSAGE_ID = "long-message-id"  # over the bound: replaced by its SHA-256
    REFERENCES_CAPPED = "references-capped"  # the first and the last hundred are read
    BAD_DATE = "bad-date"  # Date is absent or cannot be: taken from Received, else null
    NAME_CAPPED = "name-capped"  # a name in From over 255 characters: cut
    LISTS_CAPPED = "lists-capped"  # as many lists as are read, a hundred: there may be more

    # MIME and charsets
    UNKNOWN_CHARSET = "unknown-charset"  # not on the list of charsets: UTF-8, else Latin-1
    BAD_CHARSET_BYTES = "bad-charset-bytes"  # bytes that the declared charset has not: U+FFFD
    BAD_TRANSFER_ENCODING = "bad-transfer-encoding"  # base64 or quoted-printable with rubbish
    BAD_MULTIPART = "bad-multipart"  # boundary missing, unusable or never closed
    PARTS_CAPPED = "parts-capped"  # too many parts, too deep or too large: the rest is opaque
    SUBJECT_CAPPED = "subject-capped"  # over 1,000 characters: cut
    FLOWED_DIFF = "flowed-diff"  # a diff sent as format=flowed: unwrapped as RFC 3676 says

    # commentary
    TRAILERS_CAPPED = "trailers-capped"  # as many as are read, a thousand: there may be more
    DEPENDENCIES_CAPPED = "dependencies-capped"  # too many, or too long for an id: left out

    # diff
    DAMAGED_DIFF = "damaged-diff"  # hunks shorter or longer than their headers say: as it came

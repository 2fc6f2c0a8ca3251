"""Build hostile mail that is too large for `fixtures/hostile/`, of any size.

Each function returns one mail of about `size` bytes. The expected result is in
`tests/system/test_hostile.py`. Ids are random hex from a fixed seed, because PostgreSQL
compresses a key before it says that it is too long.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from random import Random

Builder = Callable[[int], bytes]

FROM = b"From: Eve <eve@example.org>\n"
LIST = b"List-Id: <dev.lists.example.org>\n"
SENT = b"Date: Mon, 2 Mar 2026 10:15:00 +0000\n"
DIFF = (
    b"diff --git a/f.c b/f.c\nindex 1111111..2222222 100644\n--- a/f.c\n+++ b/f.c\n"
    b"@@ -1,3 +1,3 @@\n one\n-two\n+new\n three\n"
)
SIGNED = b"Signed-off-by: Eve <eve@example.org>\n"
PATCH = b"Say why.\n\n" + SIGNED + b"---\n" + DIFF
REQUEST = (
    b"The following changes since commit 0123456789abcdef:\n\n  Linux\n\n"
    b"are available in the Git repository at:\n\n  https://git.example.org/x.git"
)


def hexadecimal(size: int, seed: int = 1) -> bytes:
    """Return `size` hexadecimal digits, which cannot be compressed by more than half."""
    return Random(seed).randbytes(size // 2 + 1).hex()[:size].encode()


def mail(
    headers: bytes = b"",
    body: bytes = PATCH,
    *,
    msgid: bytes = b"<hostile@example.org>",
    subject: bytes = b"[PATCH] fs: change",
) -> bytes:
    """Return a mail, by default a patch. `headers` come first and end with a line end."""
    front = headers + FROM + LIST + SENT + b"Message-ID: " + msgid + b"\nSubject: " + subject
    return front + b"\n\n" + body


def _times(piece: bytes, size: int) -> bytes:
    return piece * max(1, size // len(piece))


def _numbered(form: bytes, size: int) -> bytes:
    """Return `form` repeated, with one number after the other for its %d."""
    return b"".join(form % number for number in range(max(1, size // len(form % 1000))))


# --- headers ----------------------------------------------------------------------------------


def header_name_long(size: int) -> bytes:
    return mail(b"X-" + b"a" * size + b": x\n")


def header_value_long(size: int) -> bytes:
    return mail(b"X-Long: " + b"a" * size + b"\n")


def header_behind_the_bound(size: int) -> bytes:
    """Put the important fields after a header that is as long as what is read."""
    return mail(b"X-Long: " + b"a b " * (size // 4) + b"\n")


def headers_many(size: int) -> bytes:
    return mail(body=PATCH).replace(b"\n\n", b"\n" + _numbered(b"X-%d: a\n", size) + b"\n", 1)


def header_folded_often(size: int) -> bytes:
    return mail(b"X-Long: a\n" + _times(b" b\n", size))


def headers_without_colon(size: int) -> bytes:
    return mail(_times(b"no colon here\n", size))


def received_many(size: int) -> bytes:
    return mail(_times(b"Received: by a; Mon, 2 Mar 2026 10:15:00 +0000\n", size))


def received_garbage(size: int) -> bytes:
    return mail(b"Received: by a; " + _times(b"(;", size) + b"\n")


def references_many(size: int) -> bytes:
    return mail(b"References:\n" + _numbered(b" <%d@example.net>\n", size))


def references_long(size: int) -> bytes:
    return mail(b"References: <" + hexadecimal(size) + b"@example.net>\n")


def references_unclosed(size: int) -> bytes:
    return mail(b"References: " + _times(b"<a@", size) + b"\n")


def references_in_comments(size: int) -> bytes:
    return mail(b"References: " + _times(b"(<a@b> ", size) + b"\n")


def in_reply_to_many(size: int) -> bytes:
    return mail(_numbered(b"In-Reply-To: <%d@example.net>\n", size))


def message_id_long(size: int) -> bytes:
    return mail(msgid=b"<" + hexadecimal(size) + b"@example.org>")


def message_id_of_brackets(size: int) -> bytes:
    return mail(msgid=b"<" * size)


def message_id_of_blanks(size: int) -> bytes:
    return mail(msgid=b"< " + _times(b"\n ", size) + b">")


def from_many(size: int) -> bytes:
    return mail(b"From: " + _numbered(b"a <%d@example.net>, ", size) + b"\n")


def from_long_address(size: int) -> bytes:
    return mail(b"From: " + hexadecimal(size) + b"@example.net\n")


def from_long_domain(size: int) -> bytes:
    return mail(b"From: A <a@" + hexadecimal(size) + b".example.net>\n")


def from_long_name(size: int) -> bytes:
    return mail(b'From: "' + _times(b"Eve Eve ", size) + b'" <eve@example.org>\n')


def from_comments_nested(size: int) -> bytes:
    deep = size // 2
    return mail(b"From: eve@example.org " + b"(" * deep + b")" * deep + b"\n")


def from_comments_unclosed(size: int) -> bytes:
    return mail(b"From: eve@example.org " + _times(b"((a", size) + b"\n")


def from_angles(size: int) -> bytes:
    return mail(b"From: " + b"<" * size + b"eve@example.org>\n")


def from_at_signs(size: int) -> bytes:
    return mail(b"From: " + _times(b"a@", size) + b"\n")


def from_quotes(size: int) -> bytes:
    return mail(b"From: " + _times(b'"\\', size) + b" <eve@example.org>\n")


def from_groups(size: int) -> bytes:
    return mail(b"From: " + _times(b"a:;", size) + b" eve@example.org\n")


def from_blanks(size: int) -> bytes:
    return mail(b"From: Eve" + b" " * size + b"<eve@example.org" + b" " * size + b">\n")


def recipients_many(size: int) -> bytes:
    return mail(b"Cc: " + _numbered(b"a <%d@example.net>,\n ", size) + b"b@example.net\n")


def subject_long(size: int) -> bytes:
    return mail(subject=b"[PATCH] " + _times(b"word ", size))


def subject_prefix_long(size: int) -> bytes:
    return mail(subject=b"[PATCH " + b"a" * size + b"] x")


def subject_brackets(size: int) -> bytes:
    return mail(subject=b"[" * size)


def subject_brackets_paired(size: int) -> bytes:
    return mail(subject=_times(b"[a]", size))


def subject_digits(size: int) -> bytes:
    return mail(subject=b"[PATCH " + b"1" * size + b"/" + b"1" * size + b"] x")


def subject_answers(size: int) -> bytes:
    return mail(subject=_times(b"Re: ", size) + b"[PATCH] x")


def subject_words_encoded(size: int) -> bytes:
    return mail(subject=b"[PATCH] " + _times(b"=?utf-8?q?word?= ", size))


def subject_words_unclosed(size: int) -> bytes:
    return mail(subject=b"[PATCH] " + _times(b"=?utf-8?q?word", size))


def subject_words_of_garbage(size: int) -> bytes:
    return mail(subject=b"[PATCH] " + _times(b"=?utf-8?b?!!!?= ", size))


def list_id_angles(size: int) -> bytes:
    return mail(b"List-Id: " + b"<" * size + b"\n")


def list_id_long(size: int) -> bytes:
    return mail(b"List-Id: <" + hexadecimal(size) + b".example.org>\n")


def list_ids_many(size: int) -> bytes:
    return mail(_numbered(b"List-Id: <l%d.example.net>\n", size))


def list_address_blanks(size: int) -> bytes:
    return mail(b"X-Mailing-List: " + b"a" * size + b"@\n")


def date_long(size: int) -> bytes:
    return mail(b"Date: " + _times(b"Mon, ", size) + b"\n")


def date_comments(size: int) -> bytes:
    return mail(b"Date: Mon, 2 Mar 2026 10:15:00 +0000 " + b"(" * size + b"\n")


def state_long(size: int) -> bytes:
    return mail(b"X-Patchwork-State: " + hexadecimal(size) + b"\n")


def original_from_many(size: int) -> bytes:
    return mail(
        b"From: Eve via dev <dev@lists.example.org>\n"
        b"X-Original-From: " + _times(b"<,", size) + b"\n"
    )


# --- MIME -------------------------------------------------------------------------------------


def parameters_many(size: int) -> bytes:
    return mail(b"Content-Type: text/plain" + _numbered(b"; a%d=b", size) + b"\n")


def parameters_continued(size: int) -> bytes:
    return mail(
        b"Content-Disposition: attachment" + _numbered(b";\n filename*%d=a", size) + b"\n",
    )


def parameters_unclosed(size: int) -> bytes:
    return mail(b"Content-Type: text/plain" + _times(b'; a="\\"', size) + b"\n")


def boundary_long(size: int) -> bytes:
    line = b"a" * size
    return mail(
        b'Content-Type: multipart/mixed; boundary="' + line + b'"\n',
        b"--" + line + b"\n\n" + PATCH + b"\n--" + line + b"--\n",
    )


def boundaries_almost(size: int) -> bytes:
    """Lines that begin as the boundary does and are none."""
    return mail(
        b"Content-Type: multipart/mixed; boundary=b\n",
        b"--b\n\n" + PATCH + _times(b"--bb\n", size) + b"--b--\n",
    )


def multiparts_deep(size: int) -> bytes:
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (number, number)
        for number in range(size // 60)
    )
    return mail(deep.partition(b"\n")[0] + b"\n", deep.partition(b"\n\n")[2] + b"\n" + PATCH)


def mails_deep(size: int) -> bytes:
    """Mail within mail within mail."""
    return mail(
        b"Content-Type: message/rfc822\n",
        _times(b"Content-Type: message/rfc822\n\n", size) + b"\n" + PATCH,
    )


def mails_deep_encoded(size: int) -> bytes:
    """The same under a transfer encoding: each level must be decoded, which is a copy."""
    front = b"Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n"
    return mail(front, (front + b"\n") * 60 + b"\n" + _times(b"plain text\n", size))


def parts_many(size: int) -> bytes:
    return mail(
        b"Content-Type: multipart/mixed; boundary=b\n",
        b"--b\n\n" + PATCH + _times(b"\n--b\n\na", size) + b"\n--b--\n",
    )


def parts_with_large_headers(size: int) -> bytes:
    part = b"\n--b\nContent-Type: text/plain; name=" + b'"a' * 3_000 + b"\n\na"
    return mail(
        b"Content-Type: multipart/mixed; boundary=b\n",
        b"--b\n\n" + PATCH + _times(part, size) + b"\n--b--\n",
    )


def base64_garbage(size: int) -> bytes:
    return mail(b"Content-Transfer-Encoding: base64\n", _times(b"=A!", size))


def base64_of_base64(size: int) -> bytes:
    """Only the encoding that is declared is undone."""
    inner = base64.encodebytes(_times(PATCH, size))
    return mail(b"Content-Transfer-Encoding: base64\n", base64.encodebytes(inner))


def quoted_printable_garbage(size: int) -> bytes:
    return mail(b"Content-Transfer-Encoding: quoted-printable\n", _times(b"=\t=0=G", size))


def quoted_printable_blanks(size: int) -> bytes:
    return mail(b"Content-Transfer-Encoding: quoted-printable\n", PATCH + b"=" + b" " * size + b"x")


def flowed_endless(size: int) -> bytes:
    return mail(b"Content-Type: text/plain; format=flowed\n", _times(b"> a \n", size))


def nuls(size: int) -> bytes:
    return mail(body=PATCH + b"\0" * size)


def carriage_returns(size: int) -> bytes:
    return mail(body=PATCH + _times(b"a\r", size))


# --- commentary -------------------------------------------------------------------------------


def line_endless(size: int) -> bytes:
    return mail(body=b"a" * size + b"\n" + PATCH)


def lines_empty(size: int) -> bytes:
    return mail(body=b"\n" * size + PATCH)


def lines_of_blanks(size: int) -> bytes:
    return mail(body=b" " * size + b"\n" + PATCH)


def trailer_long(size: int) -> bytes:
    return mail(body=b"Acked-by: " + b"a" * size + b"\n" + PATCH)


def trailer_folded(size: int) -> bytes:
    fold = b"Acked-by: " + b"a" * 400 + b"\n" + b" b\n" * 400
    return mail(body=b"Why.\n\n" + _times(fold, size) + PATCH)


def trailers_many(size: int) -> bytes:
    return mail(body=b"Why.\n\n" + _numbered(b"Acked-by: A <%d@example.org>\n", size) + PATCH)


def trailers_indented(size: int) -> bytes:
    answer = _times(b"\n\n\n    Acked-by: A <a@example.org>\n", size)
    return mail(b"In-Reply-To: <p@example.org>\n", answer, subject=b"Re: [PATCH] x")


def trailer_keys(size: int) -> bytes:
    return mail(body=_times(b"a-by-", size) + b"\n" + PATCH)


def prerequisites_many(size: int) -> bytes:
    return mail(body=PATCH + b"\n" + _numbered(b"prerequisite-patch-id: %040d\n", size))


def depends_on_many(size: int) -> bytes:
    ids = _numbered(b"Depends-on: <%d@example.org>\n", size)
    return mail(body=b"Why.\n\n" + ids + b"\n" + PATCH)


def depends_on_long_url(size: int) -> bytes:
    return mail(
        body=b"Why.\n\nDepends-on: https://example.org/" + hexadecimal(size) + b"\n" + PATCH
    )


def depends_on_long_id(size: int) -> bytes:
    return mail(body=b"Why.\n\nDepends-on: <" + hexadecimal(size) + b"@example.org>\n" + PATCH)


def change_id_long(size: int) -> bytes:
    return mail(
        body=PATCH + b"\n---\nbase-commit: " + b"1" * size + b"\nchange-id: " + hexadecimal(size)
        + b"\nprerequisite-change-id: " + hexadecimal(size, 2) + b":v1\n"
    )  # fmt: skip


def links_many(size: int) -> bytes:
    links = _numbered(b"- Link to v2: https://lore.example.org/r/%d@example.org\n", size)
    return mail(body=b"What.\n\n" + links, subject=b"[PATCH 0/2] x")


def links_behind_blanks(size: int) -> bytes:
    links = _times(b"v2" + b" " * 60 + b"https://example.org/a@b\n", size)
    return mail(body=links, subject=b"[PATCH 0/2] x")


def scissors_many(size: int) -> bytes:
    body = _times(b"-- >8 -- x y z a b c d e f\n", size) + PATCH
    return mail(b"In-Reply-To: <p@example.org>\n", body, subject=b"Re: x")


def scissors_in_one_line(size: int) -> bytes:
    body = _times(b"-- >8 --", size) + b"\n" + PATCH
    return mail(b"In-Reply-To: <p@example.org>\n", body, subject=b"Re: x")


def in_body_from_folded(size: int) -> bytes:
    return mail(body=b"From: Ada\n" + _times(b" b\n", size) + b"\n" + PATCH)


def in_body_headers_many(size: int) -> bytes:
    return mail(body=_times(b"From: Ada <ada@example.org>\n", size) + b"\n" + PATCH)


def attached_header_many(size: int) -> bytes:
    headers = _numbered(b"X-%d: a\n", size)
    return mail(b"Content-Type: text/x-patch\n", b"From: A <a@b>\n" + headers + b"\n" + PATCH)


def quoted_deep(size: int) -> bytes:
    answer = b">" * size + b" a\n> b\n\nNo.\n"
    return mail(b"In-Reply-To: <p@example.org>\n", answer, subject=b"Re: [PATCH] x")


def quoted_diff(size: int) -> bytes:
    quoted = b"".join(b"> " + line for line in (DIFF * (size // len(DIFF))).splitlines(True))
    return mail(b"In-Reply-To: <p@example.org>\n", quoted + b"\nNo.\n", subject=b"Re: [PATCH] x")


def pull_request_blanks(size: int) -> bytes:
    return mail(body=REQUEST + b" " * size + b":\n", subject=b"[GIT PULL] x")


def pull_request_tabs_and_lines(size: int) -> bytes:
    return mail(body=REQUEST + _times(b"\t\\ \n", size), subject=b"[GIT PULL] x")


def pull_requests_many(size: int) -> bytes:
    begun = _times(b"The following changes since commit 0123456789ab\n", size)
    return mail(body=begun, subject=b"[GIT PULL] x")


# --- diff -------------------------------------------------------------------------------------


def hunk_of_a_thousand_million(size: int) -> bytes:
    hunk = b"--- a/f\n+++ b/f\n@@ -1,999999999 +1,999999999 @@\n"
    return mail(body=SIGNED + b"---\n" + hunk + _times(b"+a\n-b\n c\n", size))


def hunk_digits(size: int) -> bytes:
    digits = b"9" * size
    return mail(body=b"--- a/f\n+++ b/f\n@@ -1," + digits + b" +1," + digits + b" @@\n-a\n+b\n")


def hunks_many(size: int) -> bytes:
    return mail(body=b"--- a/f\n+++ b/f\n" + _times(b"@@ -1,9 +1,9 @@\n-a\n+b\n", size))


def hunks_of_odd_lines(size: int) -> bytes:
    odd = b"@@ -1,999999 +1,999999 @@\n a\nodd\n\nodd\n"
    return mail(body=b"--- a/f\n+++ b/f\n" + _times(odd, size))


def hunks_combined(size: int) -> bytes:
    hunk = b"@@@@@ -1,99999" + b" -1,99999" * 3 + b" +1,99999 @@@@@\n++++a\n"
    return mail(body=b"diff --cc f\n--- a/f\n+++ b/f\n" + _times(hunk, size))


def files_many(size: int) -> bytes:
    one = b"diff --git a/%d b/%d\n--- a/%d\n+++ b/%d\n@@ -1 +1 @@\n-a\n+b\n"
    files = b"".join(one % ((number,) * 4) for number in range(size // 80))
    return mail(body=b"Why.\n---\n" + files)


def file_name_long(size: int) -> bytes:
    name = b"a" * size
    return mail(body=DIFF + b"diff --git a/" + name + b" b/" + name + b"\nnew file mode 100644\n")


def file_name_quoted(size: int) -> bytes:
    return mail(
        body=DIFF + b'diff --git "a/' + _times(b'\\"', size) + b" b/x\nnew file mode 100644\n"
    )


def diff_lines_alone(size: int) -> bytes:
    return mail(body=_times(b"diff -\nIndex: x\n", size))


def header_lines_of_diff(size: int) -> bytes:
    return mail(body=b"Index: x\n" + _times(b"RCS file: x\nIndex: x\n", size))


def binary_garbage(size: int) -> bytes:
    front = b"diff --git a/x b/x\nindex 1111111..2222222 100644\nGIT binary patch\n"
    return mail(body=front + b"literal 999999999\n" + _times(b"z" + b"~" * 65 + b"\n", size))


def binary_blocks(size: int) -> bytes:
    front = b"diff --git a/x b/x\nindex 1111111..2222222 100644\nGIT binary patch\n"
    return mail(body=front + _times(b"literal 0\n\n", size))


def indexes_of_dots(size: int) -> bytes:
    return mail(body=DIFF + b"diff --git a/x b/x\nindex " + b"." * size + b"\n")


def objects_many(size: int) -> bytes:
    return mail(
        body=DIFF + _times(b"commit 0123456789abcdef0123456789abcdef01234567\n" + DIFF, size)
    )


def plus_signs(size: int) -> bytes:
    return mail(body=b"--- a/f\n+++ b/f\n@@ -0,0 +1,99999999 @@\n" + b"+\n" * (size // 2))


BUILDERS: dict[str, Builder] = {
    name: value
    for name, value in dict(globals()).items()
    if callable(value)
    and getattr(value, "__module__", "") == __name__
    and not name.startswith("_")
    and name not in {"mail", "hexadecimal"}
}

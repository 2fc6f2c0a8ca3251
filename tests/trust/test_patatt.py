"""Test developer signatures: good, altered, of an unknown key, of another identity; as in
patatt."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import nacl.signing
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.trust.signatures import patatt as ours
from ingest.trust.signatures.verdict import (
    Alignment,
    Coverage,
    Result,
    SignatureKind,
    Verdict,
    VerdictReason,
)
from tests.support import mails, skips
from tests.support.signing import KEYS

patatt = pytest.importorskip("patatt")
if shutil.which("git") is None:  # patatt signs what `git mailinfo` makes of a mail
    pytest.skip(skips.NO_GIT, allow_module_level=True)

AT = datetime(2026, 3, 2, 10, 16)
PATCH = mails.patch("a@example.org", "[PATCH] f: mend it")
WORDS = {0: "PASS", 4: "NOSIG", 8: "NOKEY", 16: "ERROR", 32: "BADSIG"}
needs_gpg = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")


def seed(name: str) -> str:
    return (KEYS / name).read_text().strip()


def sign(
    raw: bytes = PATCH,
    key: str = "ed25519.key",
    *,
    identity: str = "ada@example.org",
    selector: str | None = None,
) -> bytes:
    message = patatt.PatattMessage(raw)
    message.sign("ed25519", seed(key).encode(), identity, selector)
    return bytes(message.as_bytes())


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a keyring with Ada's two keys, and Bob's."""
    folder = tmp_path_factory.mktemp("keys")
    for who, selector, key in (
        ("example.org/ada", "default", "ed25519.key"),
        ("example.org/ada", "second", "ed25519-other.key"),
        ("example.com/bob", "default", "ed25519-other.key"),
    ):
        path = folder / "ed25519" / who / selector
        path.parent.mkdir(parents=True, exist_ok=True)
        public = nacl.signing.SigningKey(base64.b64decode(seed(key))).verify_key
        path.write_text(base64.b64encode(bytes(public)).decode())
    return folder


@pytest.fixture(scope="module")
def gpg_home(tmp_path_factory: pytest.TempPathFactory, keyring: Path) -> Iterator[Path]:
    """Return a GnuPG home with Ada's secret key, and put the public key into the keyring."""
    home = Path("/tmp") / f"gpg-{os.getpid()}"  # a socket's path must be short
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    subprocess.run([*gpg, "--import", str(KEYS / "openpgp.asc")], check=True, capture_output=True)
    public = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True).stdout
    path = keyring / "openpgp" / "example.org" / "ada" / "default"
    path.parent.mkdir(parents=True)
    path.write_bytes(public)
    yield home
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
    shutil.rmtree(home, ignore_errors=True)


def program(raw: bytes, keyring: Path, folder: Path) -> list[str]:
    """Return what `patatt validate` prints for a mail, one word for each signature."""
    (folder / "gitconfig").write_text(f'[patatt]\n\tkeyringsrc = "{keyring}"\n')
    for number in (1, 2):  # it would read a single file as an mbox
        (folder / f"{number}.eml").write_bytes(raw)
    done = subprocess.run(
        [str(Path(sys.executable).parent / "patatt"), "validate", "1.eml", "2.eml"],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder / "data"),
            "GNUPGHOME": str(folder),
            "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"),
        },
        check=False,
        capture_output=True,
        text=True,
    )
    lines = (done.stdout + done.stderr).splitlines()
    found = [line.split("|")[0].strip() for line in lines if "1.eml" in line]
    assert found, done
    return found


def word(verdict: Verdict) -> str:
    match verdict.result, verdict.reason:
        case Result.PASS, _:
            return "PASS"
        case Result.NOT_CHECKED, VerdictReason.NO_KEY:
            return "NOKEY"
        case Result.FAIL, _:
            return "BADSIG"
        case _:
            return "ERROR"


def changed(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        assert old in raw
        return raw.replace(old, new, 1)

    return change


def test_a_good_signature(keyring: Path) -> None:
    (one,) = ours.verify_developer_signatures(sign(), [str(keyring)], AT)
    assert one.covers.length is not None
    assert one == Verdict(
        SignatureKind.PATATT,
        0,
        Result.PASS,
        VerdictReason.HOLDS,
        domain="example.org",
        selector="default",
        identity="ada@example.org",
        algorithm="ed25519-sha256",
        covers=Coverage(("from", "subject", "message-id"), one.covers.length, whole_body=True),
        aligned=Alignment.STRICT,
        key_bits=256,
        key=(keyring / "ed25519/example.org/ada/default").read_text(),
        judged=AT,
    )


BOB = "bob@example.com"
FROM_BOB = "From: Bob <bob@example.com>\n\n"
CASES: list[tuple[str, bytes, Result, VerdictReason]] = [
    ("good", sign(), Result.PASS, VerdictReason.HOLDS),
    ("CRLF", sign().replace(b"\n", b"\r\n"), Result.PASS, VerdictReason.HOLDS),
    (
        "second key",
        sign(key="ed25519-other.key", selector="second"),
        Result.PASS,
        VerdictReason.HOLDS,
    ),
    (
        "other identity",
        sign(key="ed25519-other.key", identity=BOB),
        Result.PASS,
        VerdictReason.HOLDS,
    ),
    ("body", changed(b"+new", b"+net")(sign()), Result.FAIL, VerdictReason.BODY_CHANGED),
    ("footer", sign() + b"__\nlist\n", Result.FAIL, VerdictReason.BODY_CHANGED),
    (
        "subject",
        changed(b"f: mend", b"f: bend")(sign()),
        Result.FAIL,
        VerdictReason.SIGNATURE_MISMATCH,
    ),
    (
        "author",
        changed(b"Ada Byron", b"Eve Byron")(sign()),
        Result.FAIL,
        VerdictReason.SIGNATURE_MISMATCH,
    ),
    (
        "author's address",
        changed(b"<ada@", b"<eve@")(sign()),
        Result.FAIL,
        VerdictReason.SIGNATURE_MISMATCH,
    ),
    ("wrong key", sign(key="ed25519-other.key"), Result.FAIL, VerdictReason.SIGNATURE_MISMATCH),
    (
        "unknown identity",
        sign(identity="eve@example.net"),
        Result.NOT_CHECKED,
        VerdictReason.NO_KEY,
    ),
    ("unknown selector", sign(selector="third"), Result.NOT_CHECKED, VerdictReason.NO_KEY),
    (
        "no algorithm",
        changed(b"a=ed25519-sha256", b"q=ed25519-sha256")(sign()),
        Result.PERMERROR,
        VerdictReason.MISSING_TAG,
    ),
    (
        "other algorithm",
        changed(b"a=ed25519-sha256", b"a=rot13")(sign()),
        Result.PERMERROR,
        VerdictReason.BAD_ALGORITHM,
    ),
]


@pytest.mark.parametrize(
    ("raw", "result", "reason"), [pytest.param(*rest, id=name) for name, *rest in CASES]
)
def test_signatures_and_the_program_says_the_same(
    raw: bytes, result: Result, reason: VerdictReason, keyring: Path, tmp_path: Path
) -> None:
    found = ours.verify_developer_signatures(raw, [str(keyring)], AT)
    assert [(verdict.result, verdict.reason) for verdict in found] == [(result, reason)]
    assert [word(verdict) for verdict in found] == program(raw, keyring, tmp_path)


@pytest.mark.parametrize(
    ("raw", "aligned"),
    [
        (sign(), Alignment.STRICT),
        (sign(identity="bob@example.org"), Alignment.RELAXED),
        (sign(identity="ada@dev.example.org"), Alignment.RELAXED),
        (sign(identity=BOB), Alignment.NONE),
        (
            sign(mails.mail("b@x", "[PATCH] x", FROM_BOB + mails.patch_body()), identity=BOB),
            Alignment.STRICT,
        ),
    ],
)
def test_the_identity_is_compared_with_the_author(raw: bytes, aligned: Alignment) -> None:
    (one,) = ours.verify_developer_signatures(raw, [], AT)
    assert one.aligned is aligned


@pytest.mark.parametrize(
    ("identity", "selector"),
    [("..@example.org", "default"), ("ada@..", "default"), ("ada@example.org", ".."),
     ("a@b@c.example", "default"), ("ada", "default"), ("a" * 300 + "@example.org", "default")],
)  # fmt: skip
def test_a_mail_does_not_choose_the_file(identity: str, selector: str, tmp_path: Path) -> None:
    raw = changed(b"i=ada@example.org", f"i={identity}; s={selector}".encode())(sign())
    (one,) = ours.verify_developer_signatures(raw, [str(tmp_path / "a" / "b")], AT)
    assert (one.result, one.reason) == (Result.PERMERROR, VerdictReason.BAD_NAME)


def test_each_signature_is_verified_by_itself(keyring: Path) -> None:
    """patatt verifies the second signature of an identity as the first."""
    first = sign(key="ed25519-other.key").partition(b"X-Developer-Key")[0]
    second = sign()
    field = second[second.index(b"X-Developer-Signature") : second.index(b"X-Developer-Key")]
    raw = first + field + b"\n" + PATCH.partition(b"\n\n")[2]
    found = ours.verify_developer_signatures(raw, [str(keyring)], AT)
    assert [verdict.result for verdict in found] == [Result.FAIL, Result.PASS]
    many = first + field * 60 + b"\n" + PATCH.partition(b"\n\n")[2]
    found = ours.verify_developer_signatures(many, [str(keyring)], AT)
    assert [verdict.result for verdict in found[1:5]] == [Result.PASS] * 4
    assert {verdict.reason for verdict in found[5:]} == {VerdictReason.TOO_MANY}
    assert len(found) == 50


@needs_gpg
def test_openpgp(
    gpg_home: Path, keyring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNUPGHOME", str(gpg_home))
    message = patatt.PatattMessage(PATCH)
    message.sign("openpgp", "ada@example.org", "ada@example.org", None)
    good = message.as_bytes()
    monkeypatch.setenv("GNUPGHOME", str(tmp_path))
    for raw, result, reason in (
        (good, Result.PASS, VerdictReason.HOLDS),
        (changed(b"+new", b"+net")(good), Result.FAIL, VerdictReason.BODY_CHANGED),
        (changed(b"f: mend", b"f: bend")(good), Result.FAIL, VerdictReason.SIGNATURE_MISMATCH),
        (changed(b"i=ada@", b"i=eve@")(good), Result.NOT_CHECKED, VerdictReason.NO_KEY),
    ):
        (one,) = ours.verify_developer_signatures(raw, [str(keyring)], AT)
        assert (one.result, one.reason) == (result, reason)
        assert [word(one)] == program(raw, keyring, tmp_path)
    (one,) = ours.verify_developer_signatures(good, [str(keyring)], AT)
    assert one.key is not None
    assert one.key.startswith("-----BEGIN PGP PUBLIC KEY")
    # Without a key in the keyrings, the default keyring of the user is not used.
    monkeypatch.setenv("GNUPGHOME", str(gpg_home))
    (one,) = ours.verify_developer_signatures(good, [str(tmp_path)], AT)
    assert (one.result, one.reason) == (Result.NOT_CHECKED, VerdictReason.NO_KEY)


def test_without_patatt_nothing_is_checked(keyring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "patatt", None)
    (one,) = ours.verify_developer_signatures(sign(), [str(keyring)], AT)
    assert (one.result, one.reason) == (Result.NOT_CHECKED, VerdictReason.NO_TOOL)


@pytest.mark.parametrize(
    "raw",
    [
        b"X-Developer-Signature: v=1\n" + b" x\n" * 100_000 + b"\nbody\n",
        b"X-Developer-Signature: v=1; a=ed25519-sha256; i=ada@example.org; h=from:subject; b=AA\n",
        b"X-Developer-Signature: \xff\xfe\n\nbody\n",
        b"X-Developer-Signature: a=ed25519; i=ada@example.org; bh=\xff; b=\xff\n\nbody\n",
        b" x\nX-Developer-Signature: a\n\nbody\n",
    ],
)
def test_what_is_hostile_is_verified(raw: bytes, keyring: Path) -> None:
    for verdict in ours.verify_developer_signatures(raw, [str(keyring)], AT):
        assert verdict.result in (Result.PERMERROR, Result.FAIL)


@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_damaged_signatures_are_verified(keyring: Path, data: st.DataObject) -> None:
    raw = sign()
    at = data.draw(st.integers(0, raw.index(b"\n\n")))
    raw = raw[:at] + data.draw(st.binary(max_size=10)) + raw[at + data.draw(st.integers(0, 20)) :]
    ours.verify_developer_signatures(raw, [str(keyring)], AT)

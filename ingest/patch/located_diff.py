"""Find the diffs of a message, and what is around them.

Input: a `Message`. Output: each diff with the part that contains it, that of the patch first, and
the texts and other diffs that a mail has next to its patch.
"""

from __future__ import annotations

from ingest.frozen import frozen
from ingest.mail.encoded_word import decode_words
from ingest.mail.message import Message, Part
from ingest.patch.attached_commit import AttachedCommit, read_attached_text
from ingest.patch.diffs.diff import Split, commentary, find_diff
from ingest.patch.submission import OtherPatch


@frozen
class LocatedDiff:
    """Hold a diff of a message: the part that contains it, and that part's text.

    `index`: of the part, in the message. `commit`: what an attached patch says in its header,
    which is no part of `text`.
    """

    part: Part
    index: int
    text: str
    split: Split
    is_attached: bool
    commit: AttachedCommit | None = None

    @property
    def data(self) -> bytes | None:
        """Return the diff in the bytes that were sent, None where these are its UTF-8."""
        if self.part.data is None:
            return None
        text = self.part.text or ""
        above = len(text) - len(self.text) + self.split.start
        return self.split.select_lines(self.part.data, text.count("\n", 0, above))


def locate_diffs(message: Message) -> list[LocatedDiff]:
    """Return the diffs of a message, that of the patch first.

    That is the first diff, unless it is pasted into the mail and the same patch is attached:
    mail programs damage what is pasted.
    """
    diffs: list[LocatedDiff] = []
    has_text = False  # a file name makes an attachment of a text only next to another one
    for index, part in enumerate(message.parts):
        if not part.text or part.nested or part.content_type == "text/html":
            continue
        is_attached = (
            part.attachment
            or part.content_type != "text/plain"
            or (has_text and part.filename is not None)
        )
        has_text = True
        commit, text = None, part.text
        if is_attached:
            commit, text = read_attached_text(text, decode=decode_header_text)
        split = find_diff(text)
        if split is not None:
            diffs.append(LocatedDiff(part, index, text, split, is_attached, commit))
    if len(diffs) > 1 and not diffs[0].is_attached:
        place = _place_of_attached_copy(diffs)
        if place:
            diffs.insert(0, diffs.pop(place))
    return diffs


def _place_of_attached_copy(diffs: list[LocatedDiff]) -> int:
    """Return the place of the attached diff that is to be preferred to the first; 0 for none."""
    pasted = diffs[0]
    lines = _without_space(pasted.split.diff)
    files = set(pasted.split.files)
    is_damaged = pasted.split.damaged or pasted.part.flowed
    is_signed = "Signed-off-by" in pasted.split.above
    for place, diff in enumerate(diffs[1:], start=1):
        if not diff.is_attached or files.isdisjoint(diff.split.files):
            continue
        if _without_space(diff.split.diff) == lines:
            if diff.commit is not None or diff.split.diff != pasted.split.diff:
                return 0 if diff.split.damaged and not is_damaged else place
        elif diff.split.damaged:
            continue
        # An excerpt above the whole patch; a patch that lost lines on its way.
        elif is_damaged or (
            diff.commit is not None and not is_signed and files.issubset(diff.split.files)
        ):
            return place
    return 0


def _without_space(text: str) -> str:
    return "".join(text.split())


def decode_header_text(value: str) -> str:
    """Return a header field of an attached patch or of a body, with its encoded words decoded."""
    return decode_words(value).text


def divide_rest(
    diff: LocatedDiff, diffs: list[LocatedDiff]
) -> tuple[tuple[int, ...], tuple[OtherPatch, ...]]:
    """Divide the other diffs of a mail into copies of its patch and other patches."""
    if len(diffs) == 1:
        return (), ()
    copies: list[int] = []
    others: list[OtherPatch] = []
    lines = _without_space(diff.split.diff)
    files = set(diff.split.files)
    for other in diffs:
        if other is diff:
            continue
        is_paste = other.split.damaged or (diff.is_attached and not other.is_attached)
        if (is_paste and not files.isdisjoint(other.split.files)) or (
            _without_space(other.split.diff) == lines
        ):
            copies.append(other.index)
        else:
            others.append(
                OtherPatch(other.index, other.split.diff, other.split.files, other.commit)
            )
    return tuple(copies), tuple(others)


def texts_around(plain: list[Part], diff: LocatedDiff, diffs: list[LocatedDiff]) -> list[str]:
    """Return the texts of all parts around the diff, without those of other attached patches.

    The message of an attached patch is left out where it is pasted as well.
    """
    if len(plain) == 1 and plain[0] is diff.part:
        return [diff.split.content]
    located = {id(other.part): other for other in diffs}
    texts: list[str] = []
    place: int | None = None
    for part in plain:
        other = located.get(id(part))
        if other is diff:
            place = len(texts)
        elif other is None:
            texts.append(commentary(part.text or ""))
        elif not other.is_attached:
            texts.append(other.split.content)
    texts = [text for text in texts if text]
    content = diff.split.content
    message = _without_space(diff.commit.message) if diff.commit is not None else ""
    if content and not (message and message in _without_space("".join(texts))):
        texts.insert(len(texts) if place is None else place, content)
    return texts

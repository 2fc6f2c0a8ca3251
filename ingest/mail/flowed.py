"""Restore the lines of format=flowed text as the sender wrote them (RFC 3676).

Input: text with LF line ends. Output: the text without soft line breaks. Any text is accepted.
"""

from __future__ import annotations


def unwrap_flowed(text: str, *, delsp: bool = False) -> str:
    """Remove the soft line breaks and the stuffed spaces of `text`.

    RFC 3676 4: a line that ends in a space continues on the next line of the same quote depth;
    with `delsp` that space is dropped; one space before an unquoted line is stuffing. The
    signature separator `-- ` is never joined. Quote marks are kept as in the first line of the
    paragraph.
    """
    if " \n" not in text and "\n " not in text and not text.startswith(" "):
        return text
    lines: list[str] = []
    paragraph: list[str] = []  # the lines of a paragraph that has not ended yet
    paragraph_depth = 0
    for line in text.split("\n"):
        if not paragraph and line[-1:] != " " and line[:1] != " ":  # nearly all lines
            lines.append(line)
            continue
        body = line.lstrip(">")
        depth = len(line) - len(body)
        is_stuffed = body.startswith(" ")
        content = body[1:] if is_stuffed else body
        is_signature = content == "-- "
        if paragraph and (depth != paragraph_depth or is_signature):
            lines.append("".join(paragraph))
            paragraph = []
        is_soft = content.endswith(" ") and not is_signature
        piece = content[:-1] if is_soft and delsp else content
        if not paragraph and depth:
            piece = line[:depth] + (" " if is_stuffed else "") + piece
        if is_soft:
            paragraph.append(piece)
            paragraph_depth = depth
        elif paragraph:
            paragraph.append(piece)
            lines.append("".join(paragraph))
            paragraph = []
        else:
            lines.append(piece)
    if paragraph:
        lines.append("".join(paragraph))
    return "\n".join(lines)

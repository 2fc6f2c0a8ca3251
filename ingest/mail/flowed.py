"""Text of format=flowed to the lines that its sender wrote (RFC 3676).

Input: text with LF line ends. Output: the same, unwrapped. Refuses nothing.
"""

from __future__ import annotations


def unwrap_flowed(text: str, *, delsp: bool = False) -> str:
    """`text` with its soft line breaks undone and its stuffed spaces removed.

    RFC 3676 4: a line that ends in a space goes on in the next one of the same quote depth;
    `delsp` drops that space; one space in front of an unquoted line was stuffed there. The
    signature's `-- ` is never joined. Quote marks stay as the paragraph's first line has them.
    """
    if " \n" not in text and "\n " not in text and not text.startswith(" "):
        return text
    out: list[str] = []
    paragraph: list[str] = []  # the lines of one that has not ended yet
    open_depth = 0
    for line in text.split("\n"):
        if not paragraph and line[-1:] != " " and line[:1] != " ":  # nearly all lines
            out.append(line)
            continue
        body = line.lstrip(">")
        depth = len(line) - len(body)
        stuffed = body.startswith(" ")
        content = body[1:] if stuffed else body
        signature = content == "-- "
        if paragraph and (depth != open_depth or signature):
            out.append("".join(paragraph))
            paragraph = []
        soft = content.endswith(" ") and not signature
        shown = content[:-1] if soft and delsp else content
        if not paragraph and depth:
            shown = line[:depth] + (" " if stuffed else "") + shown
        if soft:
            paragraph.append(shown)
            open_depth = depth
        elif paragraph:
            paragraph.append(shown)
            out.append("".join(paragraph))
            paragraph = []
        else:
            out.append(shown)
    if paragraph:
        out.append("".join(paragraph))
    return "\n".join(out)

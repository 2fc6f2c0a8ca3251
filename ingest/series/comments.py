"""Find the comments of which there are too many in a thread to be placed by what is around them.

A comment is placed below the mails that it names, which may be below others, and what it names says
where unseen mails are. So a late mail may move any comment, and a new one is compared with all.
Beyond a number, none of a thread is: each is placed directly, by what it names itself. Which they
are depends on the set of the messages alone, and one more of them changes nothing for the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ingest.series.facts import Facts

# How many messages of a thread that are no patches and no covers are compared with each other. The
# longest discussions of a patch have one or two hundred.
MAX_COMMENTS = 300


def find_direct(messages: Iterable[tuple[int, Facts]]) -> set[str]:
    """Return the keys of the messages that are placed directly, given messages with their threads.

    A thread is a set of messages that are connected by the ids that they name.
    """
    comments: dict[int, list[str]] = defaultdict(list)
    for thread_id, facts in messages:
        if not facts.piece:
            comments[thread_id].append(facts.key)
    return {key for keys in comments.values() if len(keys) > MAX_COMMENTS for key in keys}

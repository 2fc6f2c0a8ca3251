"""Poll events, as a program that can be killed at any time and continues where it was.

    python poller.py URL FILE

It appends `id category` and the date of each event to the file; the last whole line of it is
all that it knows when it is started again.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path


def main(url: str, path: str) -> None:
    file = Path(path)
    whole = file.read_text() if file.exists() else ""
    whole = whole[: whole.rfind("\n") + 1]
    file.write_text(whole)
    last, date = 0, ""
    if whole:
        words = whole.splitlines()[-1].split()
        last, date = int(words[0]), words[2]
    with file.open("a") as seen:
        while True:
            query = {"order": "date", "per_page": "20"} | ({"since": date} if date else {})
            with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}") as answer:
                found = [event for event in json.load(answer) if event["id"] > last]
            for event in found:
                last, date = event["id"], event["date"]
                seen.write(f"{last} {event['category']} {date}\n")
                seen.flush()
            if not found:
                time.sleep(0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Test that names are queried in turns, so that no silent server occupies all threads."""

from __future__ import annotations

from ingest.daemon.dns.queue import DnsQueue


def key(selector: str, domain: str) -> str:
    return f"{selector}._domainkey.{domain}"


def taken(queries: DnsQueue) -> list[str]:
    """Return all names that may be queried now."""
    found = []
    while (name := queries.take()) is not None:
        found.append(name)
    return found


def added(*names: str, first: bool = True) -> DnsQueue:
    queries = DnsQueue()
    for name in names:
        queries.add(name, first=first)
    return queries


def test_each_name_is_taken_once_and_in_order() -> None:
    names = [key("s", f"{letter}.example") for letter in "abc"]
    queries = added(*names, *names)
    assert taken(queries) == names
    for name in names:
        queries.add(name, first=True)  # another mail waits for a name that is being queried
    assert taken(queries) == []
    for name in names:
        queries.finish(name)
        queries.add(name, first=True)
    assert taken(queries) == names


def test_few_names_of_one_organisation_are_queried_at_once() -> None:
    """Subdomains count too; each domain below a public suffix is an organisation of its own."""
    many = [key(f"s{number}", f"m{number}.example.org") for number in range(5)]
    queries = added(*many, key("s", "example.co.uk"), key("s", "other.co.uk"))
    assert taken(queries) == [
        many[0],
        key("s", "example.co.uk"),
        key("s", "other.co.uk"),
        many[1],
    ]
    queries.finish(many[1])
    assert taken(queries) == [many[2]]
    queries.finish(many[0])
    queries.finish(many[2])
    assert taken(queries) == many[3:]


def test_organisations_take_turns() -> None:
    queries = added(key("1", "a.example"), key("2", "a.example"), key("1", "b.example"))
    assert taken(queries) == [key("1", "a.example"), key("1", "b.example"), key("2", "a.example")]


def test_the_first_names_of_all_mail_take_precedence() -> None:
    chain = [key("arc", f"hop{number}.example") for number in range(5)]
    queries = added(*chain, first=False)
    queries.add(key("s", "a.example"), first=True)
    queries.add(chain[3], first=True)  # another mail names it among the first
    queries.add(chain[3], first=False)  # and a third mail names it later
    assert taken(queries) == [key("s", "a.example"), chain[3], *chain[:3], chain[4]]


def test_a_name_that_nobody_waits_for_is_not_queried() -> None:
    names = [key("s", f"{letter}.example") for letter in "abcd"]
    queries = added(*names[:3])
    queries.add(names[3], first=False)
    for name in (names[0], names[3], "never.added"):
        queries.remove(name)
    assert taken(queries) == names[1:3]
    queries.remove(names[1])  # it is being queried, and that goes on
    queries.finish(names[1])
    queries.add(names[0], first=True)
    queries.clear()
    assert taken(queries) == []


def test_names_that_are_no_keys() -> None:
    queries = added("", ".", "org", "a._domainkey.", "._domainkey._domainkey.x")
    assert len(taken(queries)) == 5

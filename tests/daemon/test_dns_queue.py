"""Names of keys are asked for in turns, so that nobody's silent server takes all of them."""

from __future__ import annotations

from ingest.daemon.dns.queue import DnsQueue


def key(selector: str, domain: str) -> str:
    return f"{selector}._domainkey.{domain}"


def taken(questions: DnsQueue) -> list[str]:
    """All that may be asked for now."""
    found = []
    while (name := questions.take()) is not None:
        found.append(name)
    return found


def added(*names: str, first: bool = True) -> DnsQueue:
    questions = DnsQueue()
    for name in names:
        questions.add(name, first=first)
    return questions


def test_each_name_is_taken_once_and_in_order() -> None:
    names = [key("s", f"{letter}.example") for letter in "abc"]
    questions = added(*names, *names)
    assert taken(questions) == names
    for name in names:
        questions.add(name, first=True)  # somebody more waits for what is in hand
    assert taken(questions) == []
    for name in names:
        questions.finish(name)
        questions.add(name, first=True)
    assert taken(questions) == names


def test_few_names_of_one_organisation_are_in_hand() -> None:
    """Of subdomains too; a domain below a public suffix is another organisation."""
    many = [key(f"s{number}", f"m{number}.example.org") for number in range(5)]
    questions = added(*many, key("s", "example.co.uk"), key("s", "other.co.uk"))
    assert taken(questions) == [
        many[0],
        key("s", "example.co.uk"),
        key("s", "other.co.uk"),
        many[1],
    ]
    questions.finish(many[1])
    assert taken(questions) == [many[2]]
    questions.finish(many[0])
    questions.finish(many[2])
    assert taken(questions) == many[3:]


def test_organisations_take_turns() -> None:
    questions = added(key("1", "a.example"), key("2", "a.example"), key("1", "b.example"))
    assert taken(questions) == [key("1", "a.example"), key("1", "b.example"), key("2", "a.example")]


def test_the_first_names_of_all_mail_come_before_the_others() -> None:
    chain = [key("arc", f"hop{number}.example") for number in range(5)]
    questions = added(*chain, first=False)
    questions.add(key("s", "a.example"), first=True)
    questions.add(chain[3], first=True)  # another mail has it in front
    questions.add(chain[3], first=False)  # and a third one far behind
    assert taken(questions) == [key("s", "a.example"), chain[3], *chain[:3], chain[4]]


def test_what_nobody_waits_for_is_not_asked_for() -> None:
    names = [key("s", f"{letter}.example") for letter in "abcd"]
    questions = added(*names[:3])
    questions.add(names[3], first=False)
    for name in (names[0], names[3], "never.added"):
        questions.remove(name)
    assert taken(questions) == names[1:3]
    questions.remove(names[1])  # it is in hand, and stays so
    questions.finish(names[1])
    questions.add(names[0], first=True)
    questions.clear()
    assert taken(questions) == []


def test_names_that_are_no_keys() -> None:
    questions = added("", ".", "org", "a._domainkey.", "._domainkey._domainkey.x")
    assert len(taken(questions)) == 5

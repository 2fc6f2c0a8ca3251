"""Test which configuration files are read, and which are refused."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path

import pytest

from ingest.config import file as module
from ingest.config import sockets
from ingest.config.file import load_config
from ingest.config.settings import (
    ApiConfig,
    CatchAll,
    Config,
    ConfigError,
    ConfiguredList,
    ConfiguredMaintainersFile,
    ConfiguredRepository,
    RefState,
    Route,
    ServeConfig,
    ToLists,
    TrustConfig,
    UnknownAddress,
)
from ingest.config.sockets import InetAddress, UnixAddress
from ingest.mail.message import ListName
from tests.support.paths import ROOT

WHOLE = """
database = "postgresql://ingest@/mail"

[lists.linux-test]
list_id = "Test.Lists.Example.ORG"
email = "test@lists.example.org"
addresses = ["test@old.example.org", "test@inbound.example.org"]
name = "Tests of all kinds"
web_url = "https://example.org/"
scm_url = "https://example.org/test.git"
webscm_url = "https://example.org/cgit"
list_archive_url = "https://example.org/archive/"
list_archive_url_format = "https://example.org/archive/{}"
commit_url_format = "https://example.org/c/{}"

[lists.other]
list_id = "other.example.org"

[serve]
lmtp = ["unix:/run/ingest/lmtp.sock", "127.0.0.1:8024"]
smtp = "[::1]:8025"
socket_mode = 0o666
allowed_networks = ["192.0.2.0/24", "2001:db8::/32"]
hostname = "lists.example.org"
max_size = 1000000
max_connections = 10
max_recipients = 5
tls_certificate = "/etc/ingest/cert.pem"
tls_key = "/etc/ingest/key.pem"
recipients = ["all@lists.example.org"]
recipient_delimiter = "+"
metrics = ""
workers = 4
parse_seconds = 5
parse_memory = 500000000
max_waiting = 20
max_waiting_bytes = 100000000
log = "json"
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "ingest.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_setting(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, WHOLE))
    assert config.database == "postgresql://ingest@/mail"
    first, other = config.lists
    assert first == ConfiguredList(
        link_name="linux-test",
        list_id="test.lists.example.org",
        email="test@lists.example.org",
        addresses=("test@old.example.org", "test@inbound.example.org"),
        name="Tests of all kinds",
        web_url="https://example.org/",
        scm_url="https://example.org/test.git",
        webscm_url="https://example.org/cgit",
        list_archive_url="https://example.org/archive/",
        list_archive_url_format="https://example.org/archive/{}",
        commit_url_format="https://example.org/c/{}",
    )
    assert other == ConfiguredList(link_name="other", list_id="other.example.org")
    assert config.serve == ServeConfig(
        lmtp=(UnixAddress("/run/ingest/lmtp.sock"), InetAddress("127.0.0.1", 8024)),
        smtp=(InetAddress("::1", 8025),),
        socket_mode=0o666,
        allowed_networks=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")),
        hostname="lists.example.org",
        max_size=1_000_000,
        max_connections=10,
        max_recipients=5,
        tls_certificate=Path("/etc/ingest/cert.pem"),
        tls_key=Path("/etc/ingest/key.pem"),
        recipients=("all@lists.example.org",),
        recipient_delimiter="+",
        metrics=None,
        workers=4,
        parse_seconds=5.0,
        parse_memory=500_000_000,
        max_waiting=20,
        max_waiting_bytes=100_000_000,
        log="json",
    )
    assert pickle.loads(pickle.dumps(config)) == config  # it is sent to the workers


REPOSITORIES = """
[lists.a]
list_id = "a.example.org"
[[lists.a.repositories]]
path = "/srv/git/a.git"
refs = { "refs/heads/master" = "accepted", "refs/heads/next/*" = "awaiting-upstream" }
[[lists.a.repositories]]
path = "/srv/git/b.git"
refs."refs/*" = "accepted"
"""


def test_the_repositories_of_a_list_keep_the_order_of_their_refs(tmp_path: Path) -> None:
    (configured,) = load_config(written(tmp_path, REPOSITORIES)).lists
    assert configured.repositories == (
        ConfiguredRepository(
            Path("/srv/git/a.git"),
            (
                RefState("refs/heads/master", "accepted"),
                RefState("refs/heads/next/*", "awaiting-upstream"),
            ),
        ),
        ConfiguredRepository(Path("/srv/git/b.git"), (RefState("refs/*", "accepted"),)),
    )


def repositories(settings: str) -> str:
    return f'[lists.a]\nlist_id = "a.example.org"\n[[lists.a.repositories]]\n{settings}\n'


REFUSED_REPOSITORIES = {
    'refs = { "refs/heads/a" = "accepted" }': r"\[lists.a.repositories\]: path is missing",
    'path = "/a.git"': "refs is missing",
    'path = "a.git"\nrefs = {}': "path must be the absolute path of a directory",
    'path = "/a.git"\nrefs = {}': "refs must be a table from refs to states",
    'path = "/a.git"\nrefs = { master = "accepted" }': "it contains 'master'",
    'path = "/a.git"\nrefs = { "refs/heads/v*" = "accepted" }': "it contains 'refs/heads/v",
    'path = "/a.git"\nrefs = { "refs/heads/a..b" = "accepted" }': "it contains 'refs/heads/a",
    'path = "/a.git"\nrefs = { "refs/heads/a" = "Accepted" }': "states in lower case",
    'path = "/a.git"\nrefs = { "refs/heads/a" = "acepted" }': "must be one of new, .*not 'acepted'",
    'path = "/a.git"\nrefs = { "refs/heads/a" = "accepted" }\nbranch = 1': "unknown setting 'bran",
    'path = "/a.git"\nrefs = { "refs/heads/a" = "accepted" }\n[[lists.a.repositories]]\n'
    'path = "/a.git"\nrefs = { "refs/heads/b" = "accepted" }': "that of another repository",
}


@pytest.mark.parametrize("settings", REFUSED_REPOSITORIES)
def test_an_unusable_repository_is_refused(tmp_path: Path, settings: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED_REPOSITORIES[settings]):
        load_config(written(tmp_path, repositories(settings)))


def test_repositories_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    text = '[lists.a]\nlist_id = "a.example.org"\nrepositories = "/a.git"\n'
    with pytest.raises(ConfigError, match="repositories must be tables, each in double brackets"):
        load_config(written(tmp_path, text))


MAINTAINERS_FILE = """
[lists.a.maintainers_file]
repository = "/srv/git/a.git"
ref = "refs/heads/master"
"""


def test_a_maintainers_file_is_a_path_or_in_a_ref(tmp_path: Path) -> None:
    (configured,) = load_config(written(tmp_path, REPOSITORIES + MAINTAINERS_FILE)).lists
    assert configured.maintainers_file == ConfiguredMaintainersFile(
        "MAINTAINERS", Path("/srv/git/a.git"), "refs/heads/master"
    )
    file = tmp_path / "MAINTAINERS"
    file.touch()
    text = f"{REPOSITORIES}\n[lists.a.maintainers_file]\npath = {json.dumps(str(file))}"
    (configured,) = load_config(written(tmp_path, text)).lists
    assert configured.maintainers_file == ConfiguredMaintainersFile(str(file))


REFUSED_MAINTAINERS_FILES = {
    "": r"\[lists.a.maintainers_file\]: path is missing",
    'path = "MAINTAINERS"': "path must be the absolute path of a file",
    'path = "/nonexistent/x"': "can be read, not '/nonexistent/x': No such",
    'path = "/"': "path must be a file that can be read, not '/': Is a directory",
    'path = "/x"\nref = "refs/heads/a"': "ref is set, but repository is not",
    'repository = "/srv/git/a.git"': "ref is missing",
    'repository = "/srv/git/a.git"\nref = "master"': "ref must be the full name of a ref",
    'repository = "/srv/git/a.git"\nref = "refs/heads/*"': "ref must be the full name of a ref",
    'repository = "/srv/git/c.git"\nref = "refs/heads/a"': "is not one of the list's repositories",
    'repository = "/srv/git/a.git"\nref = "refs/heads/a"\npath = "/M"': "without / at its start",
    "file = 1": "unknown setting 'file'",
}


@pytest.mark.parametrize("settings", REFUSED_MAINTAINERS_FILES)
def test_an_unusable_maintainers_file_is_refused(tmp_path: Path, settings: str) -> None:
    text = f"{REPOSITORIES}\n[lists.a.maintainers_file]\n{settings}\n"
    with pytest.raises(ConfigError, match=REFUSED_MAINTAINERS_FILES[settings]):
        load_config(written(tmp_path, text))


def test_every_setting_can_be_read() -> None:
    of_a_list = {field.name for field in fields(ConfiguredList)} - {"link_name"}
    assert set(module._LIST_PARSERS) == of_a_list
    assert set(module._TRUST_PARSERS) == {field.name for field in fields(TrustConfig)}
    assert set(module._SERVE_PARSERS) == {field.name for field in fields(ServeConfig)}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/ingest/lmtp", UnixAddress("/run/ingest/lmtp")),
        ("127.0.0.1:24", InetAddress("127.0.0.1", 24)),
        ("localhost:2525", InetAddress("localhost", 2525)),
        ("[::1]:24", InetAddress("::1", 24)),
        ("*:24", InetAddress("*", 24)),
    ],
)
def test_an_address_is_shown_as_it_is_written(text: str, address: object) -> None:
    assert sockets.parse_socket(text) == address
    assert str(address) == text


def test_the_api_is_served_where_it_is_configured(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "[api]\n")).api == ApiConfig()
    text = """[api]
listen = "unix:/run/ingest/api.sock"
url = "https://patches.example.org/"
max_page = 100
rate = 5
burst = 20
trusted_proxies = ["192.0.2.0/24", "2001:db8::/32"]
public_people = true
states = ["new", "done"]
webhooks = ["https://ci.example.org/hook"]
webhook_secret = "/etc/ingest/secret"
"""
    assert load_config(written(tmp_path, text)).api == ApiConfig(
        listen=UnixAddress("/run/ingest/api.sock"),
        url="https://patches.example.org",
        max_page=100,
        rate=5,
        burst=20,
        trusted_proxies=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")),
        public_people=True,
        states=("new", "done"),
        webhooks=("https://ci.example.org/hook",),
        webhook_secret=Path("/etc/ingest/secret"),
    )
    assert set(module._API_PARSERS) == {field.name for field in fields(ApiConfig)}


def test_every_setting_of_the_api_is_in_its_manual() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    table = text.split("| key | default |")[1].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(module._API_PARSERS)


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "")) == Config()


REFUSED = {
    "api = 1\n": r"api must be a table, \[api\]",
    "[api]\nport = 1\n": r"\[api\]: unknown setting 'port'; known are burst, event_webhooks,",
    '[api]\nurl = "patches.example.org"\n': r"\[api\]: url must be a URL, as in",
    '[api]\ntrusted_proxies = ["192.0.2.1/24"]\n': "trusted_proxies must be a list of networks",
    '[api]\npublic_people = "no"\n': "public_people must be true or false",
    '[api]\nwebhooks = ["https://a/"]\n': "webhooks is set, but webhook_secret is not",
    "[lists\n": "is not TOML",
    b'database = "\xff"\n': "is not TOML",
    "port = 25\n": "unknown setting 'port'; known are api, database, lists, serve and trust",
    "database = 1\n": "database must be a URL in quotes",
    'lists = "a"\n': r"lists must be tables, as in \[lists.linux-ext4\]",
    "[lists]\na = 1\n": r"lists.a must be a table, \[lists.a\]",
    '[[lists]]\nlist_id = "a"\n': "lists must be tables",
    "[lists.a]\n": r"\[lists.a\]: list_id is missing",
    '[lists.a]\nlist_id = ""\n': r"\[lists.a\]: list_id must be .*, not ''",
    "[lists.a]\nlist_id = 3\n": r"\[lists.a\]: list_id must be text in quotes",
    '[lists.a]\nlist_id = "a,b"\n': r"list_id must be .*, without comma .*, not 'a,b'",
    '[lists.a]\nlist_id = "A list <a>"\n': "list_id must be what List-Id says between <>",
    '[lists.a]\nlist_id = "*"\n': r"list_id must be .*, not '\*'",
    '[lists.a]\nlist_id = "a"\nmail = "b"\n': "unknown setting 'mail'; known are addresses,",
    '[lists.a]\nlist_id = "a"\nlink_name = "b"\n': "unknown setting 'link_name'",
    '[lists.a]\nlist_id = "a"\naddresses = "a@b"\n': r"addresses must be a list of texts",
    '[lists.a]\nlist_id = "a"\naddresses = ["a"]\n': r"addresses must be .*, but it contains 'a'",
    "serve = 1\n": r"serve must be a table, \[serve\]",
    "[serve]\nport = 25\n": r"\[serve\]: unknown setting 'port'; known are allowed_networks",
    '[serve]\nlmtp = "run/x"\n': r"lmtp must be unix:/PATH or HOST:PORT.*, not 'run/x'",
    '[serve]\nlmtp = "unix:run/x"\n': ", not 'unix:run/x'",
    "[serve]\nlmtp = 24\n": ", not 24",
    '[serve]\nlmtp = ["127.0.0.1"]\n': ", not '127.0.0.1'",
    '[serve]\nsmtp = "::1:25"\n': ", not '::1:25'",
    '[serve]\nsmtp = "127.0.0.1:65536"\n': ", not '127.0.0.1:65536'",
    f'[serve]\nlmtp = "unix:/{"x" * 107}"\n': "at most 107 bytes",
    '[serve]\nlmtp = "unix:/a\\u0000b"\n': "none of them NUL",
    '[serve]\nlmtp = ":24"\n': ", not ':24'",
    '[serve]\nlmtp = "unix:"\n': ", not 'unix:'",
    '[serve]\nlmtp = "a:-1"\n': ", not 'a:-1'",
    '[serve]\nlmtp = ""\n': "lmtp and smtp are both empty; set one of them to a socket",
    "[serve]\nsocket_mode = 660\n": "socket_mode must be permissions in octal",
    "[serve]\nsocket_mode = true\n": "socket_mode must be permissions in octal",
    '[serve]\nallowed_networks = ["192.0.2.1/24"]\n': "has host bits set",
    '[serve]\nallowed_networks = "192.0.2.0/24"\n': "must be a list of texts",
    "[serve]\nmax_size = 0\n": "max_size must be a whole number above 0",
    "[serve]\nworkers = 1.5\n": "workers must be a whole number above 0, not 1.5",
    "[serve]\nworkers = true\n": "workers must be a whole number above 0, not true",
    "[serve]\nparse_seconds = 0\n": "parse_seconds must be seconds",
    "[serve]\nparse_seconds = nan\n": "parse_seconds must be seconds",
    '[serve]\ntls_key = "key.pem"\n': "tls_key must be the absolute path of a file",
    '[serve]\ntls_certificate = "/c"\n': "tls_certificate is set, but tls_key is not; set both",
    '[serve]\ntls_key = "/key.pem"\n': "tls_key is set, but tls_certificate is not; set both",
    '[serve]\nrecipients = ["a b@c"]\n': "but it contains 'a b@c'",
    '[serve]\nrecipient_delimiter = "++"\n': "recipient_delimiter must be one character",
    '[serve]\nmetrics = "unix:/run/m"\n': "metrics must be",
    '[serve]\nlog = "text"\n': 'log must be "logfmt" or "json"',
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused_is_named(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(ConfigError, match=REFUSED[text]) as refused:
        load_config(written(tmp_path, text))
    assert str(tmp_path / "ingest.toml") in str(refused.value)


def test_two_names_for_one_list_are_refused(tmp_path: Path) -> None:
    text = '[lists.a]\nlist_id = "x.example.org"\n[lists.b]\nlist_id = "X.example.org"\n'
    with pytest.raises(
        ConfigError, match=r"\[lists.b\]: list_id 'x.example.org' is that of \[lists.a\] already"
    ):
        load_config(written(tmp_path, text))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*gone.toml: No such file"):
        load_config(tmp_path / "gone.toml")
    with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory"):
        load_config(tmp_path)


NAMED = (ListName("a.example.org", "a@example.org"), ListName("b.example.org", ""))
ONE = Config(lists=(ConfiguredList("bee", "b.example.org", "b@example.org"),))


def test_without_lists_every_list_is_taken() -> None:
    assert Config().select_lists(NAMED) == NAMED
    assert Config().link_name("linux-test.vger.example.org") == "linux-test"
    assert Config().link_name("plain") == "plain"
    assert Config().link_name(".odd") == ".odd"
    assert Config().find_list("a.example.org") is None


def test_with_lists_only_these_are_taken() -> None:
    assert ONE.select_lists(NAMED) == (ListName("b.example.org", "b@example.org"),)
    assert ONE.select_lists(NAMED[:1]) == ()
    assert ONE.link_name("b.example.org") == "bee"
    assert ONE.find_list("b.example.org") == ONE.lists[0]


def test_an_address_that_mail_names_stands_where_none_is_configured() -> None:
    config = Config(lists=(ConfiguredList("a", "a.example.org"),))
    assert config.select_lists(NAMED) == (ListName("a.example.org", "a@example.org"),)


ROUTED = Config(
    lists=(
        ConfiguredList("a", "a.example.org", "a@example.org", ("a@old.example.org",)),
        ConfiguredList("b", "b.example.org", "B@Example.org", ("both@example.org",)),
        ConfiguredList("c", "c.example.org", addresses=("both@example.org", "c+d@example.org")),
    ),
    serve=ServeConfig(recipients=("All@example.org", "a@example.org"), recipient_delimiter="+"),
)
A, BOTH = ToLists(("a.example.org",)), ToLists(("b.example.org", "c.example.org"))


@pytest.mark.parametrize(
    ("address", "route"),
    [
        ("a@example.org", A),  # a list takes precedence over a catch-all address
        ("A@EXAMPLE.ORG", A),
        ("a@old.example.org", A),
        ("b@example.org", ToLists(("b.example.org",))),
        ("both@example.org", BOTH),
        ("all@example.org", CatchAll()),
        ("a+bounces@example.org", A),
        ("a+b+c@example.org", A),
        ("all+x@example.org", CatchAll()),
        ("c+d@example.org", ToLists(("c.example.org",))),
        ("c+e@example.org", UnknownAddress()),
        ("+a@example.org", UnknownAddress()),
        ("a@example.com", UnknownAddress()),
        ("a", UnknownAddress()),
        ("", UnknownAddress()),
        ("@", UnknownAddress()),
        ("a+", UnknownAddress()),
    ],
)
def test_what_an_address_means(address: str, route: Route) -> None:
    assert ROUTED.route(address) == route


def test_without_lists_every_address_is_taken() -> None:
    assert Config().route("anything") == CatchAll()


def test_a_delimiter_that_is_not_configured_is_part_of_the_name() -> None:
    assert Config(lists=ROUTED.lists).route("a+bounces@example.org") == UnknownAddress()


# --- [trust] ----------------------------------------------------------------------------------


def test_every_setting_of_trust(tmp_path: Path) -> None:
    (tmp_path / "mailmap").write_text("Ada <ada@example.org> <ada@home.example>\n")
    path = tmp_path / "ingest.toml"
    path.write_text(
        "[trust]\ndns = false\n"
        'nameservers = ["127.0.0.53", "192.0.2.1:5353", "::1", "[2001:db8::1]:53"]\n'
        'authserv_ids = ["mx.example.org"]\n'
        'keyrings = ["/etc/keys", "ref:/srv/keys:refs/heads/main:keys"]\n'
        f'mailmap = "{tmp_path}/mailmap"\n'
    )
    assert load_config(path).trust == TrustConfig(
        dns=False,
        nameservers=(
            InetAddress("127.0.0.53", 53),
            InetAddress("192.0.2.1", 5353),
            InetAddress("::1", 53),
            InetAddress("2001:db8::1", 53),
        ),
        authserv_ids=("mx.example.org",),
        keyrings=("/etc/keys", "ref:/srv/keys:refs/heads/main:keys"),
        mailmap="Ada <ada@example.org> <ada@home.example>\n",
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dnssec = true", "unknown setting 'dnssec'"),
        ("dns = 1", "dns must be true or false"),
        ('nameservers = "127.0.0.1"', "nameservers must be a list"),
        ('nameservers = ["ns.example.org"]', "nameservers must be a list of IP addresses"),
        ('nameservers = ["127.0.0.1:99999"]', "nameservers must be a list of IP addresses"),
        ('authserv_ids = "mx"', "authserv_ids must be a list"),
        ('keyrings = ["keys"]', "keyrings must be a list of absolute paths"),
        ('mailmap = "relative"', "mailmap must be the absolute path"),
        ('mailmap = "/there/is/none"', "mailmap must be a file that can be read"),
    ],
)
def test_what_trust_refuses(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "ingest.toml"
    path.write_text(f"[trust]\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_trust_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ingest.toml"
    path.write_text("trust = true\n")
    with pytest.raises(ConfigError, match="trust must be a table"):
        load_config(path)

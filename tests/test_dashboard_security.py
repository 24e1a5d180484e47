"""Who may ask the dashboard, what it answers with, and what it refuses."""

import json
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from dashboard_calls import Page, words
from dashboard_pages import Served
from synthetic_runs import make_run

import nas.dashboard
from nas.dashboard import create_app
from nas.dashboard.security import Access
from nas.dashboard.source import Snapshot
from nas.dashboard.state import PARAMETERS, VIEWS
from nas.records import Outcome, open_run

HOSTILE = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
LOCAL = {"base_url": "http://127.0.0.1:8050"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("results"), "first", trials=12)


@pytest.fixture(scope="module")
def app(run):
    return create_app([run])


@pytest.fixture
def client(app):
    return app.server.test_client()


def ask(client, output, inputs, state=(), **headers):
    """Call a callback as the page does: each input and state is (id, property, value)."""
    items = [
        [{"id": name, "property": key, "value": value} for name, key, value in part]
        for part in (inputs, state)
    ]
    outputs = [
        dict(zip(("id", "property"), one.rsplit(".", 1), strict=True))
        for one in output.strip(".").split("...")
    ]
    body = {
        "output": output,
        "outputs": outputs if output.startswith("..") else outputs[0],
        "inputs": items[0],
        "state": items[1],
        "changedPropIds": [f"{inputs[0][0]}.{inputs[0][1]}"],
    }
    return client.post("/_dash-update-component", json=body, headers=headers, **LOCAL)


def look(search, path="/architecture"):
    return [
        ("address", "pathname", path),
        ("address", "search", search),
        ("version", "data", "1"),
        ("theme", "data", "light"),
    ]


COMMANDS = "architecture-commands.children"


# ------------------------------------------------------------------------------------- headers


@pytest.mark.parametrize("path", ["/", "/front", "/status", "/theme.css", "/_dash-layout"])
def test_every_answer_carries_the_policy(client, path):
    answer = client.get(path, **LOCAL)
    policy = answer.headers["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in rules["script-src"]
    assert rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Server" not in answer.headers


def test_the_page_has_no_script_but_those_that_the_policy_names(client):
    page = client.get("/", **LOCAL).text
    inline = re.findall(r"<script(?![^>]*\bsrc=)([^>]*)>", page)
    # Dash's start, whose hash is in the policy, and its settings, which are data.
    assert sorted(inline) == [
        ' id="_dash-config" type="application/json"',
        ' id="_dash-renderer" type="application/javascript"',
    ]
    assert not re.findall(r"https?://", page)


def test_nothing_is_in_debug_mode(app, client):
    settings = json.loads(re.search(r'application/json">(.*?)</script>', client.get("/").text)[1])
    assert not settings["ui"]
    assert not settings["hot_reload"] if "hot_reload" in settings else True
    assert not app.server.debug
    assert client.get("/_mcp", **LOCAL).mimetype == "text/html", "no such service: just the page"


# ------------------------------------------------------------------------------- who may ask


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8050", 200),
        ("localhost:8050", 200),
        ("[::1]:8050", 200),
        ("evil.example", 421),
        ("localhost.evil.example:8050", 421),
        ("127.0.0.1.evil.example", 421),
        ("10.0.0.7:8050", 421),
        ("", 421),
    ],
)
def test_only_our_own_names_are_answered(client, host, status):
    # A page of another site that points its name at this machine sends that name.
    assert client.get("/status", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:8050", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_other_sites_can_ask_for_nothing(client, headers, status):
    answer = ask(client, COMMANDS, look("?run=first&trial=0"), **headers)
    assert answer.status_code == status


def test_beyond_this_machine_a_token_is_needed(run):
    access = Access.of("0.0.0.0", 8050)
    client = create_app([run], access).server.test_client()
    there = {"base_url": "http://10.0.0.7:8050"}
    assert len(access.token) >= 32
    for path in ("/", "/status", "/_dash-layout", "/assets/nas.css", "/diagram.svg?trial=0"):
        assert client.get(path, **there).status_code == 401
    assert client.get(f"/?token={access.token[:-1]}x", **there).status_code == 401
    assert client.get("/?token=%C3%A9", **there).status_code == 401
    assert ask(client, COMMANDS, look("?trial=0")).status_code == 401
    client.set_cookie(access.cookie_name, access.token, domain="10.0.0.7")
    assert client.get("/", **there).status_code == 401, "the cookie is not the token"

    answer = client.get(f"/front?token={access.token}&trial=3", **there)
    assert (answer.status_code, answer.location) == (302, "/front?trial=3")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert access.token not in cookie
    assert client.get("/status", **there).status_code == 200
    assert client.get("/status", headers={"Host": "evil.example"}).status_code == 421


def test_loopback_needs_no_token():
    for host in ("127.0.0.1", "localhost", "::1", "127.0.0.2"):
        assert Access.of(host, 1).token == ""
    for host in ("0.0.0.0", "::", "10.0.0.7", "example.org"):
        assert Access.of(host, 1).token


def test_tokens_differ_from_start_to_start():
    assert Access.of("0.0.0.0", 1).token != Access.of("0.0.0.0", 1).token


# -------------------------------------------------------------------------- hostile requests


PATHS = [
    "/assets/../app.py",
    "/assets/%2e%2e/app.py",
    "/assets/..%2fapp.py",
    "/assets/....//app.py",
    "/assets//etc/passwd",
    "/_dash-component-suites/dash/../../../../etc/passwd",
    "/_dash-component-suites/nas/dashboard/app.py",
    "/_dash-component-suites/os/path",
    "/diagram.svg?run=../../../etc/passwd&trial=0/../../x",
    "/diagram.svg?run=first&trial=../../etc/passwd",
    "/diagram.svg?run=first&trial=999",
    "/status?path=../../etc/passwd&run=%2e%2e%2f%2e%2e",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out(client, path):
    answer = client.get(path, **LOCAL)
    assert b"root:" not in answer.data
    assert b"import" not in answer.data[:2000] or answer.mimetype == "text/html"
    assert answer.mimetype in ("text/html", "text/plain", "application/json", "image/svg+xml")


OUT = ("../../../../etc/passwd", "/etc/passwd", "..%2f..%2fetc%2fpasswd\0")
ROUTES = ("/status", "/diagram.svg", "/download/trials.csv", "/download/trials.parquet", "/front")


def all_parameters():
    """Every parameter that an address or a route of ours reads."""
    return [*PARAMETERS, "run", "trial", "x", "scale", "budget", "path", "theme", "sort", "filter"]


def tree(path):
    return {one: one.stat().st_size for one in path.rglob("*") if one.is_file()}


@pytest.mark.parametrize("route", ROUTES)
def test_no_parameter_leads_out_or_writes(run, client, route):
    before, opened = tree(run.path.parent), []
    for name in all_parameters():
        for value in OUT:
            with watched_files(opened):
                answer = client.get(route, query_string={"run": "first", name: value}, **LOCAL)
            assert answer.status_code in (200, 400, 404), (name, value)
            assert b"root:" not in answer.data
    assert not [path for path in opened if "passwd" in path]
    assert tree(run.path.parent) == before


@pytest.mark.parametrize("view", VIEWS)
def test_no_callback_opens_what_an_address_names(run, view):
    before, opened = tree(run.path.parent), []
    given = dict.fromkeys([*PARAMETERS, "trial", "x", "scale", "budget"], OUT[0])
    for name in ("first", OUT[0]):
        page = Page([run], f"/{view}?{urlencode({**given, 'run': name})}")
        for output in page.outputs(view):
            with watched_files(opened):
                page.ask(output.strip(".").split("...")[0])
    assert not [path for path in opened if "passwd" in path]
    assert tree(run.path.parent) == before


WATCHED = []


def _watch(event, arguments):
    if event == "open" and WATCHED:
        WATCHED[-1].append(str(arguments[0]))


sys.addaudithook(_watch)


@contextmanager
def watched_files(opened):
    """Collect the path of every file that Python opens."""
    WATCHED.append(opened)
    try:
        yield
    finally:
        WATCHED.pop()


def test_the_watch_sees_what_is_opened(tmp_path):
    opened = []
    (tmp_path / "passwd").touch()
    with watched_files(opened):
        (tmp_path / "passwd").read_text()
    assert opened == [str(tmp_path / "passwd")]


BODIES = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b'{"output": "x.y", "inputs": []}',
    b'{"output": "..//etc/passwd", "outputs": {}, "inputs": [], "state": []}',
    b"\xff\xfe",
    b'{"output":' * 5000,
]


@pytest.mark.parametrize("body", BODIES)
def test_a_request_that_is_none_of_ours_breaks_nothing(client, body):
    answer = client.post(
        "/_dash-update-component", data=body, content_type="application/json", **LOCAL
    )
    assert answer.status_code in (400, 415, 500)
    assert b"Traceback" not in answer.data
    assert b"/nas/" not in answer.data
    assert client.get("/status", **LOCAL).status_code == 200


VALUES = [None, True, 3, -1, 1e308, "x" * 5000, "../../etc/passwd", [], {}, [[1]], {"run": 7}]


@pytest.mark.parametrize("value", VALUES)
def test_inputs_of_any_kind_are_taken_for_what_they_are(client, value):
    for position in range(4):
        inputs = look("?run=first&trial=0")
        name, key, _ = inputs[position]
        inputs[position] = (name, key, value)
        assert ask(client, COMMANDS, inputs).status_code in (200, 204)


def test_the_brush_of_a_request_is_not_trusted(client):
    output = "..front-figure.figure...front-drawn.children...front-fresh.data.."
    for brush in (*VALUES, {"run": "first", "numbers": ["x", None, 10**30, 2]}):
        inputs = [
            ("front-about", "data", "x"),
            ("version", "data", "1"),
            ("theme", "data", "dark"),
            ("brush", "data", brush),
        ]
        state = [("address", "pathname", "/front"), ("address", "search", "?run=first")]
        assert ask(client, output, inputs, state).status_code == 200


def test_hostile_words_of_a_run_stay_words(tmp_path):
    """Names and reasons go to the page as JSON text, drawings escape them."""

    def outcome(number, error, curve):
        return Outcome("failed", reason=HOSTILE) if number == 1 else Outcome("complete", error, 8)

    made = make_run(tmp_path, HOSTILE.replace("/", ""), trials=4, outcome=outcome, sampler=HOSTILE)
    client = create_app([open_run(made.path)]).server.test_client()
    for path in ("/", "/diagram.svg?trial=1"):
        page = client.get(path, **LOCAL).text
        assert "<img src=x" not in page
        assert "<script>window" not in page
    answer = client.get("/diagram.svg?trial=1", **LOCAL)
    assert answer.mimetype == "image/svg+xml"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    output = "..front-figure.figure...front-drawn.children...front-fresh.data.."
    inputs = [
        ("front-about", "data", "x"),
        ("version", "data", "1"),
        ("theme", "data", "light"),
        ("brush", "data", None),
    ]
    state = [("address", "pathname", "/front"), ("address", "search", "")]
    figure = ask(client, output, inputs, state).json["response"]["front-figure"]["figure"]
    texts = [text for trace in figure["data"] for text in trace.get("text") or []]
    assert [text for text in texts if "onerror" in text]
    assert not [text for text in texts if "<img" in text or "<script" in text]


# --------------------------------------------------------------------------- many at a time


def test_200_clients_at_once_are_all_answered(run):
    with Served([run]) as served:
        addresses = [
            "/status",
            "/",
            "/theme.css",
            "/diagram.svg?trial=0",
            "/download/trials.csv?run=first",
        ]
        gate = threading.Barrier(200)

        def visit(index):
            gate.wait()
            try:
                with urlopen(Request(served.url + addresses[index % 5]), timeout=120) as answer:
                    return answer.status, len(answer.read())
            except HTTPError as error:
                return error.code, 0

        with ThreadPoolExecutor(200) as pool:
            answers = list(pool.map(visit, range(200)))
    assert [status for status, _ in answers] == [200] * 200
    # Whoever asked for the same was given the same, but for a number of Dash's own in each page;
    # what is said of a run changes while it is read.
    sizes = {address: {size for _, size in answers[i::5]} for i, address in enumerate(addresses)}
    del sizes["/status"]
    assert {address: few for address, few in sizes.items() if len(few) > 1} == {}


def test_the_first_page_has_all_scripts_and_styles(run):
    app = create_app([run])

    def gather():
        pytest.fail("gathered at a request: others that come meanwhile get pages without")

    app._walk_assets_directory = gather
    page = app.server.test_client().get("/", **LOCAL).text
    assets = [one.name for one in Path(nas.dashboard.__file__).parent.glob("assets/*.[cj]s*")]
    assert len(assets) > 10
    assert [name for name in assets if f"assets/{name}?" not in page] == []


def test_half_a_run_is_never_given_for_the_whole(run, monkeypatch):
    """While the first reading lasts, a file is refused, and a drawing; and views say so."""
    page = Page([run], "/trials")
    read, snapshot = page.source.snapshot, page.source.snapshot("first")
    unread = Snapshot("first", snapshot.run, "0", loading="reading trials: 3 of 12")
    monkeypatch.setattr(page.source, "snapshot", lambda name: unread)
    addresses = [f"/download/trials.{kind}?run=first" for kind in ("csv", "parquet")]
    for address in (*addresses, "/diagram.svg?trial=0"):
        answer = page.client.get(address, **LOCAL)
        assert answer.status_code == 503, address
        assert "reading trials: 3 of 12" in answer.text
        assert int(answer.headers["Retry-After"]) > 0
    assert "The run is being read" in words(page.part("view.children"))
    assert not unread._computed, "nothing is read by those who ask"
    monkeypatch.setattr(page.source, "snapshot", read)
    assert "The run is being read" not in words(
        page.part("view.children", changed=["version.data"], shown_view__data="")
    )
    for address in addresses:
        assert page.client.get(address, **LOCAL).status_code == 200

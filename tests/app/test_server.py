"""The app as a real server: who may talk to it, what it gives away, and what it never says."""

from __future__ import annotations

import http.client
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import pytest
from helpers.load.protocol import Tab
from streamlit.proto.Exception_pb2 import Exception as ExceptionProto
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from workbench.benchmarks import app_browser
from workbench.runs import write_text

REPOSITORY = Path(__file__).resolve().parents[2]
SECRET = "not-for-the-page"
UNSAFE = """\
[server]
address = "0.0.0.0"
allowedHosts = ["*"]
enableCORS = false
enableXsrfProtection = false
enableStaticServing = true
enableAgentApi = true
maxUploadSize = 4000
[client]
showErrorDetails = "full"
"""


class Ear(Tab):
    """A tab that keeps all it is told.

    Attributes:
        heard: What was said, as text.
        exceptions: Those drawn on the page.
        session: Its id.
    """

    def __init__(self, address: str) -> None:
        self.heard = self.session = ""
        self.exceptions: list[ExceptionProto] = []
        super().__init__(address)

    def receive(self) -> ForwardMsg:
        message = super().receive()
        self.heard += str(message)
        self.session = self.session or message.new_session.initialize.session_id
        if message.delta.new_element.WhichOneof("type") == "exception":
            self.exceptions.append(message.delta.new_element.exception)
        return message


class Place(NamedTuple):
    """A server, and where its runs lie.

    Attributes:
        address: Of the server.
        folder: Holds "runs", and beside it what is private.
        log: What the server says.
    """

    address: str
    folder: Path
    log: Path


def private_run(path: Path, source: Path) -> None:
    """A run that says the secret wherever it is shown."""
    shutil.copytree(source, path)
    config = path / "config.yaml"
    write_text(config, config.read_text("utf-8").replace("synthetic", SECRET))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, synthetic_runs: Path) -> Iterator[Place]:
    """The app on the run "demo", beside which lie links and files that are none of its business."""
    folder = tmp_path_factory.mktemp("place")
    runs = folder / "runs"
    shutil.copytree(synthetic_runs / "demo", runs / "demo")
    private_run(folder / "private", synthetic_runs / "demo")
    (runs / "linked").symlink_to(folder / "private")
    shutil.copytree(synthetic_runs / "demo", runs / "holed")
    picture = next((runs / "holed" / "evaluation/val/images").iterdir())
    picture.unlink()
    picture.symlink_to(folder / "private" / "evaluation/val/images" / picture.name)
    (folder / "secret.txt").write_text(SECRET)
    with app_browser.serve(runs, folder / "server.log", app_browser.free_port()) as server:
        yield Place(server.address, folder, folder / "server.log")


@pytest.fixture(scope="module")
def misplaced(tmp_path_factory: pytest.TempPathFactory, synthetic_runs: Path) -> Iterator[Place]:
    """The app of another checkout whose pages fail, started where unsafe settings lie."""
    folder = tmp_path_factory.mktemp("misplaced")
    shutil.copytree(REPOSITORY / "app", folder / "checkout" / "app")
    page = folder / "checkout" / "app" / "views" / "memory.py"
    text = page.read_text("utf-8")
    fails = f'    st.title("Memory")\n    raise RuntimeError("{SECRET}")\n'
    assert '    st.title("Memory")\n' in text
    page.write_text(text.replace('    st.title("Memory")\n', fails))
    settings = folder / "elsewhere" / ".streamlit" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(UNSAFE)
    with app_browser.serve(
        synthetic_runs,
        folder / "server.log",
        app_browser.free_port(),
        checkout=folder / "checkout",
        start_in=folder / "elsewhere",
    ) as server:
        yield Place(server.address, folder, folder / "server.log")


@pytest.fixture(params=["place", "misplaced"])
def either(request: pytest.FixtureRequest) -> Place:
    """A server started as one should, and one started elsewhere."""
    found: Place = request.getfixturevalue(request.param)
    return found


def ask(
    place: Place, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    """What the server answers: status, content, headers with small names."""
    where = urlsplit(place.address)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body=body, headers=named)
    answer = connection.getresponse()
    found = answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
    connection.close()
    return found


def listening(port: int) -> list[str]:
    """Addresses that are listened on at a port, as the kernel writes them (Linux)."""
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, at = local.rpartition(":")
            if int(at, 16) == port and state == "0A":
                found.append(address)
    return found


def test_only_this_machine_can_connect(either: Place) -> None:
    port = urlsplit(either.address).port
    assert port is not None
    addresses = listening(port)
    assert addresses and set(addresses) <= {"0100007F", "0" * 24 + "01000000"}


TRICKS = (
    "/{}",
    "/../{}",
    "/..%2f{}",
    "/%2e%2e/{}",
    "/media/../{}",
    "/media/..%2f..%2f{}",
    "/media/{}",
    "/media//{}",
    "/static/../../{}",
    "/static/%2e%2e/%2e%2e/{}",
    "/static/..%252f..%252f{}",
    "/static/..\\..\\{}",
    "/app/static/{}",
    "/app/static/../{}",
    "/app/static/..%2f..%2f{}",
    "/component/{}",
    "/component/streamlit/../../{}",
    "/_stcore/bidi-components/workbench_viewer/../../{}",
    "/_stcore/bidi-components/workbench_viewer/..%2f..%2f{}",
    "/_stcore/upload_file/a/..%2f..%2f{}",
    "/_stcore/../{}",
    "/%00/../{}",
)


@pytest.mark.parametrize("trick", TRICKS)
def test_no_path_leads_to_a_file(either: Place, trick: str) -> None:
    """Neither of the machine, nor of the app, nor raw from a run."""
    wanted = {
        "secret.txt": SECRET.encode(),
        "runs/demo/config.yaml": b"embedding_dim",
        "main.py": b"Entry point of the app",
        "app/main.py": b"Entry point of the app",
        ".streamlit/config.toml": b"allowedHosts",
    }
    deep = "../" * 12
    for name, content in wanted.items():
        for way in (name, f"{either.folder}/{name}".lstrip("/"), f"{deep}{either.folder}/{name}"):
            for path in (trick.format(way), trick.format(quote(way, safe=""))):
                status, said, _ = ask(either, path)
                assert content not in said, path
                assert status in (400, 403, 404, 405) or b"<title>Streamlit</title>" in said, path


@pytest.mark.parametrize(
    "name",
    [
        *("../private", "../../etc", "..", ".", "/etc", "demo/../../private", "demo/../../../etc"),
        *("%2e%2e%2fprivate", "..\\private", "\x00", "demo\x00", "linked", "holed", "<b>x</b>"),
        "{}/private",
    ],
)
def test_no_name_in_the_address_opens_another_folder(place: Place, name: str) -> None:
    name = name.format(place.folder)
    with Ear(place.address) as tab:
        tab.open("", f"run={quote(name, safe='')}")
        assert tab.trouble == []
        assert tab.query == "run=demo"
        assert SECRET not in tab.heard
        assert "There is no run" in tab.heard
        for page in ("predictions", "classes", "vocabulary", "class_map"):
            bad = quote(name, safe="")
            tab.go(page, f"run=demo&image={bad}&split={bad}&class={bad}&compare={bad}")
            assert tab.trouble == []
            assert "run=demo" in tab.query and f"image={bad}" not in tab.query
        assert SECRET not in tab.heard


def test_what_leads_out_is_said(place: Place) -> None:
    with Ear(place.address) as tab:
        tab.open("", "run=demo")
    assert "**linked** is not shown: the run itself leads out" in tab.heard
    assert "**holed** is not shown: evaluation/val/images/" in tab.heard


def form(content: bytes) -> tuple[bytes, str]:
    """An upload as the browser sends it: body and its type."""
    head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    return head + content + b"\r\n--edge--\r\n", "multipart/form-data; boundary=edge"


def token(place: Place) -> str:
    """What the server gives a browser to show with each upload."""
    cookie = ask(place, "/_stcore/health")[2]["set-cookie"].partition(";")[0]
    name, _, value = cookie.partition("=")
    assert name == "_streamlit_xsrf"
    return value


def test_an_upload_needs_the_token(either: Place) -> None:
    body, kind = form(b"picture")
    good, other = token(either), token(either)
    cookie = f"_streamlit_xsrf={good}"
    with Ear(either.address) as tab:
        tab.open("memory")
        path = f"/_stcore/upload_file/{tab.session}/one"

        def status(method: str = "PUT", **headers: str) -> int:
            return ask(either, path, method, body, Content_Type=kind, **headers)[0]

        assert good != other
        assert status() == 403
        assert status(Cookie=cookie) == 403
        assert status(X_Xsrftoken=good) == 403
        assert status(X_Xsrftoken=other, Cookie=cookie) == 403
        assert status("DELETE", Cookie=cookie) == 403
        assert status(X_Xsrftoken=good, Cookie=cookie) == 204
        assert status("DELETE", X_Xsrftoken=good, Cookie=cookie) == 204
        path = "/_stcore/upload_file/never-was/one"
        assert status(X_Xsrftoken=good, Cookie=cookie) == 400


def test_an_upload_may_not_be_large(either: Place) -> None:
    """What is refused by its size is not read: the body never comes."""
    good = token(either)
    with Ear(either.address) as tab:
        tab.open("memory")
        where = urlsplit(either.address)
        for size, status in ((41 << 20, 413), (10**15, 413)):
            connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=30)
            connection.putrequest("PUT", f"/_stcore/upload_file/{tab.session}/one")
            connection.putheader("Content-Type", form(b"")[1])
            connection.putheader("Content-Length", str(size))
            connection.putheader("Cookie", f"_streamlit_xsrf={good}")
            connection.putheader("X-Xsrftoken", good)
            connection.endheaders()
            assert connection.getresponse().status == status
            connection.close()


@pytest.mark.parametrize("path", ["/", "/_stcore/health", "/_stcore/host-config", "/media/x"])
def test_no_other_site_may_read(either: Place, path: str) -> None:
    headers = ask(either, path, Origin="https://evil.example")[2]
    assert headers.get("access-control-allow-origin") in (None, either.address)


def test_no_other_site_may_open_a_session(either: Place) -> None:
    port = urlsplit(either.address).port

    def opens(host: str, origin: str) -> bool:
        address = f"ws://{host}:{port}/_stcore/stream"
        with socket.create_connection(("localhost", port or 0), timeout=30) as plug:
            try:
                with connect(address, sock=plug, origin=Origin(origin), proxy=None):
                    return True
            except InvalidStatus as refused:
                assert refused.response.status_code == 403
                return False

    assert opens("localhost", either.address)
    assert opens("127.0.0.1", f"http://127.0.0.1:{port}")
    assert not opens("localhost", "https://evil.example")
    assert not opens("localhost", "null")
    # A site whose name was made to mean this machine: to the browser both are the same.
    assert not opens("evil.example", f"http://evil.example:{port}")


def test_programs_may_not_drive_the_app(either: Place) -> None:
    answer = ask(either, "/_stcore/agent/interact", "POST", b"{}", Content_Type="application/json")
    assert answer[0] in (403, 404)


def test_a_page_that_fails_gives_nothing_away(misplaced: Place) -> None:
    with Ear(misplaced.address) as tab:
        tab.open("memory")
        assert len(tab.trouble) == len(tab.exceptions) == 1
        for shown in tab.exceptions:
            text = str(shown)
            assert SECRET not in text and "RuntimeError" not in text
            assert list(shown.stack_trace) == [] and str(misplaced.folder) not in text
        assert SECRET not in tab.heard
        tab.go("classes")
        assert tab.trouble == []
    log = misplaced.log.read_text("utf-8")
    assert "Traceback" in log and SECRET in log  # it is not lost


def test_pages_that_do_not_fail_say_nothing_to_the_log(place: Place, synthetic_runs: Path) -> None:
    with Ear(place.address) as tab:
        tab.open("", "run=demo")
        for page in tab.pages:
            tab.go(page)
            assert tab.trouble == []
        assert len(tab.pages) == 7
    assert "Traceback" not in place.log.read_text("utf-8")

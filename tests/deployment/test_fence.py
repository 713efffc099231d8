"""What the proxy lets through and what it refuses: settings, text, and the real nginx before a stand-in."""

import http.client
import json
import re
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Network
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from provisioning import done, refused
from pydantic import ValidationError
from throwaway import Authority, authority, free_port

from deploy.coordinator import Coordinator
from deploy.proxy import Fence, fence_of, nginx_conf, proxy_running
from deploy.proxy.render import ELSEWHERE, PLAIN_HTTP, REFUSALS
from lego_core.errors import RunError

FILES = {"certificate": Path("/etc/x.pem"), "key": Path("/etc/x.key"), "superlink_ca": Path("/etc/ca.crt")}
needs_nginx = pytest.mark.skipif(
    shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is None,
    reason="nginx is not installed here: apt-get install nginx-light",
)


def fence(**values: object) -> Fence:
    return Fence.model_validate({"host": "coordinator.example.org", **FILES, **values})


def directives(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def test_one_place_alone_is_passed_on_and_the_rest_is_refused() -> None:
    lines = directives(nginx_conf(fence()))

    assert [line for line in lines if line.startswith("proxy_pass")] == [
        "proxy_pass https://superlink/v1/fleet/;"
    ]
    assert lines[lines.index("location / {") + 1] == "return 403;"


def test_the_superlinks_certificate_is_checked() -> None:
    lines = directives(nginx_conf(fence(superlink_name="superlink.internal")))

    assert "proxy_ssl_verify on;" in lines
    assert "proxy_ssl_name superlink.internal;" in lines
    assert 'proxy_ssl_trusted_certificate "/etc/ca.crt";' in lines


def test_bodies_stay_in_memory_and_queries_out_of_the_log() -> None:
    text = nginx_conf(fence(body_megabytes=24))

    assert "client_max_body_size 24m;" in text
    assert "client_body_buffer_size 24m;" in text
    assert "proxy_max_temp_file_size 0;" in text
    assert not any(word in text for word in ("$request ", "$request_uri", "$query_string", "$http_referer"))


def test_networks_are_named_or_anyone_may_knock() -> None:
    named = directives(nginx_conf(fence(allowed=("192.0.2.0/24", "2001:db8::/32"))))

    start = named.index("geo $from_elsewhere {")
    assert named[start + 1 : start + 5] == ["default 1;", "192.0.2.0/24 0;", "2001:db8::/32 0;", "}"]
    assert "if ($from_elsewhere) {" in named
    assert "$from_elsewhere" not in nginx_conf(fence())


def test_every_refusal_is_a_sentence_in_flowers_form() -> None:
    for code, sentence in REFUSALS.items():
        assert sentence.endswith("."), code


@given(st.text(min_size=1, max_size=60))
def test_no_host_can_speak_nginxs_language(host: str) -> None:
    try:
        settings = fence(host=host)
    except ValidationError:
        return
    line = next(line for line in directives(nginx_conf(settings)) if line.startswith("server_name"))

    assert line == f"server_name {host};"
    assert not set(host) & set(" ;{}\"'$\\\n")


@pytest.mark.parametrize("path", ['/etc/a";', "/etc/$host.pem", "/etc/a\nb", "/etc/{a}", "relative.pem"])
def test_no_path_can_speak_nginxs_language(path: str) -> None:
    with pytest.raises(ValidationError, match="nginx"):
        fence(key=path)


def test_a_limit_below_flowers_piece_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than 5"):
        fence(body_megabytes=5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A coordinator's folder."""
    done("init", tmp_path / "liver", "--name", "liver", "--host", "fl.example.org", "--port", 8444)
    return tmp_path / "liver"


def test_the_proxy_of_a_federation_follows_from_its_folder(folder: Path) -> None:
    made = fence_of(Coordinator.open(folder))

    assert (made.host, made.port, made.superlink_port) == ("fl.example.org", 8444, 8500)
    assert (made.certificate, made.key) == (folder / "server.pem", folder / "secrets" / "server.key")
    assert made.superlink_ca == folder / "ca.crt"


def test_its_own_settings_count_before_the_folder(folder: Path) -> None:
    (folder / "proxy.toml").write_text('allowed = ["192.0.2.0/24"]\nport = 443\n')

    made = fence_of(Coordinator.open(folder))

    assert (made.port, made.allowed) == (443, (IPv4Network("192.0.2.0/24"),))


def test_every_wrong_key_of_the_file_is_named(folder: Path) -> None:
    (folder / "proxy.toml").write_text('host = "a b"\nsuperlnk-port = 1\n')

    said = refused("proxy", folder)

    assert re.search(r"proxy\.toml: .*'host'.*superlnk-port", said)


def test_a_file_that_is_no_toml_is_refused(folder: Path) -> None:
    (folder / "proxy.toml").write_text("host = ")

    assert "proxy.toml cannot be read as TOML" in refused("proxy", folder)


def test_the_command_writes_what_nginx_reads(folder: Path) -> None:
    said = done("proxy", folder)

    assert f"nginx -p {folder}/proxy" in said
    assert (folder / "proxy" / "nginx.conf").read_text() == nginx_conf(fence_of(Coordinator.open(folder)))


# With the real nginx, before a server that stands in for the SuperLink and notes what reaches it.


class Seen(BaseHTTPRequestHandler):
    """Says 200 to everything, and writes down the path."""

    protocol_version = "HTTP/1.1"
    paths: list[str]

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.rfile.read(length)
        self.paths.append(self.path)
        body = str(length).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815 - http.server's name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Be quiet."""


@contextmanager
def stand_in(ca: Authority, *, host: str = "localhost", days: int = 2) -> Iterator[tuple[int, list[str]]]:
    """A TLS server in the place of the SuperLink: its port, and the paths it was asked for."""
    certificate, key = ca.issue(f"stand-in-{host}", host=host, days=days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    paths: list[str] = []
    handler = type("Noting", (Seen,), {"paths": paths})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1], paths
        finally:
            server.shutdown()
            thread.join()


def local_fence(ca: Authority, *, superlink_port: int, **values: object) -> Fence:
    certificate, key = ca.issue("proxy")
    return fence(
        host="localhost", listen="127.0.0.1", port=free_port(), certificate=certificate, key=key,
        superlink_ca=ca.file, superlink_port=superlink_port, **values,
    )  # fmt: skip


def ask(ca: Authority, port: int, path: str, *, method: str = "POST", body: bytes = b"") -> tuple[int, str]:
    """One call through TLS: status, and the sentence or the body. No call may hang longer than 10 seconds."""
    context = ssl.create_default_context(cafile=str(ca.file))
    connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=context)
    try:
        connection.request(method, path, body=body)
        answer = connection.getresponse()
        assert answer.getheader("Server") in {"nginx", None}
        return answer.status, sentence(answer.read().decode())
    finally:
        connection.close()


def sentence(text: str) -> str:
    return json.loads(text)["detail"] if text.startswith("{") else text


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def fenced(
    ca: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Fence, list[str], Path]]:
    folder = tmp_path_factory.mktemp("proxy")
    with stand_in(ca) as (port, paths):
        settings = local_fence(ca, superlink_port=port)
        with proxy_running(settings, folder=folder):
            yield settings, paths, folder


@needs_nginx
def test_calls_of_supernodes_pass(ca: Authority, fenced: tuple[Fence, list[str], Path]) -> None:
    settings, paths, _ = fenced
    paths.clear()

    assert ask(ca, settings.port, "/v1/fleet/pull-messages?a=secret", body=b"x" * 6_000_000) == (
        200,
        "6000000",
    )
    assert paths == ["/v1/fleet/pull-messages"]


@needs_nginx
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
@pytest.mark.parametrize(
    "path",
    [
        "/", "/health", "/openapi.json", "/docs", "/v1/control/list-runs", "/v1/runtime/acquire-task",
        "/v1/responses", "/v1/fleet", "/V1/FLEET/x", "/v1/fleetx", "/v1/fleet/../control/list-runs",
        "/v1/fleet/%2e%2e/control/list-runs", "/v1/fleet/..%2fcontrol/list-runs", "//v1//control/list-runs",
        "/v1/control/list-runs%3f/v1/fleet/", "/v1/control/list-runs#/../../fleet/x", "/v1/./runtime/x",
    ],
)  # fmt: skip
def test_everything_else_is_refused_with_a_sentence(
    ca: Authority, fenced: tuple[Fence, list[str], Path], path: str, method: str
) -> None:
    settings, paths, _ = fenced
    paths.clear()

    assert ask(ca, settings.port, path, method=method) == (403, REFUSALS[403])
    assert paths == []


@needs_nginx
@pytest.mark.parametrize("path", ["/v1/control/../fleet/x", "/v1/runtime/%2e%2e/fleet/x", "//v1/fleet//x"])
def test_the_path_that_was_judged_is_the_path_that_is_sent_on(
    ca: Authority, fenced: tuple[Fence, list[str], Path], path: str
) -> None:
    settings, paths, _ = fenced
    paths.clear()

    assert ask(ca, settings.port, path)[0] == 200
    assert paths == ["/v1/fleet/x"]


@needs_nginx
def test_only_post_passes(ca: Authority, fenced: tuple[Fence, list[str], Path]) -> None:
    assert ask(ca, fenced[0].port, "/v1/fleet/x", method="GET") == (403, REFUSALS[403])


@needs_nginx
def test_a_body_over_the_limit_is_refused(ca: Authority, fenced: tuple[Fence, list[str], Path]) -> None:
    settings, _, _ = fenced
    raw = f"POST /v1/fleet/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {17 << 20}\r\n\r\n"

    assert say(settings.port, raw, tls=ca) == ("413", REFUSALS[413])


@needs_nginx
def test_plain_http_is_told_so(fenced: tuple[Fence, list[str], Path]) -> None:
    raw = "POST /v1/fleet/activate-node HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"

    assert say(fenced[0].port, raw) == ("400", REFUSALS[PLAIN_HTTP])


@needs_nginx
@pytest.mark.parametrize(
    "raw", ["GARBAGE\r\n\r\n", "POST /v1/fleet/x HTTP/1.1\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"]
)
def test_what_cannot_be_read_is_told_so(
    ca: Authority, fenced: tuple[Fence, list[str], Path], raw: str
) -> None:
    status, text = say(fenced[0].port, raw, tls=ca)

    assert status in {"400", "505"}
    assert text == REFUSALS[400]


def say(port: int, raw: str, *, tls: Authority | None = None) -> tuple[str, str]:
    """Send these very bytes, and read to the end."""
    with socket.create_connection(("localhost", port), timeout=10) as plain:
        if tls is None:
            return _exchange(plain, raw)
        context = ssl.create_default_context(cafile=str(tls.file))
        with context.wrap_socket(plain, server_hostname="localhost") as wrapped:
            return _exchange(wrapped, raw)


def _exchange(line: socket.socket, raw: str) -> tuple[str, str]:
    line.sendall(raw.encode())
    answer = b""
    while not answer.endswith(b"}") and (piece := line.recv(65_536)):
        answer += piece
    head, _, body = answer.decode().partition("\r\n\r\n")
    return head.split()[1], sentence(body)


@needs_nginx
def test_old_tls_is_refused(fenced: tuple[Fence, list[str], Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1

    with (
        socket.create_connection(("localhost", fenced[0].port), timeout=10) as plain,
        pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"),
    ):
        context.wrap_socket(plain, server_hostname="localhost")


@needs_nginx
def test_the_log_knows_paths_but_no_queries(ca: Authority, fenced: tuple[Fence, list[str], Path]) -> None:
    settings, _, folder = fenced
    ask(ca, settings.port, "/v1/fleet/who?token=secret")
    ask(ca, settings.port, "/v1/control/who?token=secret")

    log = written(folder / "access.log", lines=["/v1/fleet/who", "/v1/control/who"])

    assert 'POST "/v1/fleet/who" 200' in log
    assert 'POST "/v1/control/who" 403' in log
    assert "secret" not in log


def written(log: Path, *, lines: list[str], within: float = 20.0) -> str:
    """The log once it has these; nginx writes a line after it has answered."""
    deadline = time.monotonic() + within
    while True:
        text = log.read_text()
        if all(line in text for line in lines) or time.monotonic() > deadline:
            return text
        time.sleep(0.05)


@needs_nginx
def test_no_body_lies_on_the_disk(ca: Authority, fenced: tuple[Fence, list[str], Path]) -> None:
    settings, _, folder = fenced
    ask(ca, settings.port, "/v1/fleet/push-object", body=b"x" * 6_000_000)

    kept = [path for place in ("bodies", "answers") for path in (folder / place).rglob("*") if path.is_file()]

    assert kept == []
    assert "buffered to a temporary file" not in (folder / "error.log").read_text()


@needs_nginx
@pytest.mark.parametrize(("host", "days"), [("elsewhere.example.org", 2), ("localhost", -1)])
def test_a_superlink_with_a_wrong_certificate_gets_no_call(
    ca: Authority, tmp_path: Path, host: str, days: int
) -> None:
    with stand_in(ca, host=host, days=days) as (port, paths):
        settings = local_fence(ca, superlink_port=port)
        with proxy_running(settings, folder=tmp_path):
            assert ask(ca, settings.port, "/v1/fleet/x") == (502, REFUSALS[502])

    assert paths == []


@pytest.mark.slow
@needs_nginx
def test_too_many_calls_wait_and_then_are_told_to_try_again(ca: Authority, tmp_path: Path) -> None:
    with stand_in(ca) as (port, _):
        settings = local_fence(ca, superlink_port=port, calls_per_second=1)
        with proxy_running(settings, folder=tmp_path):
            answers: list[tuple[int, str]] = []
            threads = [
                Thread(target=lambda: answers.append(ask(ca, settings.port, "/v1/fleet/x"))) for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    assert (503, REFUSALS[503]) in answers
    assert {status for status, _ in answers} == {200, 503}


@needs_nginx
def test_a_network_that_is_not_named_is_refused(ca: Authority, tmp_path: Path) -> None:
    with stand_in(ca) as (port, paths):
        settings = local_fence(ca, superlink_port=port, allowed=("192.0.2.0/24",))
        with proxy_running(settings, folder=tmp_path):
            assert ask(ca, settings.port, "/v1/fleet/x") == (400, REFUSALS[ELSEWHERE])

    assert paths == []


@needs_nginx
def test_a_network_that_is_named_may_knock(ca: Authority, tmp_path: Path) -> None:
    with stand_in(ca) as (port, paths):
        settings = local_fence(ca, superlink_port=port, allowed=("192.0.2.0/24", "127.0.0.0/8"))
        with proxy_running(settings, folder=tmp_path):
            assert ask(ca, settings.port, "/v1/fleet/x")[0] == 200

    assert paths == ["/v1/fleet/x"]


@needs_nginx
def test_a_port_in_use_is_named(ca: Authority, tmp_path: Path) -> None:
    settings = local_fence(ca, superlink_port=free_port())
    with socket.create_server(("127.0.0.1", settings.port)):
        taken = f"The proxy cannot listen at 127.0.0.1:{settings.port}: Address already in use"
        with pytest.raises(RunError, match=taken), proxy_running(settings, folder=tmp_path):
            pass


@needs_nginx
def test_a_key_that_is_not_the_certificates_is_refused(ca: Authority, tmp_path: Path) -> None:
    _, other = ca.issue("other")
    settings = local_fence(ca, superlink_port=free_port()).model_copy(update={"key": other})

    with (
        pytest.raises(RunError, match="nginx does not accept its configuration") as caught,
        proxy_running(settings, folder=tmp_path),
    ):
        pass
    assert "key values mismatch" in caught.value.local

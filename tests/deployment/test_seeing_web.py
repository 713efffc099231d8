"""The dashboard over HTTP: what it tells, and what it refuses."""

import socket
from base64 import b64encode
from pathlib import Path

import pytest
from seeing_logs import asked_of_round, begun, one_round, whole_run, write_log
from typer.testing import CliRunner
from visitor import Visitor

from deploy.seeing.cli import app
from deploy.seeing.serve import Listening, bind
from deploy.seeing.web import make_dashboard
from lego_core.errors import PrivacyError, RunError

PASSWORD = "correct horse battery"  # long enough


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a run that is over and one that goes on."""
    write_log(tmp_path / "over", whole_run())
    (tmp_path / "over" / "report.html").write_text("<h1>The report</h1>")
    write_log(tmp_path / "going", [*begun(), *one_round(1), *asked_of_round(2)])
    return tmp_path


@pytest.fixture
def client(folder: Path) -> Visitor:
    return Visitor(make_dashboard(folder))


def login(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"coordinator:{password}".encode()).decode()}


# ---- what it tells -----------------------------------------------------------------------------


def test_runs_of_the_folder_are_listed(client: Visitor) -> None:
    told = {one["run"]: one["status"] for one in client.get("/api/runs").json()}

    assert told == {"over": "complete", "going": "running"}


def test_the_state_of_a_run(client: Visitor) -> None:
    told = client.get("/api/state", params={"run": "going"}).json()

    assert (told["plan"], told["phase"], told["round"]) == ("liver", "blocks", 2)
    assert told["waiting"] == ["clinic-1", "clinic-2", "lab"]
    assert told["waited_seconds"] >= 0
    assert told["has_report"] is False


def test_without_a_name_the_latest_run_is_told(client: Visitor, folder: Path) -> None:
    write_log(folder / "newest", begun())

    assert client.get("/api/state").json()["phase"] == "blocks"
    assert client.get("/api/runs").json()[0]["run"] == "newest"


def test_a_state_that_is_known_is_not_sent_again_until_something_is_new(
    client: Visitor, folder: Path
) -> None:
    tag = client.get("/api/state", params={"run": "going"}).headers["ETag"]
    known = {"If-None-Match": tag}

    assert client.get("/api/state", params={"run": "going"}, headers=known).status_code == 304

    write_log(folder / "going", one_round(2)[2:3])
    again = client.get("/api/state", params={"run": "going"}, headers=known)
    assert again.status_code == 200
    assert again.json()["waiting"] == ["clinic-2"]


def test_page_scripts_and_style_are_there(client: Visitor) -> None:
    assert 'src="static/dashboard.js"' in client.get("/").text
    for name, kind in {
        "dashboard.js": "javascript",
        "charts.js": "javascript",
        "dashboard.css": "css",
    }.items():
        answer = client.get(f"/static/{name}")
        assert answer.status_code == 200
        assert kind in answer.headers["Content-Type"]


def test_the_report_may_run_its_scripts_in_a_box_of_its_own(client: Visitor) -> None:
    answer = client.get("/report", params={"run": "over"})

    assert answer.text == "<h1>The report</h1>"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox allow-scripts; default-src 'none'")


def test_a_diary_that_cannot_be_read_is_told_in_a_sentence(tmp_path: Path) -> None:
    path = write_log(tmp_path, begun())
    client = Visitor(make_dashboard(tmp_path))
    assert client.get("/api/state").status_code == 200
    path.unlink()

    answer = client.get("/api/state")

    assert answer.status_code == 404
    assert "no such run" in answer.json()["detail"]


# ---- what it refuses ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/api/state", "/api/runs", "/report", "/metrics"])
def test_nothing_can_be_changed(client: Visitor, method: str, path: str) -> None:
    assert client.request(method, path).status_code == 405


@pytest.mark.parametrize("name", ["../over", "..", "/etc", "over/..", "nowhere", "over/report.html"])
def test_only_runs_that_were_found_are_shown(client: Visitor, name: str) -> None:
    assert client.get("/api/state", params={"run": name}).status_code == 404
    assert client.get("/report", params={"run": name}).status_code == 404


@pytest.mark.parametrize(
    "path", ["/static/../web.py", "/static/..%2Fweb.py", "/static/web.py", "/docs", "/openapi.json"]
)
def test_no_other_file_is_shown(client: Visitor, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/api/state", "/static/dashboard.js", "/nowhere"])
def test_every_answer_has_the_headers_that_keep_others_out(client: Visitor, path: str) -> None:
    headers = client.get(path).headers

    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_a_foreign_name_that_points_here_is_refused(folder: Path) -> None:
    foreign = Visitor(make_dashboard(folder), base_url="http://evil.example")

    assert foreign.get("/api/state").status_code == 400


@pytest.mark.parametrize(
    "path", ["/", "/api/state", "/api/runs", "/metrics", "/static/dashboard.js", "/report"]
)
def test_with_a_login_nothing_is_shown_without_it(folder: Path, path: str) -> None:
    client = Visitor(make_dashboard(folder, password=PASSWORD), base_url="http://coordinator.example")

    refused = client.get(path)

    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Basic ")
    assert client.get(path, headers=login(PASSWORD[:-1])).status_code == 401
    assert client.get(path, headers={"Authorization": "Basic %%%"}).status_code == 401
    assert client.get(path, headers={"Authorization": f"Bearer {PASSWORD}"}).status_code == 401
    assert client.get(path, params={"run": "over"}, headers=login(PASSWORD)).status_code == 200


# ---- where it listens --------------------------------------------------------------------------


def password_file(folder: Path, text: str, *, mode: int = 0o600) -> Path:
    path = folder / "password"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "coordinator.example"])
def test_beyond_loopback_a_login_is_needed(host: str) -> None:
    with pytest.raises(PrivacyError, match=f"would listen on {host}.* has no login.* --password-file"):
        Listening(host=host).password()


def test_a_login_without_tls_is_refused_beyond_loopback(tmp_path: Path) -> None:
    named = password_file(tmp_path, PASSWORD + "\n")

    with pytest.raises(PrivacyError, match=r"without TLS, and its password could be overheard"):
        Listening(host="0.0.0.0", password_file=named).password()
    assert Listening(host="0.0.0.0", password_file=named, behind_proxy=True).password() == PASSWORD


def test_on_loopback_no_login_is_needed() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9"):
        assert Listening(host=host).password() is None


def test_half_of_a_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match=r"TLS needs both"):
        Listening(certificate=tmp_path / "chain.pem").password()


def test_a_password_that_others_may_read_is_refused(tmp_path: Path) -> None:
    named = password_file(tmp_path, PASSWORD, mode=0o644)

    with pytest.raises(PrivacyError, match=r"'password' has rights -rw-r--r--.* chmod 600"):
        Listening(password_file=named).password()


def test_a_short_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match=r"has 6 characters, of at least 12"):
        Listening(password_file=password_file(tmp_path, "secret")).password()


def test_a_password_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match=r"cannot be read") as raised:
        Listening(password_file=tmp_path / "nowhere").password()
    assert str(tmp_path) not in raised.value.public


def test_a_port_in_use_is_told_with_what_to_do() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(RunError, match=rf"Port {port} of 127.0.0.1 is in use.* --port {port + 1}"):
            bind(Listening(port=port))

        done = CliRunner().invoke(app, ["dashboard", ".", "--port", str(port)])
        assert done.exit_code == 2
        assert "in use" in done.output


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(RunError, match=r"Nothing can listen on 192.0.2.7"):
        bind(Listening(host="192.0.2.7"))

"""The dashboard: one page, its data as JSON, the report, and the metrics; nothing on it changes anything."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware

from deploy.seeing._login import ASK_FOR_IT, is_allowed
from deploy.seeing.prometheus import metrics_text
from deploy.seeing.run_reader import RunReader, find_runs
from deploy.seeing.run_state import RunState
from deploy.seeing.view import view_of
from lego_core.errors import LogError

PAGE = Path(__file__).parent / "page"
FILES = {path.name: path for path in PAGE.iterdir()}
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
MOST_RUNS = 50  # in the list: those that were written to last
OURS = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORTS = (  # a report is one file with its scripts inside; it may run them, and reach nothing from there
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Runs:
    """The runs of a folder, each followed by one reader.

    Args:
        folder: Of a run, or of several.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._readers: dict[Path, RunReader] = {}
        self._lock = Lock()

    def names(self) -> dict[str, Path]:
        """The runs by name, the latest first."""
        return dict(list(find_runs(self._folder).items())[:MOST_RUNS])

    def state(self, folder: Path) -> RunState:
        """The state of a run now.

        Raises:
            LogError: If its diary cannot be read.
        """
        with self._lock:
            return self._readers.setdefault(folder, RunReader(folder)).look()

    def states(self) -> dict[str, RunState]:
        """The state of every run."""
        return {name: self.state(folder) for name, folder in self.names().items()}

    def find(self, name: str) -> Path:
        """The folder of a run; of the latest, if none is named.

        Raises:
            HTTPException: If there is no such run. Only names that were found on the disk count.
        """
        runs = self.names()
        if not name and runs:
            return next(iter(runs.values()))
        if name not in runs:
            raise HTTPException(404, "There is no such run here, or it has not begun yet.")
        return runs[name]


def make_dashboard(folder: Path, *, password: str | None = None) -> FastAPI:
    """The web application.

    Args:
        folder: Of a run, or of several.
        password: What a visitor must know; without one, only requests to a loopback name are answered, so
            that no page of another site can read it through a name that points here.

    Guarantees:
        It reads only, and only what lies in the folder's runs: `run.jsonl` and `report.html`.
    """
    app = FastAPI(title="Lego Federation", docs_url=None, redoc_url=None, openapi_url=None)
    _add_pages(app, Runs(folder))
    if password is None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))

    @app.middleware("http")
    async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        if password is None or is_allowed(request.headers.get("Authorization", ""), password=password):
            response = await answer(request)
        else:
            response = PlainTextResponse("A password is needed.", 401, headers=ASK_FOR_IT)
        for name, value in {"Content-Security-Policy": OURS, **HEADERS}.items():
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(LogError)
    async def tell(_request: Request, error: LogError) -> JSONResponse:
        return JSONResponse({"detail": error.public}, status_code=503)

    return app


def _add_pages(app: FastAPI, runs: Runs) -> None:
    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(FILES["index.html"])

    @app.get("/static/{name}")
    def static(name: str) -> FileResponse:
        if name not in FILES:
            raise HTTPException(404, "There is no such file.")
        return FileResponse(FILES[name])

    @app.get("/api/runs")
    def list_runs() -> list[dict[str, Any]]:
        now = datetime.now(UTC)
        views = {name: view_of(state, now=now) for name, state in runs.states().items()}
        shown = ("plan", "status", "status_text", "began", "last_event")
        return [{"run": name, **{key: view[key] for key in shown}} for name, view in views.items()]

    @app.get("/api/state")
    def state(request: Request, run: str = "") -> Response:
        folder = runs.find(run)
        view = view_of(runs.state(folder), now=datetime.now(UTC))
        view["has_report"] = (folder / "report.html").is_file()
        tag = f'"{view["began"]}/{view["lines"]}/{view["status"]}/{view["has_report"]}"'
        if request.headers.get("If-None-Match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return JSONResponse(view, headers={"ETag": tag})

    @app.get("/report")
    def report(run: str = "") -> FileResponse:
        path = runs.find(run) / "report.html"
        if not path.is_file():
            raise HTTPException(404, "The run has no report yet.")
        return FileResponse(path, headers={"Content-Security-Policy": REPORTS})

    @app.get("/metrics")
    def metrics() -> Response:
        text, kind = metrics_text(runs.states(), now=datetime.now(UTC))
        return Response(text, media_type=kind)

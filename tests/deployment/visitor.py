"""A visitor of a web application, without any network."""

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI


class Visitor:
    """Ask an application, one request after the other.

    Args:
        app: The application.
        base_url: What the visitor takes it to be called.
    """

    def __init__(self, app: FastAPI, *, base_url: str = "http://127.0.0.1") -> None:
        self._app = app
        self._base_url = base_url

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request."""

        async def ask() -> httpx.Response:
            way = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=way, base_url=self._base_url) as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Ask for a page."""
        return self.request("GET", path, **options)

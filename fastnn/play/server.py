"""The server of `fastnn play`: who may ask, what is given, how it listens.

It listens on 127.0.0.1 alone, and answers only who has the token of this run, from its own page.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import secrets
import socket
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from .._errors import printable
from . import web
from .session import Session

HOST = "127.0.0.1"
PORT = 8765  # if it is free
MOST_BODY = 1 << 20  # bytes
MOST_CONNECTIONS = 200  # with more, the one that has been silent for longest is closed
PATIENCE = 20  # seconds for a request to come
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
REFUSED = {403: "forbidden: open the address that fastnn play printed", 413: "too large"}


class Guard:
    """Refuses what comes without the token, under another name, from another page, or too large."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app, self.token, self.cookie = app, token, f"fastnn-{port}"
        self.hosts = {f"{name}:{port}" for name in (HOST, "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or refuse it."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        headers = Headers(scope=scope)
        answer: ASGIApp
        if not self.trusted(headers):
            answer = PlainTextResponse(REFUSED[403], 403)
        elif self.fits(QueryParams(scope["query_string"]).get("token")):
            answer = RedirectResponse("/", 303)
            value = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"
            answer.headers["set-cookie"] = value
        elif not self.fits(self.known(headers)):
            answer = PlainTextResponse(REFUSED[403], 403)
        elif declared(headers) > MOST_BODY:
            answer = PlainTextResponse(REFUSED[413], 413, {"connection": "close"})
        else:
            answer = self.app
        await answer(scope, receive, send_with_headers)

    def trusted(self, headers: Headers) -> bool:
        """Whether the request was meant for us, and comes from no other page."""
        host, origin = headers.get("host", ""), headers.get("origin")
        return host in self.hosts and (origin is None or origin == f"http://{host}")

    def known(self, headers: Headers) -> str | None:
        """The token of the cookie, if there is one."""
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return None
        return None if found is None else found.value

    def fits(self, token: str | None) -> bool:
        """Whether it is ours, in a time that tells nothing."""
        return token is not None and secrets.compare_digest(token.encode(), self.token.encode())


def declared(headers: Headers) -> int:
    """How long a body says that it is; one that does not say is counted when it comes."""
    length = headers.get("content-length", "0")
    return int(length) if length.isdecimal() and len(length) < 20 else MOST_BODY + 1


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object of a request. Raises ValueError for anything else, or for too much."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BODY:
            raise ValueError(f"expected at most {MOST_BODY} bytes, got more")
        parts.append(part)
    try:
        found = json.loads(b"".join(parts) or b"{}")
    except (ValueError, RecursionError):
        raise ValueError("expected JSON, got something else") from None
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object, got {type(found).__name__}")
    return found


Action = Callable[[Session, dict[str, Any]], object]


def action(session: Session, run: Action) -> Callable[[Request], Any]:
    """A handler that runs an action in a thread; what is said in the path and query comes along."""

    async def handle(request: Request) -> Response:
        try:
            asked = await body_of(request) if request.method == "POST" else {}
            asked = {**request.query_params, **asked, **request.path_params}
            answer = await run_in_threadpool(run, session, asked)
        except (ValueError, TypeError, KeyError, ImportError, RuntimeError) as error:
            text = f"expected {error}" if isinstance(error, KeyError) else str(error)
            return JSONResponse({"error": printable(" ".join(text.split()))}, 400)
        if isinstance(answer, web.File):
            named = {"content-disposition": f'attachment; filename="{answer.name}"'}
            return Response(answer.content, media_type=answer.kind, headers=named)
        return JSONResponse(finite(answer))

    return handle


def finite(value: Any) -> Any:
    """The same for JSON, which has no infinity and no NaN: null, while a training diverges."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, list) else value


def files() -> list[Route]:
    """The page and what it is made of, read once: no request names a path."""

    def route(name: str, content: bytes, kind: str) -> Route:
        async def give(_: Request) -> Response:
            return Response(content, media_type=kind)

        return Route("/" if name == web.PAGE else f"/{name}", give)

    return [route(name, content, web.kind(name)) for name, content in web.files().items()]


def application(session: Session, token: str, port: int) -> Guard:
    """All that is answered."""
    gets = {
        "session": Session.described,
        "networks/{id}": Session.network,
        "networks/{id}/file": Session.file,
        "networks/{id}/page": Session.page,
        "rows": Session.rows,
        "training/{id}": Session.progress,
    }
    posts = {
        "networks/{id}/neuron": Session.neuron,
        "networks/{id}/dependence": Session.dependence,
        "training/{id}": Session.train,
        "training/{id}/control": Session.control,
    }
    routes = [
        Route(f"/api/{path}", action(session, run), methods=[method])
        for method, actions in (("GET", gets), ("POST", posts))
        for path, run in actions.items()
    ]
    return Guard(Starlette(routes=[*routes, *files()]), token, port)


class Connection(H11Protocol):
    """A connection that is closed if no request comes, or if others need its place."""

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            PATIENCE, self.timeout_keep_alive_handler
        )
        self.began = self.loop.time()
        ours: set[Any] = self.connections
        if len(ours) > MOST_CONNECTIONS:
            idle = [one for one in ours if one.cycle is None or one.cycle.response_complete]
            oldest = min(idle, key=lambda one: one.began, default=self)
            ours.discard(oldest)  # now, and not when the loop comes round: others may come first
            oldest.transport.abort()


def listening(port: int | None) -> socket.socket:
    """A socket on 127.0.0.1: on this port, or on ours if it is free, else on any."""
    for wanted in (PORT, 0) if port is None else (port,):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, wanted))
        except OSError:
            listener.close()
            if port is not None:
                raise
        else:
            return listener
    raise OSError("expected a free port, got none")


def more_files() -> None:
    """Let this process hold as many connections as it may."""
    import resource

    with contextlib.suppress(ValueError, OSError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 4096 if most == resource.RLIM_INFINITY else min(most, 4096)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def serve(session: Session, port: int | None, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C; `say` is told the address once it can be opened."""
    more_files()
    with listening(port) as listener:
        number = listener.getsockname()[1]
        token = secrets.token_urlsafe(24)
        config = uvicorn.Config(
            application(session, token, number),
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # bad requests are no news
        listener.listen(128)
        say(f"http://{HOST}:{number}/?token={token}")
        with contextlib.suppress(asyncio.CancelledError):
            uvicorn.Server(config).run([listener])
        session.stop()

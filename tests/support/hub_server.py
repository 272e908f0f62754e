"""A stand-in for the Hugging Face hub: one repository, on this machine."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the stand-in serves, how it misbehaves, and what it was asked."""

    repo: str
    files: dict[str, bytes]
    url: str = ""
    card: dict[str, Any] | None = None  # None: the repository's description is not served
    etag: str | None = None  # None: the true SHA-256
    token: str | None = None  # the only token that may read the files; None: everyone may
    ranges: bool = True  # False: a request for a part is answered with the whole file
    storage_url: str | None = None  # where reads of the files are redirected to
    drops_at: list[int] = field(default_factory=list)  # bytes sent before the line drops, a read
    stalls_at: int | None = None  # bytes sent before the next read waits for `go_on`
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    reads: list[dict[str, str]] = field(default_factory=list)  # the headers of each GET of a file


class RefusedError(Exception):
    """An answer with an error status and the code that the hub gives with it."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(status, code)
        self.status, self.code = status, code


@contextmanager
def hub_server(repo: str, files: dict[str, bytes]) -> Iterator[Hub]:
    """Serve `files` of `repo` at `hub.url`."""
    hub = Hub(repo, files)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            try:
                if self.path.startswith("/api/models/"):
                    self.send_description()
                else:
                    self.send_file()
            except RefusedError as refusal:
                self.start(refusal.status, {"X-Error-Code": refusal.code, "Content-Length": "0"})

        def send_description(self) -> None:
            if self.path != f"/api/models/{hub.repo}" or hub.card is None:
                raise RefusedError(404, "RepoNotFound")
            files = [{"rfilename": name} for name in hub.files]
            description = {"id": hub.repo, "sha": COMMIT, "cardData": hub.card, "siblings": files}
            content = json.dumps(description).encode()
            self.start(200, {"Content-Length": str(len(content))})
            self.wfile.write(content)

        def send_file(self) -> None:
            repo, _, rest = unquote(self.path).strip("/").partition("/resolve/")
            revision, _, name = rest.partition("/")
            if repo != hub.repo:
                raise RefusedError(404, "RepoNotFound")
            if revision not in ("main", COMMIT):
                raise RefusedError(404, "RevisionNotFound")
            if name not in hub.files:
                raise RefusedError(404, "EntryNotFound")
            if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                raise RefusedError(403, "GatedRepo")
            self.send_content(hub.files[name])

        def send_content(self, content: bytes) -> None:
            etag = f'"{hub.etag or hashlib.sha256(content).hexdigest()}"'
            size = str(len(content))
            if hub.storage_url is not None:
                location = hub.storage_url + self.path
                facts = {"X-Linked-Etag": etag, "X-Linked-Size": size, "X-Repo-Commit": COMMIT}
                return self.start(302, facts | {"Location": location, "Content-Length": "0"})
            headers = {"ETag": etag, "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            if self.command == "HEAD":
                return self.start(200, headers | {"Content-Length": size})
            hub.reads.append(dict(self.headers))
            return self.send_from(self.start_byte(), content, headers)

        def start_byte(self) -> int:
            wanted = self.headers.get("Range", "bytes=0-")
            return int(wanted.removeprefix("bytes=").removesuffix("-")) if hub.ranges else 0

        def send_from(self, start: int, content: bytes, headers: dict[str, str]) -> None:
            sent = content[start:]
            headers["Content-Length"] = str(len(sent))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.start(206 if start else 200, headers)
            end = hub.drops_at.pop(0) if hub.drops_at else len(sent)
            pause = end if hub.stalls_at is None else hub.stalls_at
            self.wfile.write(sent[:pause])
            if hub.stalls_at is not None:
                hub.stalls_at = None
                hub.stalled.set()
                hub.go_on.wait(30)
            with suppress(ConnectionError):  # whoever asked may have been stopped by then
                self.wfile.write(sent[pause:end])

        def start(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield hub
        finally:
            hub.go_on.set()
            server.shutdown()
            thread.join()

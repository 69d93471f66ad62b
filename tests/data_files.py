"""Small files in the formats of data sets, and a server for them."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from negmerge.data.routes import Archive
from PIL import Image


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (12, 9)) -> Path:
    """A colour image file of random pixels; size: width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def mnist_like(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return pixels, np.arange(count) % 10


def write_mnist_like(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The four files of a set of 30 training and 20 test images; returns what is in them."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"train": mnist_like(30, 0), "t10k": mnist_like(20, 1)}
    for part, (images, labels) in parts.items():
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return parts


def archive(name: str, content: bytes, *urls: str) -> Archive:
    return Archive(name, len(content), hashlib.sha256(content).hexdigest(), urls)


class Server:
    """What a server was asked for, as the first byte of each request, and how it behaves."""

    def __init__(self) -> None:
        self.content = b""
        self.asked: list[int] = []
        self.ends_after: int | None = None
        self.takes_ranges = True
        self.url = ""


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server on this machine, within the block."""
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/absent":
                self.send_error(404)
                return
            asked = self.headers.get("Range")
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and told.takes_ranges else 0
            told.asked.append(start)
            rest = told.content[start:]
            self.send_response(206 if asked and told.takes_ranges else 200)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: told.ends_after])

        def log_message(self, *words: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""A page on this machine on which a person judges boxes, or corrects them: served to one browser, until they are done.

The server listens on 127.0.0.1 alone, and answers only addresses that begin with a random token. Images go by number,
never by path. The page asks for nothing from elsewhere and a content security policy forbids it; what it shows of names
it sets as text.
"""

from __future__ import annotations

import hmac
import io
import json
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import numpy as np
from PIL import Image

from wsdet.boxes import area, clip
from wsdet.types import Boxes, Dataset, InputError

log = logging.getLogger(__name__)

_HERE = Path(__file__).parent
_FILES = {
    "": ("review.html", "text/html"),
    "review.js": ("review.js", "text/javascript"),
    "review.css": ("review.css", "text/css"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_MAX_BODY = 2**20  # bytes of a request
_MAX_BOXES = 1000  # of an image


@dataclass(frozen=True)
class Page:
    """What is shown, and what becomes of a person's answers.

    Attributes:
        mode: `correct`: boxes can be changed; `judge`: each box is correct or wrong.
        dataset: gives images and class names.
        entries: image id and boxes of each step.
        done: numbers of the entries that were answered before.
        answer: takes the number of an entry, and its corrected boxes or whether its box is correct; gives words for the
            page, such as the result once all is done.
    """

    mode: str
    dataset: Dataset
    entries: Sequence[tuple[str, Boxes]]
    done: frozenset[int]
    answer: Callable[[int, Boxes | bool], str]


class ReviewServer:
    """Serves a page from a thread of its own.

    Args:
        page: what is shown.
        port: 0: any that is free.

    Attributes:
        address: to open in a browser; whoever knows it can answer.
    """

    def __init__(self, page: Page, port: int = 0) -> None:
        self._page = page
        self._token = secrets.token_urlsafe(24)
        self._lock = Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._host = f"127.0.0.1:{self._server.server_port}"
        self.address = f"http://{self._host}/{self._token}/"
        self._thread = Thread(target=self._server.serve_forever, name="review", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until the person ends the page, by its button."""
        self._thread.join()

    def close(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            server_version, sys_version = "wsdet", ""

            def do_GET(self) -> None:
                self._reply(lambda place: server._get(place))

            def do_POST(self) -> None:
                self._reply(lambda place: server._post(place, self._body()))

            def log_message(self, format: str, *args: object) -> None:
                log.debug(format, *args)

            def _body(self) -> Any:
                length = int(self.headers.get("Content-Length") or 0)
                if not 0 <= length <= _MAX_BODY or self.headers.get("Content-Type") != "application/json":
                    raise ValueError("a body is JSON of at most 1 MiB")
                return json.loads(self.rfile.read(length) or b"{}")

            def _reply(self, make: Callable[[str], tuple[bytes, str]]) -> None:
                _, token, place = ([*self.path.split("/", 2), "", ""])[:3]
                # another site's page may reach this port under a name of its own
                is_ours = self.headers.get("Host") == server._host and hmac.compare_digest(token, server._token)
                try:
                    body, kind = make(place) if is_ours else (b"", "")
                except (ValueError, KeyError, TypeError, IndexError) as error:
                    body, kind = str(error).encode(), "error"
                self.send_response({"": 404, "error": 400}.get(kind, 200))
                self.send_header("Content-Type", f"{kind if '/' in kind else 'text/plain'}; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Security-Policy", _POLICY)
                for name, value in (
                    ("X-Content-Type-Options", "nosniff"),
                    ("Referrer-Policy", "no-referrer"),
                    ("Cache-Control", "no-store"),
                ):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                if place == "end" and is_ours:
                    Thread(target=server.close, daemon=True).start()

        return Handler

    def _get(self, place: str) -> tuple[bytes, str]:
        if place in _FILES:
            name, kind = _FILES[place]
            return (_HERE / name).read_bytes(), kind
        if place == "data.json":
            return json.dumps(self._data()).encode(), "application/json"
        if place.startswith("image/") and place.removeprefix("image/").isdecimal():
            return self._image(int(place.removeprefix("image/"))), "image/jpeg"
        return b"", ""

    def _post(self, place: str, body: Any) -> tuple[bytes, str]:
        if place == "end":
            return b"{}", "application/json"
        if place != "answer":
            return b"", ""
        number = body["number"]
        if type(number) is not int or not 0 <= number < len(self._page.entries):
            raise ValueError("there is no such entry")
        with self._lock:  # a browser may send two at once
            said = self._page.answer(number, self._answer(number, body))
        return json.dumps({"said": said}).encode(), "application/json"

    def _answer(self, number: int, body: Any) -> Boxes | bool:
        if self._page.mode == "judge":
            if type(body["correct"]) is not bool:
                raise ValueError("correct must be true or false")
            return bool(body["correct"])
        rows = body["boxes"]
        if not isinstance(rows, list) or len(rows) > _MAX_BOXES:
            raise ValueError(f"boxes must be a list of at most {_MAX_BOXES}")
        numbers = np.array(rows, np.float64).reshape(-1, 5)
        labels = numbers[:, 4].astype(np.int64)
        if not np.isin(labels, np.arange(len(self._page.dataset.classes))).all():
            raise ValueError("there is no such class")
        size_hw = self._page.dataset.load(self._page.entries[number][0]).size_hw
        boxes = Boxes(clip(numbers[:, :4].astype(np.float32), size_hw), np.ones(len(numbers), np.float32), labels)
        return boxes[area(boxes.xyxy) > 0]

    def _data(self) -> dict[str, Any]:
        page = self._page
        entries = [
            {"id": image_id, "boxes": [[*b.xyxy[0].tolist(), int(b.labels[0])] for b in boxes], "done": n in page.done}
            for n, (image_id, boxes) in enumerate(page.entries)
        ]
        return {"mode": page.mode, "classes": list(page.dataset.classes), "entries": entries}

    def _image(self, number: int) -> bytes:
        try:
            pixels = self._page.dataset.load(self._page.entries[number][0]).pixels
        except InputError as error:
            raise ValueError(str(error)) from error
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, format="JPEG", quality=90)
        return content.getvalue()

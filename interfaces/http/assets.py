"""The page and its files, read once: no request for them waits for a thread."""

from dataclasses import dataclass
from email.utils import formatdate
from hashlib import sha256
from mimetypes import guess_type
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str | None
    headers: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "_File":
        content = path.read_bytes()
        headers = {
            "etag": f'"{sha256(content).hexdigest()[:32]}"',
            "last-modified": formatdate(path.stat().st_mtime, usegmt=True),
        }
        return cls(content, guess_type(path.name)[0], headers)


class Assets(StaticFiles):
    """The files of one folder. Starlette's own reads them in threads that users' nodes share."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._files = {path.name: _File.read(path) for path in folder.iterdir() if path.is_file()}

    def text(self, name: str) -> str:
        return self._files[name].content.decode()

    async def get_response(self, path: str, scope: Scope) -> Response:
        if scope["method"] not in {"GET", "HEAD"}:
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        file = self._files.get(path)
        if file is None:
            raise HTTPException(404)
        response = Response(file.content, media_type=file.media_type, headers=file.headers)
        if self.is_not_modified(response.headers, Headers(scope=scope)):
            return NotModifiedResponse(response.headers)
        return response

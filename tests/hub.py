"""A stand-in for the Hugging Face hub on this machine: what pushing and reading weights needs of its HTTP API."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(ThreadingHTTPServer):
    """repositories: commits by repository, each a dictionary of contents by file name. token: the one that may write.

    spoiled: give out other tensors than were pushed.
    """

    def __init__(self, token: str) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.token, self.spoiled = token, False
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.large: dict[str, bytes] = {}  # by SHA-256
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def answer(self, content: object = b"", status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_PUT(self) -> None:
        self.server.large[self.path.rpartition("/")[2]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer()

    def do_POST(self) -> None:
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = b"".join(self.chunks()) if chunked else self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(self.path)
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self.answer({"error": "Invalid username or password."}, 401)
        if self.path == "/api/repos/create":
            given = json.loads(body)
            name = "/".join(filter(None, (given.get("organization"), given["name"])))
            self.server.repositories.setdefault(name, {})
            return self.answer({"url": f"{self.server.url}/{name}", "name": name, "id": name})
        if "/preupload/" in self.path:
            files = [{"path": one["path"], "shouldIgnore": False, "uploadMode": mode(one["path"])}
                     for one in json.loads(body)["files"]]  # fmt: skip
            return self.answer({"files": files})
        if self.path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for one in objects:
                one["actions"] = {"upload": {"href": f"{self.server.url}/large/{one['oid']}"}}
            return self.answer({"transfer": "basic", "objects": objects})
        return self.commit(re.match(r"/api/models/(.+)/commit/main", self.path)[1], body)

    def chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def commit(self, repository: str, body: bytes) -> None:
        commits = self.server.repositories[repository]
        files = dict(list(commits.values())[-1]) if commits else {}
        for entry in map(json.loads, body.splitlines()):
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
        name = hashlib.sha1(body).hexdigest()
        commits[name] = files
        self.answer({"success": True, "commitOid": name, "commitUrl": f"{self.server.url}/{repository}/commit/{name}"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        found = re.match(r"/api/models/(\w+/\w+)(?:/(?:revision|tree)/(\w+))?|/(\w+/\w+)/resolve/(\w+)/(.+)", path)
        repository, revision = (found[1] or found[3], found[2] or found[4] or "main") if found else ("", "")
        commits = self.server.repositories.get(repository, {})
        name = list(commits)[-1] if revision == "main" and commits else revision
        if name not in commits:
            return self.answer(
                {"error": "not found"}, 404, X_Error_Code="RevisionNotFound" if commits else "RepoNotFound"
            )
        files = commits[name]
        if "/tree/" in path:
            return self.answer([{"type": "file", "path": one, "size": len(content), "oid": digest(content)}
                                for one, content in files.items()])  # fmt: skip
        if path.startswith("/api/"):
            return self.answer({"id": repository, "sha": name, "siblings": [{"rfilename": one} for one in files]})
        content = files.get(found[5])
        if content is None:
            return self.answer({"error": "no such file"}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=name)
        if self.server.spoiled and found[5].endswith(".safetensors"):
            content = content[:-1] + bytes([content[-1] ^ 1])
        return self.answer(content, X_Repo_Commit=name, ETag=f'"{digest(content)}"')


def mode(path: str) -> str:
    return "lfs" if path.endswith(".safetensors") else "regular"


def digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serving(token: str) -> Iterator[Hub]:
    """A hub that answers until the block ends."""
    with Hub(token) as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()

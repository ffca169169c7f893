"""A hub for the real client of huggingface_hub to talk to: repositories in memory, behind the hub's HTTP interface."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

TOKEN = "hf_of_the_test"


@dataclass
class Repository:
    """Commits (id -> files), and what branches and tags point at."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {".gitattributes": b"*.pt lfs"}})
    refs: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})

    def files(self, revision: str) -> dict[str, bytes]:
        return self.commits[self.refs.get(revision, revision)]

    def commit(self, files: dict[str, bytes]) -> str:
        name = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits[name], self.refs["main"] = files, name
        return name


class Hub(http.server.BaseHTTPRequestHandler):
    """`breaks`: bytes after which downloads of large files end. `asked`: (method, path, where it starts)."""

    protocol_version = "HTTP/1.1"
    repositories: dict[str, Repository]
    large: dict[str, bytes]
    asked: list[tuple[str, str, int]]
    breaks: int | None = None

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(refs|revision|tree)(?:/(.+))?)?", path):
            if not (found := self.found(match[1], match[3] or "main")):
                return
            repository, commit = found
            files = repository.files(commit)
            if match[2] == "refs":
                tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": c} for n, c in repository.refs.items()]
                self.answer({"branches": [], "converts": [], "tags": [tag for tag in tags if tag["name"] != "main"]})
            elif match[2] == "tree":
                tree = [{"type": "file", "path": n, "size": len(c), "oid": "0" * 40} for n, c in files.items()]
                self.answer(tree)
            else:
                siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
                self.answer({"id": match[1], "sha": commit, "private": repository.private, "siblings": siblings})
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if not (found := self.found(match[1], match[2])):
                return
            self.file(found[0].files(found[1])[match[3]], found[1])
        else:
            self.answer({}, 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization')}/{asked['name']}"
            if name in self.repositories:
                self.answer({"error": "You already created it", "url": f"{self.url}/{name}"}, 409)
                return
            self.repositories[name] = Repository(asked.get("private") or asked.get("visibility") == "private")
            self.answer({"url": f"{self.url}/{name}", "id": name})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit|tag)/(\w+)(?:\?.*)?", self.path):
            self.changed(self.repositories[match[1]], match[2], match[3], body)
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            actions = [{**o, "actions": {"upload": {"href": f"{self.url}/large/{o['oid']}"}}} for o in objects]
            self.answer({"transfer": "basic", "objects": actions})
        else:
            self.answer({"errors": [], "warnings": []})  # of the card's head

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.large[hashlib.sha256(content).hexdigest()] = content
        self.answer({})

    def changed(self, repository: Repository, kind: str, revision: str, body: bytes) -> None:
        if kind == "preupload":
            modes = [
                {"path": f["path"], "uploadMode": "lfs" if f["size"] > 100_000 else "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            self.answer({"files": modes})
        elif kind == "tag":
            repository.refs[json.loads(body)["tag"]] = repository.refs.get(revision, revision)
            self.answer({})
        else:
            files = dict(repository.files("main"))
            for line in map(json.loads, body.decode().splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = self.large[value["oid"]]
                elif line["key"] == "deletedFile":
                    del files[value["path"]]
            self.answer({"commitOid": repository.commit(files), "commitUrl": f"{self.url}/o/n/commit/1"})

    def found(self, name: str, revision: str) -> tuple[Repository, str] | None:
        """The repository, for those who may see it, and the commit; else what the hub answers then."""
        repository = self.repositories.get(name)
        if not repository or (repository.private and self.headers.get("Authorization") != f"Bearer {TOKEN}"):
            self.answer({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
            return None
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            self.answer({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
            return None
        return repository, commit

    def file(self, content: bytes, commit: str) -> None:
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(span[1]) if span else 0
        self.asked.append((self.command, self.path, start))
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            cut = self.breaks is not None and len(content) > 100_000
            self.wfile.write(content[start : start + self.breaks] if cut else content[start:])
            self.close_connection = cut

    def answer(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def log_message(self, *_) -> None:
        pass


@contextmanager
def running() -> Iterator[tuple[type[Hub], str]]:
    """An empty hub and its address."""
    hub = type("EmptyHub", (Hub,), {"repositories": {}, "large": {}, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()

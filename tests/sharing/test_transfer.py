"""What was pushed is fetched whole, looked at, and never in place of something else."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
import zipfile

import pytest

from polyp_monai.cli.main import main
from polyp_monai.errors import PolypError
from polyp_monai.sharing import sums, transfer


@pytest.fixture
def zipped(tmp_path):
    return packed(tmp_path / "mine.zip")


def packed(path, run="$1 + 1", version="0.1.0"):
    content = {
        "LICENSE": "free",
        "docs/README.md": "x" * 3_000_000,
        "configs/metadata.json": json.dumps({"version": version}),
        "configs/inference.json": json.dumps({"run": [run]}),
    }
    listed = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in content.items()}
    content[sums.NAME] = "".join(f"{digest}  {name}\n" for name, digest in listed.items())
    with zipfile.ZipFile(path, "w") as out:
        for name, text in content.items():
            out.writestr(f"mine/{name}", text)
    return path


def test_push_and_fetch_by_a_shared_folder(zipped, tmp_path):
    share = tmp_path / "share"
    share.mkdir()
    assert main(["push", str(zipped), str(share)]) == 0
    assert main(["fetch", str(share / "mine.zip"), "--out", str(tmp_path / "here/mine")]) == 0
    assert (tmp_path / "here/mine/LICENSE").read_text() == "free"
    transfer.push(zipped, share)
    with pytest.raises(PolypError, match="another version"):
        transfer.push(packed(tmp_path / "mine.zip", version="0.2.0"), share)


def test_only_a_packed_bundle_is_pushed(tmp_path):
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as out:
        out.writestr("a.txt", "no bundle")
    (tmp_path / "share").mkdir()
    with pytest.raises(PolypError, match=r"plain\.zip: holds no bundle .*; `polyp pack` writes one"):
        transfer.push(tmp_path / "plain.zip", tmp_path / "share")
    assert not list((tmp_path / "share").iterdir())


@pytest.mark.parametrize("address", ["ftp://host/mine.zip", "s3://bucket/mine.zip", "file:///here/mine.zip"])
def test_no_digest_helps_where_nothing_is_fetched_from(address, tmp_path):
    with pytest.raises(PolypError, match="cannot be fetched; give a zip, its https address"):
        transfer.fetch(address, tmp_path / "here", sha256="0" * 64)


def test_another_version_never_keeps_the_old_one_silently(zipped, tmp_path):
    transfer.fetch(str(zipped), tmp_path / "here")
    with pytest.raises(PolypError, match=r"version 0\.1\.0"):
        transfer.fetch(str(packed(tmp_path / "new.zip", version="0.2.0")), tmp_path / "here")


def test_another_digest_is_refused(zipped, tmp_path):
    with pytest.raises(PolypError, match="sha256"):
        transfer.fetch(str(zipped), tmp_path / "here", sha256="0" * 64)
    (tmp_path / "mine.zip.sha256").write_text(f"{'1' * 64}  mine.zip\n")
    with pytest.raises(PolypError, match="sha256"):
        transfer.fetch(str(zipped), tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_names_that_are_read_differently_elsewhere_are_refused(zipped, tmp_path):
    for name in ("nul.zip", "a:b.zip", "a\nb.zip"):
        zipped.rename(tmp_path / name)
        with pytest.raises(PolypError, match="rename it"):
            transfer.fetch(str(tmp_path / name), tmp_path / "here")
        (tmp_path / name).rename(zipped)


def test_a_dangerous_bundle_is_not_unpacked(tmp_path):
    path = packed(tmp_path / "mine.zip", run="$eval('1')")
    with pytest.raises(PolypError, match="dangerous") as error:
        transfer.fetch(str(path), tmp_path / "here")
    assert not (tmp_path / "here").exists()
    digest = str(error.value).split("--trust ")[1].split()[0]
    assert transfer.fetch(str(path), tmp_path / "here", trust=digest).is_dir()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `content`, breaks off after `breaks` bytes if that is set, and notes what was asked for."""

    content, breaks, asked = b"", None, []

    def do_GET(self):
        start = 0
        if span := self.headers.get("Range"):
            start = int(span.removeprefix("bytes=").rstrip("-"))
        type(self).asked.append(start)
        body = self.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        self.end_headers()
        self.wfile.write(body[: self.breaks])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(zipped):
    handler = type("Handler", (Server,), {"content": zipped.read_bytes(), "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield handler, f"http://127.0.0.1:{running.server_address[1]}/mine.zip"
        running.shutdown()


def test_an_interrupted_download_goes_on(server, zipped, tmp_path):
    handler, address = server
    digest = sums.digest(zipped)
    with pytest.raises(PolypError, match="https"):
        transfer.fetch(address, tmp_path / "here")
    handler.breaks = 2_000_000
    with pytest.raises(PolypError, match="go on"):
        transfer.fetch(address, tmp_path / "here", sha256=digest)
    handler.breaks = None
    assert transfer.fetch(address, tmp_path / "here", sha256=digest).is_dir()
    assert handler.asked[0] == 0
    assert handler.asked[-1] > 0
    assert not list(tmp_path.glob(".*"))


def test_a_password_in_an_address_is_not_printed(zipped, tmp_path, capsys):
    for words in (["fetch", "https://user:secret@host:1/x.zip"], ["push", str(zipped), "https://user:secret@host/x"]):
        assert main(words) == 1
        said = capsys.readouterr().err
        assert "https://***@host" in said
        assert "secret" not in said

"""A bundle on Hugging Face is the bundle that was pushed, whole, and of the version that was asked for."""

from __future__ import annotations

import json
import zipfile

import pytest

from polyp_monai.cli.main import main
from polyp_monai.errors import PolypError
from polyp_monai.sharing import archive, sums, transfer
from tests.sharing import hub_server

pytest.importorskip("huggingface_hub")
LARGE = b"0123456789abcdef" * 150_000


@pytest.fixture
def hub(monkeypatch, tmp_path):
    from huggingface_hub import constants

    with hub_server.running() as (found, address):
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol of its own, which this hub lacks
        monkeypatch.chdir(tmp_path)
        yield found


def packed(folder, version="0.1.0", **more):
    """my_net.zip as `polyp pack` writes it, with further files."""
    root = folder / f"{version}/my_net"
    texts = {
        "LICENSE": "Apache License",
        "docs/README.md": "# Mine\n\n![worst](failures/a.png), [terms](https://example.org)\n",
        "configs/metadata.json": json.dumps({"version": version}),
        "configs/inference.json": json.dumps({"run": ["$1 + 1"]}),
        **more,
    }
    for name, content in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (root / sums.NAME).write_text(sums.text(root))
    archive.write(archive.files_below(root), folder / version / "my_net.zip", "my_net")
    return folder / version / "my_net.zip"


def pushed(zipped):
    assert main(["push", str(zipped), "hf:me/my_net"]) == 0


def test_what_was_pushed_is_fetched_byte_for_byte(hub, tmp_path, capsys):
    zipped = packed(tmp_path, **{"docs/large.txt": LARGE})
    assert main(["push", str(zipped), "hf:me/my_net"]) == 0
    assert "hf:me/my_net@0.1.0" in capsys.readouterr().out
    repository = hub.repositories["me/my_net"]
    assert repository.private
    assert repository.refs["0.1.0"] == repository.refs["main"]
    card = repository.files("main")["README.md"].decode()
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert "](docs/failures/a.png)" in card
    assert "](https://example.org)" in card
    assert main(["fetch", "hf:me/my_net", "--out", "here", "--sha256", sums.digest(zipped)]) == 0
    with zipfile.ZipFile(zipped) as opened:
        assert {f"my_net/{name}" for name in archive.files_below(tmp_path / "here")} == set(opened.namelist())
    assert (tmp_path / "here/docs/large.txt").read_bytes() == LARGE
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    with pytest.raises(PolypError, match="sha256"):
        transfer.fetch("hf:me/my_net", tmp_path / "there", sha256="0" * 64)


def test_another_version_takes_the_place_of_the_older_one_and_both_can_be_had(hub, tmp_path):
    pushed(packed(tmp_path, "0.1.0", **{"docs/old.txt": "old"}))
    pushed(packed(tmp_path, "0.2.0"))
    assert not (transfer.fetch("hf:me/my_net", tmp_path / "newest") / "docs/old.txt").exists()
    assert (transfer.fetch("hf:me/my_net@0.1.0", tmp_path / "older") / "docs/old.txt").is_file()
    with pytest.raises(PolypError, match=r"exists already \(version 0\.1\.0\)"):
        transfer.fetch("hf:me/my_net@0.2.0", tmp_path / "older")
    with pytest.raises(PolypError, match="no such version"):
        transfer.fetch("hf:me/my_net@0.3.0", tmp_path / "none")


def test_a_version_keeps_its_content(hub, tmp_path, capsys):
    zipped = packed(tmp_path)
    pushed(zipped)
    commits = len(hub.repositories["me/my_net"].commits)
    pushed(zipped)
    assert len(hub.repositories["me/my_net"].commits) == commits
    packed(tmp_path, **{"docs/more.txt": "more"})
    assert main(["push", str(zipped), "hf:me/my_net"]) == 1
    assert "raise the version" in capsys.readouterr().err
    assert main(["push", str(zipped), "hf:me/other"]) == 1
    assert "one name everywhere" in capsys.readouterr().err
    assert "me/other" not in hub.repositories


def test_an_interrupted_download_goes_on(hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    pushed(packed(tmp_path, **{"docs/large.txt": LARGE}))
    monkeypatch.setattr("time.sleep", lambda _: None)  # before the client tries again, which it does some times
    hub.breaks = 0
    with pytest.raises(PolypError, match="go on"):
        transfer.fetch("hf:me/my_net", tmp_path / "here")
    hub.asked.clear()
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    hub.breaks = 1_000_000
    root = transfer.fetch("hf:me/my_net", tmp_path / "here")
    assert (root / "docs/large.txt").read_bytes() == LARGE
    asked = [(path.rpartition("/")[2], start) for method, path, start in hub.asked if method == "GET"]
    assert asked == [("large.txt", 0), ("large.txt", 1_000_000), ("large.txt", 2_000_000)]


def test_a_file_that_was_changed_on_the_way_is_noticed(hub, tmp_path):
    pushed(packed(tmp_path))
    repository = hub.repositories["me/my_net"]
    repository.files("main")["docs/README.md"] += b"x"
    repository.files("main")["sitecustomize.py"] = b"added later"
    with pytest.raises(PolypError, match="was changed"):
        transfer.fetch("hf:me/my_net", tmp_path / "here")
    repository.files("main")["docs/README.md"] = repository.files("main")["docs/README.md"][:-1]
    assert not (transfer.fetch("hf:me/my_net", tmp_path / "here") / "sitecustomize.py").exists()


def test_bundles_of_others_are_fetched_and_looked_at(hub, tmp_path):
    repository = hub.repositories["lab/theirs"] = hub_server.Repository(private=False)
    repository.commit({".gitattributes": b"", "LICENSE": b"", "configs/inference.json": b'{"run": ["$1 + 1"]}'})
    assert (transfer.fetch("hf:lab/theirs", tmp_path / "theirs") / "configs/inference.json").is_file()
    repository.commit({"configs/inference.json": b'{"run": ["$eval(\'1\')"]}'})
    with pytest.raises(PolypError, match="dangerous"):
        transfer.fetch("hf:lab/theirs", tmp_path / "again")
    for name in ("../outside.txt", "/tmp/x", ".cache/huggingface/x", "configs/a\\b.json", "nul.txt"):
        repository.commit({"configs/inference.json": b"{}", name: b"x"})
        with pytest.raises(PolypError, match="refused"):
            transfer.fetch("hf:lab/theirs", tmp_path / "again")
    assert not (tmp_path / "again").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("words", [["push", "my_net.zip", "hf:me/my_net"], ["fetch", "hf:me/my_net"]])
def test_without_access_or_network_it_says_so_in_a_line_without_the_token(
    hub, words, tmp_path, monkeypatch, capfd, caplog
):
    from huggingface_hub import constants

    packed(tmp_path, "0.1.0").rename(tmp_path / "my_net.zip")
    hub.repositories["me/my_net"] = hub_server.Repository(private=True)
    secret = "hf_another_secret"

    def said() -> str:
        assert main(words) == 1
        error = capfd.readouterr().err
        assert error.count("\n") == 1
        assert secret not in error + caplog.text
        assert "Traceback" not in error
        return error

    monkeypatch.setenv("HF_TOKEN", secret)
    assert "HF_TOKEN" in said()
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert "HF_HUB_OFFLINE is set" in said()
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org")
    assert "not https" in said()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in said()


@pytest.mark.parametrize("text", ["hf:", "hf:me", "hf:me/a/b", "hf:me/../x", "hf:me/x@", "hf:me/x@../y", "hf:/x"])
def test_what_is_no_address_is_refused(text, tmp_path, capsys):
    assert main(["fetch", text, "--out", str(tmp_path / "here")]) == 1
    assert "OWNER/NAME" in capsys.readouterr().err

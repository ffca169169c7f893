"""A bundle from elsewhere is used only if it is clean, trusted by its content, or signed where that is required."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from polyp_monai.bundle import locate
from polyp_monai.cli.main import main
from polyp_monai.errors import PolypError
from polyp_monai.sharing import archive, signature, sums, trust
from polyp_monai.sharing.inspection import inspect
from tests.sharing import hostile

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv(trust.FOLDER, str(tmp_path / "home"))
    monkeypatch.setattr(trust, "_given", set())
    return tmp_path / "home"


@pytest.fixture
def plain(tmp_path):
    return hostile.plain_bundle(tmp_path / "plain")


@pytest.fixture
def unknown(plain):
    config = hostile.content(plain)
    hostile.write(plain, {**config, "network_def": {"_target_": "somebody.else.Net"}})
    return plain


@pytest.fixture
def dangerous(plain, tmp_path):
    hostile.HOSTILE["open_in_run"](plain, tmp_path / "canary")
    return plain


def test_a_clean_bundle_passes(plain):
    assert locate.find(str(plain)) == plain.resolve()


def test_an_unknown_one_needs_a_yes_which_is_remembered(unknown, monkeypatch):
    with pytest.raises(PolypError, match=r"somebody\.else\.Net.*--trust [0-9a-f]{64}"):
        locate.find(str(unknown))
    answer(monkeypatch, "n")
    with pytest.raises(PolypError, match="not used"):
        locate.find(str(unknown))
    answer(monkeypatch, "y")
    locate.find(str(unknown))
    monkeypatch.undo()
    monkeypatch.setenv(trust.FOLDER, str(unknown.parent / "home"))
    locate.find(str(unknown))
    hostile.write(unknown, {**hostile.content(unknown), "more": "$somebody.else()"})
    with pytest.raises(PolypError, match="somebody"):
        locate.find(str(unknown))


def answer(monkeypatch, text):
    class Terminal:
        def isatty(self):
            return True

        def readline(self):
            return f"{text}\n"

        def write(self, _):
            pass

        def flush(self):
            pass

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("sys.stderr", Terminal())


def test_new_plain_weights_and_documents_keep_the_digest_and_other_weights_do_not(unknown, tmp_path):
    import torch

    before = inspect(unknown).digest
    (unknown / "docs/README.md").write_text("changed")
    torch.save({"a": torch.ones(3)}, unknown / "models/model.pt")
    assert inspect(unknown).digest == before
    hostile.HOSTILE["pickle_reduce"](unknown, tmp_path / "canary")
    assert inspect(unknown).digest != before


def test_a_dangerous_one_is_refused_without_a_question(dangerous, monkeypatch, tmp_path):
    answer(monkeypatch, "y")
    with pytest.raises(PolypError, match="dangerous"):
        locate.find(str(dangerous))
    assert not (tmp_path / "canary").exists()


def test_the_digest_of_inspect_lets_even_a_dangerous_one_pass(dangerous):
    trust.require_trust(dangerous, digest=inspect(dangerous).digest)
    with pytest.raises(PolypError, match="64 digits"):
        trust.require_trust(dangerous, digest="abc")


@pytest.mark.parametrize("words", [["export", "--format", "onnx"], ["pack"], ["card", "runs/unet/eval/test"]])
def test_commands_refuse_a_dangerous_bundle(dangerous, tmp_path, capsys, words):
    assert main([words[0], str(dangerous), *words[1:]]) == 1
    assert "dangerous" in capsys.readouterr().err
    assert not (tmp_path / "canary").exists()


def test_what_was_made_here_passes_and_another_folder_at_its_path_does_not(unknown, tmp_path):
    trust.made_here(unknown)
    locate.find(str(unknown))
    shutil.copytree(unknown, tmp_path / "other")
    unknown.rename(tmp_path / "moved")
    (tmp_path / "other").rename(unknown)
    with pytest.raises(PolypError, match="somebody"):
        locate.find(str(unknown))


def test_a_damaged_memory_is_said(unknown, home):
    home.mkdir()
    (home / "trusted.json").write_text("[]")
    with pytest.raises(PolypError, match=r"trusted\.json"):
        locate.find(str(unknown))


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CONFIG_HOME": "/x"}, "/x/polyp_monai"),
        ("linux", {}, "/home/me/.config/polyp_monai"),
        ("darwin", {}, "/home/me/Library/Application Support/polyp_monai"),
        ("win32", {"APPDATA": "/a"}, "/a/polyp_monai"),
    ],
)
def test_the_config_folder_is_the_platforms(platform, variables, expected, monkeypatch):
    for name in (trust.FOLDER, "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(trust.config_folder()) == expected


@pytest.fixture
def key(tmp_path):
    def make(name):
        path = tmp_path / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)], check=True)
        return path

    return make


def signed(root, key):
    (root / sums.NAME).write_text(sums.text(root))
    signature.sign(root, key)


def allow(path, key, name="anna"):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{name} {key.with_suffix('.pub').read_text()}")
    return path


@needs_ssh
def test_a_signature_names_its_signer_and_notices_every_change(plain, key, tmp_path):
    anna = key("anna")
    signed(plain, anna)
    allowed = allow(tmp_path / "allowed", anna)
    assert signature.verify(plain, allowed) == "anna"
    for name in sums.names(plain):
        path = plain / name
        raw = path.read_bytes()
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        with pytest.raises(PolypError, match="changed"):
            signature.verify(plain, allowed)
        path.write_bytes(raw)
    (plain / "extra.py").write_text("")
    with pytest.raises(PolypError, match="added"):
        signature.verify(plain, allowed)
    (plain / "extra.py").unlink()
    (plain / "LICENSE").unlink()
    with pytest.raises(PolypError, match="not there"):
        signature.verify(plain, allowed)


@needs_ssh
def test_another_key_or_another_purpose_does_not_count(plain, key, tmp_path, monkeypatch):
    signed(plain, key("eve"))
    allowed = allow(tmp_path / "allowed", key("anna"))
    with pytest.raises(PolypError, match="does not name"):
        signature.verify(plain, allowed)
    (plain / sums.SIGNATURE).unlink()
    with pytest.raises(PolypError, match="not signed"):
        signature.verify(plain, allowed)
    with monkeypatch.context() as patch:
        patch.setattr(signature, "NAMESPACE", "email")
        signed(plain, tmp_path / "anna")
    with pytest.raises(PolypError, match="does not fit"):
        signature.verify(plain, allowed)


@needs_ssh
def test_a_hospital_can_require_signatures(plain, key, home, tmp_path):
    home.mkdir()
    (home / "config.yaml").write_text("trust: signed\n")
    anna = key("anna")
    allow(home / "allowed_signers", anna)
    with pytest.raises(PolypError, match="not signed"):
        locate.find(str(plain))
    signed(plain, anna)
    locate.find(str(plain))
    assert locate.find("unet") == locate.shipped()["unet"]
    (home / "config.yaml").write_text("trust: never\n")
    with pytest.raises(PolypError, match="ask or signed"):
        locate.find(str(plain))


def test_inspect_says_it_by_its_status(plain, dangerous, tmp_path, capsys):
    shutil.make_archive(str(tmp_path / "sent"), "zip", plain.parent, plain.name)
    assert main(["inspect", "unet"]) == 0
    assert main(["inspect", str(tmp_path / "sent.zip"), "--json"]) == 4
    assert '"level": "dangerous"' in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "nothing.zip")]) == 1
    assert archive.unpack(tmp_path / "sent.zip", tmp_path / "out").is_dir()

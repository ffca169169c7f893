"""A zip is unpacked whole, or refused with nothing left behind."""

from __future__ import annotations

import stat
import struct
import zipfile

import pytest

from polyp_monai.errors import PolypError
from polyp_monai.sharing import archive


def made(tmp_path, *entries, name="sent.zip", **options):
    path = tmp_path / name
    with zipfile.ZipFile(path, "w", **options) as out:
        for entry, data in entries:
            out.writestr(entry, data)
    return path


def named(name: str, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = name
    info.external_attr = mode << 16
    return info


def with_flag(path, bit):
    """Set a flag in both headers of the first entry."""
    raw = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.index(signature) + offset
        raw[at : at + 2] = struct.pack("<H", struct.unpack("<H", raw[at : at + 2])[0] | bit)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("root", ["", "unet/"])
def test_unpacks_with_and_without_a_root_folder(tmp_path, root):
    path = made(tmp_path, (f"{root}configs/inference.json", "{}"), (f"{root}LICENSE", "free"))
    out = archive.unpack(path, tmp_path / "out")
    assert (out / "configs/inference.json").read_text() == "{}"
    assert (out / "LICENSE").read_text() == "free"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../x",
            "a/../../x",
            "/etc/x",
            "C:/x",
            "C:x",
            "\\\\host\\x",
            "a\\..\\x",
            "a/./x",
            "a//x",
            "a/x\x00.py",
            "a/x\n",
        ),
        *("a/con", "a/NUL.txt", "a/x.", "a/x ", "a/" + "x" * 300, "a/x:stream", "a/\u202ex.py"),
    ],
)
def test_refuses_names(tmp_path, name):
    refused(tmp_path, made(tmp_path, ("a/ok", "1"), (named(name), "2")))


def refused(tmp_path, path):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(PolypError):
        archive.unpack(path, tmp_path / "inner" / "out")
    assert [p for p in sorted(tmp_path.rglob("*")) if p.name != "inner"] == before


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_refuses_links_and_devices(tmp_path, mode):
    refused(tmp_path, made(tmp_path, ("a/ok", "1"), (named("a/link", mode | 0o777), "/etc/passwd")))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("first", "second"),
    [("a/x", "a/x"), ("a/x", "a/X"), ("a/x", "A/y"), ("a/x", "a/x/y"), ("a/\u00e9", "a/e\u0301"), ("a/\uff58", "a/x")],
)
def test_refuses_clashes(tmp_path, first, second):
    refused(tmp_path, made(tmp_path, ("a/ok", "1"), (named(first), "1"), (named(second), "2")))


def test_refuses_encrypted_entries(tmp_path):
    refused(tmp_path, with_flag(made(tmp_path, ("a/x", "1")), 1))


def test_refuses_bombs(tmp_path, monkeypatch):
    refused(tmp_path, made(tmp_path, ("a/x", b"\0" * 30_000_000), compression=zipfile.ZIP_DEFLATED))
    monkeypatch.setattr(archive, "MOST_ENTRIES", 3)
    refused(tmp_path, made(tmp_path, *((f"a/{i}", "1") for i in range(5)), name="many.zip"))
    monkeypatch.setattr(archive, "LARGEST", 10)
    refused(tmp_path, made(tmp_path, ("a/x", "12345678901"), name="large.zip"))


def test_refuses_an_entry_that_is_longer_than_it_says(tmp_path):
    path = made(tmp_path, ("a/x", b"0" * 5000), compression=zipfile.ZIP_DEFLATED)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02") + 24
    raw[at : at + 4] = struct.pack("<I", 10)
    path.write_bytes(raw)
    refused(tmp_path, path)


def test_refuses_what_is_no_zip_or_is_cut_short(tmp_path):
    (tmp_path / "sent.zip").write_bytes(b"not a zip")
    refused(tmp_path, tmp_path / "sent.zip")
    whole = made(tmp_path, ("a/x", b"0123456789" * 100), name="whole.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path, tmp_path / "cut.zip")


def test_refuses_a_changed_byte(tmp_path):
    path = made(tmp_path, ("a/x", b"0123456789" * 100))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"0123456789", b"0123456780", 1))
    refused(tmp_path, path)


def test_keeps_a_folder_that_is_there(tmp_path):
    path = made(tmp_path, ("a/x", "new"))
    (tmp_path / "out").mkdir()
    with pytest.raises(PolypError, match="exists"):
        archive.unpack(path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_nothing_executable_comes_out(tmp_path):
    out = archive.unpack(made(tmp_path, (named("a/run.sh", stat.S_IFREG | 0o4777), "x")), tmp_path / "out")
    assert (out / "run.sh").stat().st_mode & 0o7111 == 0

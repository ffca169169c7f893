"""Packed bundles to and from a folder that people share, and from an address."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path
from urllib.error import URLError
from urllib.parse import unquote, urlsplit

from polyp_monai.data import files
from polyp_monai.data import remote as addresses
from polyp_monai.errors import PolypError, known_as
from polyp_monai.sharing import archive, hub, inspection, sums
from polyp_monai.sharing.findings import Level

TIMEOUT = 30  # seconds without an answer


def push(zipped: Path, folder: Path) -> Path:
    """Copy a zip of `polyp pack` into a folder, with its digest beside it.

    Raises:
        PolypError: no packed bundle; no such folder; another zip of that name is there.
    """
    if not folder.is_dir():
        raise PolypError(f"{folder}: no such folder")
    with tempfile.TemporaryDirectory(prefix="polyp-push-") as place:
        archive.packed(zipped, Path(place) / "bundle")
    target = folder / zipped.name
    digest = sums.digest(zipped)
    if target.exists() and sums.digest(target) != digest:
        raise PolypError(f"{target}: another version is there; take it away, or pack under another name")
    with files.atomic(target) as partial:
        shutil.copyfile(zipped, partial)
        if sums.digest(partial) != digest:
            raise PolypError(f"{target}: was damaged while it was copied; try again")
    files.write_text(folder / f"{zipped.name}.sha256", f"{digest}  {zipped.name}\n")
    return target


def fetch(source: str, out: Path | None = None, sha256: str | None = None, trust: str | None = None) -> Path:
    """Get a packed bundle, look at it, and unpack it as a new folder.

    Args:
        source: a zip's path, its https address, or hf:OWNER/NAME, with @VERSION for one that is not the newest.
        out: folder to make; by default named like the zip, here.
        sha256: what the zip's digest must be. An address without https needs it.
        trust: digest of `polyp inspect`, of a dangerous bundle that is wanted all the same.

    Returns:
        The folder.

    Raises:
        PolypError: nothing there, another digest, a zip that is refused, a dangerous bundle, or a folder in the way.
    """
    if "://" in source and "@" in urlsplit(source).netloc:
        what = "holds a password, which would be sent to nobody"
        raise PolypError(f"{addresses.shown(source)}: {what}; download the zip and give its path")
    hosted = source.startswith(hub.PREFIX)
    remote = hosted or "://" in source
    if remote and not source.startswith(("https://", "http://", hub.PREFIX)):
        raise PolypError(f"{source}: cannot be fetched; give a zip, its https address, or hf:OWNER/NAME")
    if hosted:
        name = f"{hub.address(source).name}.zip"
    else:
        name = Path(unquote(urlsplit(source).path) if remote else source).name
    if not name.endswith(".zip"):
        raise PolypError(f"{source}: expected a zip that `polyp pack` wrote, or hf:OWNER/NAME")
    if why := archive.wrong_name(name):
        raise PolypError(f"{source}: {why}; rename it")
    target = Path(out or name.removesuffix(".zip")).absolute()
    if target.exists():
        raise PolypError(f"{target}: exists already ({_version(target)}); give another --out, or move it away")
    if remote and not source.startswith(("https://", hub.PREFIX)) and not sha256:
        raise PolypError(f"{source}: is not https, so anybody on the way can change it; give --sha256 HEX")
    with tempfile.TemporaryDirectory(prefix=".partial-fetch-", dir=_made(target.parent)) as folder:
        zipped = Path(folder) / name
        if hosted:
            hub.download(source, target.parent / f".{name}.parts", zipped)
        elif remote:
            _download(source, target.parent / f".{name}.part", https=not sha256).rename(zipped)
        elif Path(source).is_file():
            shutil.copyfile(source, zipped)  # what is checked is what is unpacked, whoever writes into the share
        else:
            raise PolypError(f"{source}: no such file")
        _check_digest(zipped, source, sha256, remote)
        unpacked = Path(folder) / "unpacked" / target.name
        with known_as(zipped, source), known_as(unpacked, source):
            archive.unpack(zipped, unpacked)
            if (unpacked / sums.NAME).is_file():
                sums.check(unpacked)
            found = inspection.inspect(unpacked)
        if not (unpacked / "configs").is_dir():
            raise PolypError(f"{source}: is no bundle (it has no folder configs/)")
        if found.level == Level.DANGEROUS and found.digest != (trust or "").lower():
            first = found.of(Level.DANGEROUS)[0]
            raise PolypError(
                f"{source}: dangerous, so not unpacked: {first}; --trust {found.digest} takes it all the same"
            )
        unpacked.rename(target)
    return target


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _version(folder: Path) -> str:
    try:
        about = json.loads((folder / "configs/metadata.json").read_text(encoding="utf-8"))
        return f"version {about['version']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "no bundle"


def _check_digest(zipped: Path, source: str, sha256: str | None, remote: bool) -> None:
    beside = Path(f"{source}.sha256")
    if sha256 is None and not remote and beside.is_file():
        sha256 = beside.read_text(encoding="utf-8").split()[0]
    found = sums.digest(zipped)
    if sha256 and found != sha256.lower():
        raise PolypError(f"{source}: its sha256 is {found}, expected {sha256}; damaged, or another file")


def _download(source: str, part: Path, https: bool) -> Path:
    """The address' content in the file `part`; goes on where an interrupted download ended, if it is still the same.

    `https`: refuse to be sent on to an address without it.
    """
    tag = part.with_suffix(".etag")
    request = urllib.request.Request(source)
    have = part.stat().st_size if part.is_file() and tag.is_file() else 0
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag.read_text(encoding="utf-8"))
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            if https and not answer.url.startswith("https://"):
                raise PolypError(f"{source}: leads to {answer.url}, which is not https; give --sha256 HEX")
            goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            length = int(answer.headers.get("Content-Length") or 0) + (have if goes_on else 0)
            if length > archive.LARGEST:
                raise PolypError(f"{source}: is larger than {archive.LARGEST // 10**9} GB")
            tag.write_text(answer.headers.get("ETag") or "", encoding="utf-8")
            done = _receive(answer, part, have if goes_on else 0, length)
    except (URLError, OSError, ValueError) as error:
        raise PolypError(f"{source}: cannot be fetched ({error}); what came is kept, try again to go on") from error
    if length and done != length:
        raise PolypError(f"{source}: ended early, at {done} of {length} bytes; try again to go on")
    tag.unlink()
    return part


def _receive(answer, part: Path, have: int, length: int) -> int:
    shows = sys.stderr.isatty()
    with part.open("r+b" if have else "wb") as out:
        out.seek(have)
        while piece := answer.read(1 << 20):
            out.write(piece)
            have += len(piece)
            if have > archive.LARGEST:
                raise PolypError(f"more than {archive.LARGEST // 10**9} GB came")
            if shows:
                print(f"\r{have / 1e6:.1f} of {length / 1e6:.1f} MB", end="", file=sys.stderr)
        out.truncate()
    if shows:
        print(file=sys.stderr)
    return have

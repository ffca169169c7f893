"""Packed bundles to and from Hugging Face: a repository holds a bundle's files, as those of MONAI do, a tag a version.

The client of huggingface_hub does the talking, with its settings: HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from polyp_monai.errors import PolypError
from polyp_monai.sharing import archive, sums

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PREFIX = "hf:"
HUB = "https://huggingface.co"
ADDRESS = re.compile(r"hf:(\w[\w.-]*/(\w(?:[\w.-]*\w)?))(?:@(\w[\w.+-]*))?", re.ASCII)
LOCAL = ("localhost", "127.0.0.1", "::1")
LICENSES = {"Apache License": "apache-2.0", "MIT License": "mit"}  # as the hub calls them


class Address(NamedTuple):
    """Of `hf:OWNER/NAME@VERSION`: OWNER/NAME, the bundle's name, and the version (tag, branch or commit) or None."""

    repo: str
    name: str
    version: str | None


def address(text: str) -> Address:
    """Raises PolypError when `text` is no address of a bundle on the hub."""
    match = ADDRESS.fullmatch(text)
    if not match:
        raise PolypError(f"{text}: expected hf:OWNER/NAME or hf:OWNER/NAME@VERSION")
    return Address(*match.groups())


def push(zipped: Path, text: str) -> str:
    """Make a zip of `polyp pack` the newest version of a repository, in one commit that leaves nothing older there.

    A repository that is not there yet is made, private. The version is that of the bundle's metadata.

    Returns:
        The address of this version.

    Raises:
        PolypError: no packed bundle, or of another name; this version is there with another content; the hub refuses.
    """
    repo, name, version = address(text)
    if version:
        raise PolypError(f"{text}: push to hf:{repo}; the version is what the bundle's metadata says")
    if Path(zipped).name != f"{name}.zip":
        raise PolypError(f"{zipped}: a bundle has one name everywhere; pack it with --out {name}.zip for {text}")
    with tempfile.TemporaryDirectory(prefix="polyp-push-") as folder:
        root = archive.packed(Path(zipped), Path(folder) / name)
        version = str(json.loads((root / "configs/metadata.json").read_text(encoding="utf-8"))["version"])
        with _clear_errors(text):
            api = _client()
            api.create_repo(repo, private=True, exist_ok=True)
            there = {tag.name for tag in api.list_repo_refs(repo).tags}
            if version not in there:
                api.create_tag(repo, tag=version, revision=_commit(api, repo, root, f"version {version}"))
            elif Path(api.hf_hub_download(repo, sums.NAME, revision=version, local_dir=folder)).read_text(
                encoding="utf-8"
            ) != (root / sums.NAME).read_text(encoding="utf-8"):
                raise PolypError(
                    f"{text}: has a version {version} with another content; raise the version in configs/metadata.json"
                )
        return f"{PREFIX}{repo}@{version}"


def _commit(api: HfApi, repo: str, root: Path, message: str) -> str:
    """Replace all files of the repository by those of `root` and a card; gives the commit."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    new: dict[str, Path | bytes] = {"README.md": _card(root).encode(), **archive.files_below(root)}
    old = [name for name in api.list_repo_files(repo) if name not in new and name != ".gitattributes"]
    changes = [CommitOperationDelete(name) for name in old]
    additions = [CommitOperationAdd(name, content) for name, content in sorted(new.items())]
    return api.create_commit(repo, [*changes, *additions], commit_message=message).oid


def _card(root: Path) -> str:
    """The bundle's card with what the hub wants to know at its head, and links that hold from the folder above."""
    terms = "docs/data_license.txt"
    licence = (root / "LICENSE").read_text(encoding="utf-8", errors="replace")
    known = next((short for words, short in LICENSES.items() if words in licence), "other")
    head = [f"license: {'other' if (root / terms).is_file() else known}"]
    if (root / terms).is_file():
        head += ["license_name: terms-of-the-data", f"license_link: {terms}"]
    head += ["library_name: monai", "pipeline_tag: image-segmentation", "tags: [monai, medical, endoscopy, polyp]"]
    text = (root / "docs/README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\((?![a-z]+:|#|/)", "](docs/", text)
    return "\n".join(["---", *head, "---", "", text])


def download(text: str, parts: Path, zipped: Path) -> None:
    """Write the bundle at the address `text` as the zip `zipped`, byte for byte the one that was pushed.

    The files come into the folder `parts`; those that are there whole are not fetched again. Of a bundle with
    SHA256SUMS only the files listed there are fetched; the hub's own are none of it.

    Raises:
        PolypError: nothing there, no access, no network, or files that no bundle needs.
    """
    repo, name, version = address(text)
    with _clear_errors(text):
        api = _client()
        info = api.model_info(repo, revision=version, files_metadata=True)
        sizes = {found.rfilename: found.size or 0 for found in info.siblings or ()}
        commit = info.sha

        def get(file: str) -> Path:
            return Path(api.hf_hub_download(repo, file, revision=commit, local_dir=parts))

        wanted = [file for file in sizes if file != ".gitattributes"]
        if sums.NAME in sizes:
            listed = sums.read(get(sums.NAME))
            wanted = [file for file in wanted if file in listed or file in (sums.NAME, sums.SIGNATURE)]
        for file in wanted:
            if (why := archive.wrong_name(file)) or file.startswith(".cache/"):  # which is the client's own
                raise PolypError(f"{text}: refused: {file[:80]!r} {why or 'is no file of a bundle'}")
        if len(wanted) > archive.MOST_ENTRIES or sum(sizes[file] for file in wanted) > archive.LARGEST:
            raise PolypError(f"{text}: refused: has more files, or larger ones, than a bundle needs")
        found = {file: get(file) for file in wanted}
    archive.write(found, zipped, name)
    shutil.rmtree(parts)


def _client() -> HfApi:
    """The hub's client at HF_ENDPOINT, which is read now and not when the client is imported."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import logging as talk

    talk.set_verbosity_error()  # it tries again by itself; what it then gives up on is said below
    for library in ("httpx", "httpx2"):
        logging.getLogger(library).setLevel(logging.WARNING)
    endpoint = os.environ.get("HF_ENDPOINT") or HUB
    parts = urlsplit(endpoint)
    if parts.scheme != "https" and parts.hostname not in LOCAL:
        raise PolypError(f"HF_ENDPOINT={endpoint}: is not https, so anybody on the way can read HF_TOKEN")
    return HfApi(endpoint=endpoint.rstrip("/"))


@contextmanager
def _clear_errors(text: str) -> Iterator[None]:
    """What the client raises, as one line without the token."""
    try:
        from huggingface_hub import errors, get_token
    except ImportError as error:
        raise PolypError(f"{text}: needs huggingface_hub: pip install 'polyp_monai[hub]'") from error
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise PolypError(f"{text}: cannot be reached: HF_HUB_OFFLINE is set") from error
    except errors.RevisionNotFoundError as error:
        raise PolypError(f"{text}: has no such version") from error
    except errors.RepositoryNotFoundError as error:
        raise PolypError(f"{text}: is not there, or not for you; a private one needs HF_TOKEN") from error
    except (errors.HTTPError, OSError, ValueError, RuntimeError) as error:  # the first is that of its HTTP library
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise PolypError(f"{text}: refused ({status}); HF_TOKEN is missing, or may not do this") from error
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        why = why.replace(get_token() or "\0", "HF_TOKEN")
        raise PolypError(f"{text}: cannot be reached ({why}); what came is kept, try again to go on") from error

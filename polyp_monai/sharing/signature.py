"""Signatures over SHA256SUMS with the SSH keys that people have, by `ssh-keygen -Y`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from polyp_monai.errors import PolypError
from polyp_monai.sharing import sums

NAMESPACE = "polyp-bundle"  # so that a signature made for something else does not count


def sign(root: Path, key: Path) -> None:
    """Write SHA256SUMS.sig for the bundle in `root`, whose SHA256SUMS is there.

    Args:
        key: a private key of ssh-keygen, or the public one where an agent holds the private one.

    Raises:
        PolypError: no ssh-keygen, or it cannot use the key.
    """
    if not Path(key).is_file():
        raise PolypError(f"{key}: no such key; make one with `ssh-keygen -t ed25519 -f {key}`")
    target = root / sums.SIGNATURE
    target.unlink(missing_ok=True)
    _run(["sign", "-f", str(key), "-n", NAMESPACE, str(root / sums.NAME)], f"{key}: cannot sign")


def verify(root: Path, allowed_signers: Path) -> str:
    """Who signed the bundle in `root`, by the name that the file of allowed signers gives the key.

    Raises:
        PolypError: not signed, signed by another key, or changed since.
    """
    allowed_signers, signature = Path(allowed_signers), root / sums.SIGNATURE
    if not allowed_signers.is_file():
        raise PolypError(
            f"{allowed_signers}: no such file of allowed signers; a line of it is NAME KEY, as in known_hosts"
        )
    if not signature.is_file():
        raise PolypError(f"{root}: is not signed (it has no {sums.SIGNATURE})")
    listed = ["-s", str(signature), "-f", str(allowed_signers)]
    who = _run(["find-principals", *listed], f"{root}: is signed by a key that {allowed_signers} does not name")
    principal = who.splitlines()[0].strip() if who.strip() else ""
    arguments = ["verify", *listed, "-I", principal, "-n", NAMESPACE]
    _run(arguments, f"{root}: the signature does not fit {sums.NAME}", (root / sums.NAME).read_bytes())
    sums.check(root)
    return principal


def _run(arguments: list[str], failure: str, given: bytes = b"") -> str:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise PolypError("signatures need ssh-keygen, of OpenSSH 8.2 or later, not found here")
    done = subprocess.run([program, "-Y", *arguments], input=given, capture_output=True)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise PolypError(f"{failure} ({reason[-1] if reason else done.returncode})")
    return done.stdout.decode(errors="replace")

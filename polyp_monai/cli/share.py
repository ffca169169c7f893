"""`polyp inspect`, `pack`, `card`, `push` and `fetch`; and --trust of every command that takes a BUNDLE."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from polyp_monai.errors import PolypError

INSPECT = """Look at a bundle that somebody sent, without running anything of it.

BUNDLE is a folder or a zip. Every name that its configs would import, call or evaluate is known, unknown or dangerous;
so are its code, its weights (pickles can run programs) and every other file. What is unknown can run anything: read it,
or trust its sender. With --verify, the signature over SHA256SUMS must be of a key that the file ALLOWED_SIGNERS names
(a line: NAME KEY, as ssh-keygen wants it), and no file may be changed, added or missing.

Exit status: 0 clean, 3 to look at, 4 dangerous.

examples:
  polyp inspect sent.zip
  polyp inspect sent.zip --verify ~/.ssh/allowed_signers
  polyp inspect their_bundle --json
"""

PACK = """Write a trained bundle as one zip for others: weights as .pt and .safetensors, configs without macros,
licence, card, digests, and the part of polyp_monai that it needs, so that stock MONAI runs it where polyp_monai is not.

The same bundle gives the same bytes. The bundle is called like the zip. --with puts exported files beside the weights;
int8 ones are calibrated and checked on --data. --sign takes a private SSH key.

examples:
  polyp pack efficient_unet
  polyp pack runs/unet --out my_unet.zip --with onnx,onnx-int8 --data data/kvasir --sign ~/.ssh/id_ed25519
"""

CARD = """Write the scores of evaluations into a bundle's card (docs/README.md) and metadata, in place of those there.

RUN is a folder that `polyp evaluate` wrote with the weights that the bundle holds; the first gives the bundle's score.

example:
  polyp card runs/unet runs/unet/eval/test results/clinicdb
"""

PUSH = """Copy a packed bundle into a folder that people share, with its digest beside it.

example:
  polyp push unet.zip /mnt/share/bundles
"""

FETCH = """Get a packed bundle, look at it, and unpack it as a new folder. A dangerous one is not unpacked.

SOURCE is a zip or its https address. An interrupted download goes on where it ended. A folder that is there is kept.

examples:
  polyp fetch /mnt/share/bundles/unet.zip
  polyp fetch https://example.org/unet.zip --sha256 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
"""


def add(command: Callable[..., argparse.ArgumentParser], commands: argparse._SubParsersAction) -> None:
    """Declare these commands by `command(name, about, run, description)`, and --trust for all that take a BUNDLE."""
    pack = command("pack", "write a trained bundle as one zip for others", _pack, PACK)
    pack.add_argument("bundle", metavar="BUNDLE", help="name or folder")
    pack.add_argument("--out", metavar="FILE", type=Path, help="zip to write (NAME.zip, here)")
    pack.add_argument("--with", dest="exports", metavar="LIST", default="", help="exports, such as onnx,openvino")
    pack.add_argument("--data", metavar="DIR", help="prepared set, for int8 exports")
    pack.add_argument("--sign", metavar="KEY", type=Path, help="private SSH key to sign it with")
    card = command("card", "write measured scores into a bundle's card", _card, CARD)
    card.add_argument("bundle", metavar="BUNDLE", help="name or folder")
    card.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folder that `polyp evaluate` wrote")
    push = command("push", "copy a packed bundle into a shared folder", _push, PUSH)
    push.add_argument("zip", metavar="FILE", type=Path, help="as `polyp pack` wrote it")
    push.add_argument("folder", metavar="FOLDER", type=Path, help="where others find it")
    fetch = command("fetch", "get a packed bundle, look at it, unpack it", _fetch, FETCH)
    fetch.add_argument("source", metavar="SOURCE", help="zip, or its https address")
    fetch.add_argument("--out", metavar="DIR", type=Path, help="folder to make (NAME, here)")
    fetch.add_argument("--sha256", metavar="HEX", help="what the zip's digest must be")
    fetch.add_argument("--trust", metavar="SHA256", help="take a dangerous bundle of this digest all the same")
    inspect = command("inspect", "look at a bundle without running anything of it", _inspect, INSPECT)
    inspect.add_argument("path", metavar="BUNDLE", help="folder or zip, or the name of a shipped bundle")
    inspect.add_argument("--verify", metavar="FILE", type=Path, help="allowed signers, one of whom must have signed it")
    inspect.add_argument("--json", action="store_true", help="everything that was found, as JSON")
    for sub in commands.choices.values():
        if any(action.dest == "bundle" for action in sub._actions):
            sub.add_argument(
                "--trust", metavar="SHA256", help="use the bundle of this digest (polyp inspect) whatever it holds"
            )


def trusting(args: argparse.Namespace) -> int | None:
    """Run the command, trusting what --trust names."""
    from polyp_monai.sharing import trust

    trust.accept(getattr(args, "trust", None))
    return args.run(args)


def _pack(args: argparse.Namespace) -> None:
    from polyp_monai.bundle import locate
    from polyp_monai.sharing import pack, sums

    exports = [word.strip() for word in args.exports.split(",") if word.strip()]
    path = pack.pack(locate.find(args.bundle), args.out, exports, args.data, args.sign)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, sha256 {sums.digest(path)}")


def _card(args: argparse.Namespace) -> None:
    from polyp_monai.bundle import locate
    from polyp_monai.sharing import card

    print("\n".join(card.fill(locate.find(args.bundle), args.runs)))


def _push(args: argparse.Namespace) -> None:
    from polyp_monai.sharing import transfer

    print(transfer.push(args.zip, args.folder))


def _fetch(args: argparse.Namespace) -> None:
    from polyp_monai.sharing import inspection, transfer

    root = transfer.fetch(args.source, args.out, args.sha256, args.trust)
    print(inspection.inspect(root).text())
    print(f"unpacked in {root}")


def _inspect(args: argparse.Namespace) -> int:
    from polyp_monai.bundle import locate
    from polyp_monai.sharing import archive, inspection, signature

    path = Path(locate.shipped().get(args.path, args.path))
    with tempfile.TemporaryDirectory(prefix="polyp-inspect-") as folder:
        root = path
        if path.is_file():
            root = archive.unpack(path, Path(folder) / path.name.removesuffix(".zip"))
        elif not path.exists():
            raise PolypError(f"{path}: no such bundle; give a folder or a zip")
        found = inspection.inspect(root)
        found.path = path
        signer = signature.verify(root, args.verify) if args.verify else None
    if args.json:
        print(json.dumps({**found.to_dict(), "signed_by": signer}, indent=1))
    else:
        print(found.text())
        if signer:
            print(f"signed by {signer}; no file was changed, added or taken away since")
    return found.status

"""`polyp inspect`, `pack`, `card`, `push` and `fetch`; and --trust of every command that takes a BUNDLE."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from polyp_monai.bundle import values
from polyp_monai.cli import common
from polyp_monai.cli.grammar import Mistakes, Outcome, Parser, complete
from polyp_monai.errors import PolypError, known_as

INSPECT = """Look at a bundle that somebody sent, without running anything of it.

BUNDLE is a folder or a zip. Every name that its configs would import, call or evaluate is known, unknown or dangerous;
so are its code, its weights (pickles can run programs) and every other file. What is unknown can run anything: read it,
or trust its sender. With --verify, the signature over SHA256SUMS must be of a key that the file ALLOWED_SIGNERS names
(a line: NAME KEY, as ssh-keygen wants it), and no file may be changed, added or missing.

Exit status: 0 clean, 3 to look at, 4 dangerous.
"""

INSPECT_EXAMPLES = """examples:
  polyp inspect sent.zip
  polyp inspect sent.zip --verify ~/.ssh/allowed_signers
  polyp inspect their_bundle --json
"""

PACK = """Write a trained bundle as one zip for others: weights as .pt and .safetensors, configs without macros,
licence, card, digests, and the part of polyp_monai that it needs, so that stock MONAI runs it where polyp_monai is not.

The same bundle gives the same bytes. The bundle is called like the zip. --with puts exported files beside the weights;
int8 ones are calibrated and checked on --data. --sign takes a private SSH key.
"""

PACK_EXAMPLES = """examples:
  polyp pack efficient_unet
  polyp pack runs/unet --out my_unet.zip --with onnx,onnx-int8 --data data/kvasir --sign ~/.ssh/id_ed25519
"""

CARD = """Write the scores of evaluations into a bundle's card (docs/README.md) and metadata, in place of those there.

RUN is a folder that `polyp evaluate` wrote with the weights that the bundle holds; the first gives the bundle's score.
--pictures puts pictures of the worst frames into docs/failures, for a bundle of your own whose data may be shown.
"""

CARD_EXAMPLES = """examples:
  polyp card runs/unet runs/unet/eval/test results/clinicdb
  polyp card runs/unet runs/unet/eval/test --pictures
"""

PUSH = """Copy a packed bundle into a folder that people share, with its digest beside it; or make it the newest version
of a Hugging Face repository, which is made, private, where there is none. HF_TOKEN says who you are.
"""

PUSH_EXAMPLES = """examples:
  polyp push unet.zip /mnt/share/bundles
  polyp push unet.zip hf:my_lab/unet
"""

FETCH = """Get a packed bundle, look at it, and unpack it as a new folder. A dangerous one is not unpacked.

SOURCE is a zip, its https address, or hf:OWNER/NAME (or hf:OWNER/NAME@VERSION) on Hugging Face. An interrupted download
goes on where it ended. A folder that is there is kept.
"""

FETCH_EXAMPLES = """examples:
  polyp fetch /mnt/share/bundles/unet.zip
  polyp fetch https://example.org/unet.zip --sha256 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
  polyp fetch hf:my_lab/unet@0.1.0
"""


def declare_trust(parser: Parser) -> None:
    """--trust, where the command takes a BUNDLE whose code it then runs."""
    if any(action.dest == "bundle" for action in parser._actions):
        about = "use the bundle of this digest (`polyp inspect` prints it) whatever it holds"
        parser.option("trust", "SHA256", about, values.sha256)


def accept(args: argparse.Namespace) -> None:
    """Trust what --trust names."""
    if getattr(args, "trust", None):
        from polyp_monai.sharing import trust

        trust.accept(args.trust)


def declare_pack(parser: Parser) -> None:
    parser.description, parser.epilog = PACK, PACK_EXAMPLES
    parser.usage = "polyp pack BUNDLE [options]"
    parser.set_defaults(run=pack)
    common.bundle(parser)
    parser.option("out", "FILE", "zip to write (NAME.zip, here)", Path)
    parser.option("with", "LIST", "exports to put in, such as onnx,openvino", dest="exports", default="")
    common.data(parser, "prepared set, for int8 exports")
    parser.option("sign", "KEY", "private SSH key to sign it with", Path)


def pack(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.bundle import locate

    exports = [word.strip() for word in args.exports.split(",") if word.strip()]
    with mistakes.collecting():
        root = locate.find(args.bundle)
        common.weights(root, {})
    with mistakes.collecting():
        common.prepared([args.data] if args.data else [])
    mistakes.check()

    from polyp_monai.export import pack
    from polyp_monai.sharing import sums

    path = pack.pack(root, args.out, exports, args.data, args.sign)
    size, digest = path.stat().st_size, sums.digest(path)
    text = f"{path}: {size / 1e6:.1f} MB, sha256 {digest}"
    return Outcome([text], {"file": str(path), "bytes": size, "sha256": digest})


def declare_card(parser: Parser) -> None:
    parser.description, parser.epilog = CARD, CARD_EXAMPLES
    parser.usage = "polyp card BUNDLE RUN [RUN ...] [options]"
    parser.set_defaults(run=card)
    common.bundle(parser)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folder that `polyp evaluate` wrote")
    parser.flag("pictures", "show the worst frames in the card")


def card(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.bundle import locate

    with mistakes.collecting():
        root = locate.find(args.bundle)
        if args.pictures and locate.is_shipped(root):
            raise PolypError(f"--pictures: {args.bundle} came with polyp_monai; patients' frames do not go into it")
    mistakes.check()

    from polyp_monai.sharing import card

    lines = card.fill(root, [Path(run) for run in args.runs], args.pictures)
    metadata = json.loads((root / "configs/metadata.json").read_text(encoding="utf-8"))
    content = {"card": str(root / "docs/README.md"), "eval_metrics": metadata["eval_metrics"]}
    return Outcome(lines, content)


def declare_push(parser: Parser) -> None:
    parser.description, parser.epilog = PUSH, PUSH_EXAMPLES
    parser.usage = "polyp push FILE FOLDER|hf:OWNER/NAME [options]"
    parser.set_defaults(run=push)
    parser.add_argument("zip", metavar="FILE", type=Path, help="as `polyp pack` wrote it")
    parser.add_argument("target", metavar="TARGET", help="where others find it")


def push(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    mistakes.check()
    from polyp_monai.data import remote
    from polyp_monai.sharing import hub, sums, transfer

    if args.target.startswith(hub.PREFIX):
        place = hub.push(args.zip, args.target)
    else:
        try:
            place = str(transfer.push(args.zip, Path(remote.local(args.target))))
        except ValueError as error:
            shown = remote.shown(args.target)
            raise PolypError(f"{shown}: expected a folder of this machine, or hf:OWNER/NAME") from error
    return Outcome([place], {"file": place, "sha256": sums.digest(args.zip)})


def declare_fetch(parser: Parser) -> None:
    parser.description, parser.epilog = FETCH, FETCH_EXAMPLES
    parser.usage = "polyp fetch SOURCE [options]"
    parser.set_defaults(run=fetch)
    parser.add_argument("source", metavar="SOURCE", help="zip, its https address, or hf:OWNER/NAME")
    parser.option("out", "DIR", "folder to make (NAME, here)", Path)
    parser.option("sha256", "HEX", "what the zip's digest must be", values.sha256)
    parser.option("trust", "SHA256", "take a dangerous bundle of this digest all the same", values.sha256)


def fetch(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    mistakes.check()
    from polyp_monai.sharing import inspection, transfer

    root = transfer.fetch(args.source, args.out, args.sha256, args.trust)
    found = inspection.inspect(root)
    return Outcome([*found.lines(), f"unpacked in {root}"], {"bundle": str(root), **found.to_dict()})


def declare_inspect(parser: Parser) -> None:
    parser.description, parser.epilog = INSPECT, INSPECT_EXAMPLES
    parser.usage = "polyp inspect BUNDLE [options]"
    parser.set_defaults(run=inspect)
    about = "folder or zip, or the name of a shipped bundle"
    complete(parser.add_argument("path", metavar="BUNDLE", help=about), common.complete_bundle)
    parser.option("verify", "FILE", "allowed signers, one of whom must have signed it", Path)


def inspect(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    mistakes.check()
    from polyp_monai.bundle import locate
    from polyp_monai.sharing import archive, inspection, signature

    path = Path(locate.shipped().get(args.path, args.path))
    with tempfile.TemporaryDirectory(prefix="polyp-inspect-") as folder:
        root = path
        if path.is_file():
            root = archive.unpack(path, Path(folder) / path.name.removesuffix(".zip"))
        elif not path.exists():
            raise PolypError(f"{path}: no such bundle; give a folder or a zip")
        if not (root / "configs").is_dir():
            raise PolypError(f"{path}: holds no bundle (a folder configs/)")
        with known_as(root, path):
            found = inspection.inspect(root)
            found.path = path
            signer = signature.verify(root, args.verify) if args.verify else None
    signed = [f"signed by {signer}; no file was changed, added or taken away since"] if signer else []
    return Outcome([*found.lines(), *signed], {**found.to_dict(), "signed_by": signer}, found.status)

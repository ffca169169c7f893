"""`polyp serve`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from polyp_monai.bundle import values
from polyp_monai.cli import common
from polyp_monai.cli.grammar import Mistakes, Outcome, Parser, complete
from polyp_monai.errors import PolypError

SERVE = """Answer over HTTP: a page to look at frames, /v1/predict for programs, /v2 for inference clients.

BUNDLE is a name, a folder or a file that `polyp export` wrote; the first is the default (efficient_unet alone). It
listens on this machine alone; another --host demands a token. Nothing that comes in is kept. Ctrl-C stops it.
"""

EXAMPLES = """examples:
  polyp serve
  polyp serve efficient_unet runs/mine --port 8000
  polyp serve --host 0.0.0.0 --token-file token --tls-cert cert.pem --tls-key key.pem
  polyp serve --source camera:0
"""

KEYS = ("device", "image_size", "threshold", "runtime", "tta")  # of inference.yaml, that hold for all bundles
NEEDED = ("fastapi", "uvicorn", "python_multipart", "websockets", "prometheus_client")
SAMPLES = (4, 6, 8, 3)  # seeds of frames to try, the last of which shows no polyp
SIZE = (640, 512)


def declare(parser: Parser) -> None:
    parser.description, parser.epilog = SERVE, EXAMPLES
    parser.set_defaults(run=serve)
    parser.usage = "polyp serve [BUNDLE ...] [options]"
    about = "name, folder or exported file (efficient_unet)"
    complete(parser.add_argument("bundles", metavar="BUNDLE", nargs="*", help=about), common.complete_bundle)
    parser.option("host", "ADDRESS", "to listen on (127.0.0.1)", default="127.0.0.1")
    parser.option("port", "N", "0 for any that is free (7860)", values.whole(0, 65535), default=7860)
    parser.option("token-file", "FILE", "clients must send the token in it", Path)
    parser.option("tls-cert", "FILE", "certificate (PEM), for HTTPS; with --tls-key", Path)
    parser.option("tls-key", "FILE", "its private key (PEM)", Path)
    about = "web page that may call it, as https://polyp.example.org; several by commas"
    parser.option("allow-origin", "ORIGIN", about, origins, default=())
    parser.option("source", "SOURCE", "video to follow and show: camera:0, rtsp://..., a file")
    about = "requests at work or waiting; beyond it the answer is 429 (64)"
    parser.option("queue", "N", about, values.whole(1, 4096), default=64)
    parser.option("max-batch", "N", "frames that go through the network together (8)", values.whole(1, 256), default=8)
    parser.option("max-body", "MB", "of a request, but for a clip (32)", values.whole(1, 1024), default=32)
    parser.option("max-clip", "MB", "of a clip (256)", values.whole(1, 16384), default=256)
    parser.option("max-pixels", "MP", "of a frame, in millions (25)", values.whole(1, 1000), default=25)
    parser.option("timeout", "S", "for a request (30)", values.number(0.1, 3600), default=30.0)


def origins(text: str) -> tuple[str, ...]:
    """Origins by commas, for `--allow-origin`. Raises ValueError."""
    found = tuple(part.strip().rstrip("/") for part in text.split(",") if part.strip())
    for origin in found:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}":
            raise ValueError(f"{origin}: expected https://NAME or https://NAME:PORT")
    return found


def serve(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.runtime import about

    with mistakes.collecting():
        if not about.installed(*NEEDED):
            raise PolypError("polyp serve: is not installed; pip install 'polyp_monai[serve]'")
    mistakes.check()

    import polyp_monai
    from polyp_monai.serve import server
    from polyp_monai.serve.app import create
    from polyp_monai.serve.guard import LOOPBACK
    from polyp_monai.serve.limits import Limits
    from polyp_monai.serve.service import Service

    with mistakes.collecting():
        token = server.read_token(args.token_file) if args.token_file else None
    with mistakes.collecting():
        _check_host(args, LOOPBACK)
    with mistakes.collecting():
        _check_tls(args)
    mistakes.check()

    mib = 2**20
    limits = Limits(
        body=args.max_body * mib,
        clip=args.max_clip * mib,
        held=max(512, 2 * args.max_clip, 2 * args.max_body) * mib,
        pixels=args.max_pixels * 10**6,
        queue=args.queue,
        batch=args.max_batch,
        seconds=args.timeout,
    )
    with server.listen(args.host, args.port) as listening:
        given = {key: values.literal(text) for key, text in args.given.items()}
        loaded = [polyp_monai.load(word, **given) for word in args.bundles or [common.FLAGSHIP]]
        service = Service(named(loaded), limits, samples, args.source)
        app = create(service, token, LOOPBACK if args.host in LOOPBACK else (), args.allow_origin)
        listening.listen()  # who reads the line below can ask already
        address = _address(args, listening.getsockname()[1])
        print(f"{address}  ({', '.join(service.bundles)}; Ctrl-C stops it)", flush=True)
        server.run(app, listening, args.tls_cert, args.tls_key)
    return Outcome(["stopped"], {"address": address, "bundles": list(service.bundles)})


def named(bundles: Sequence) -> dict:
    """Bundles by their names; of two of one name the second is NAME-2."""
    found: dict = {}
    for bundle in bundles:
        name, number = bundle.name, 2
        while name in found:
            name, number = f"{bundle.name}-{number}", number + 1
        found[name] = bundle
    return found


def samples() -> list[bytes]:
    """PNGs of drawn frames, always the same."""
    import cv2
    import numpy as np

    from data_prep import synthetic

    made = []
    for seed in SAMPLES:
        random = np.random.default_rng(seed)
        frame, _ = synthetic.render(random, SIZE, synthetic.draw_polyps(random) if seed != SAMPLES[-1] else ())
        made.append(cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes())
    return made


def _check_host(args: argparse.Namespace, loopback: frozenset[str]) -> None:
    if args.host not in loopback and not args.token_file:
        raise PolypError(f"--host {args.host}: others can reach it there; give --token-file FILE with a token")


def _check_tls(args: argparse.Namespace) -> None:
    if bool(args.tls_cert) != bool(args.tls_key):
        raise PolypError("--tls-cert and --tls-key: give both, or none")
    for path in filter(None, (args.tls_cert, args.tls_key)):
        if not path.is_file():
            raise PolypError(f"{path}: no such file")
    if args.tls_cert:
        import ssl

        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(args.tls_cert, args.tls_key)
        except OSError as error:  # of ssl too
            what = "are no certificate in PEM and its key"
            raise PolypError(f"--tls-cert {args.tls_cert} and --tls-key {args.tls_key}: {what} ({error})") from error


def _address(args: argparse.Namespace, port: int) -> str:
    host = f"[{args.host}]" if ":" in args.host else args.host
    return f"{'https' if args.tls_cert else 'http'}://{host}:{port}"

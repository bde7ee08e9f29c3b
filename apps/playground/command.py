"""A page in the browser to try trained models: generate, change latents, draw, interpolate, compare.

    pip install -r requirements/playground.txt
    python playground.py                                     # every best.pt in outputs/
    python playground.py --checkpoint_path A/best.pt B/best.pt

The page is served to this machine only (127.0.0.1) and sends no request to another host, unless `--share`
asks for a public link.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vaelab.cli import LabError, Parser, add_device_option, number
from vaelab.data.options import SPLITS, add_data_dir_option
from vaelab.language import N_, Message, _

if TYPE_CHECKING:
    from apps.playground.cache import ModelCache


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--output_dir",
        type=Path,
        default=Path("outputs"),
        help="the folder to search for best.pt, with its subfolders (default: outputs)",
    )
    parser.add_argument(
        "--checkpoint_path", type=Path, nargs="+", metavar="P", help="these checkpoints, without a search"
    )
    parser.add_argument(
        "--split", choices=SPLITS, default="valid", help="the split of the images (default: valid)"
    )
    add_data_dir_option(parser)
    parser.add_argument(
        "--port",
        type=number(int, 1, 65535),
        default=7860,
        help="the page is http://127.0.0.1:PORT (default: 7860)",
    )
    parser.add_argument(
        "--share",
        action="store_true",
        help="ask gradio's servers for a public link: anyone who has the link can use the page",
    )
    add_device_option(parser)
    return parser.parse_args(argv)


def make_cache(args: argparse.Namespace) -> ModelCache:
    """The models of the checkpoints that the options name. Raises: LabError if none of them can be used."""
    from apps.playground.cache import ModelCache, find_checkpoints
    from vaelab.device import choose_device

    paths = {str(path): path for path in args.checkpoint_path or ()} or find_checkpoints(args.output_dir)
    command = Message("python train.py --task Genwithlabel makes one")
    if not paths:
        raise LabError(
            "there is no best.pt in {output_dir}/: {command}", output_dir=args.output_dir, command=command
        )
    cache = ModelCache(paths, args.split, args.data_dir, choose_device(args.device))
    text = N_("{name} can't be used: {reason}")
    refused = [_(text, name=name, reason=why) for name, why in cache.refused.items()]
    if not cache.names:
        raise LabError("{refused}; {command}", refused="; ".join(refused), command=command)
    print("".join(f"{line}\n" for line in refused), end="", file=sys.stderr)
    return cache


def main(argv: Sequence[str] | None = None) -> None:
    """Load the checkpoints and serve the page until Ctrl+C."""
    args = parse_args(argv)
    # Imported here, so that --help and a wrong option don't have to wait for torch to load.
    from apps.playground.page import Page, import_gradio
    from apps.playground.rendering import PageRenderer

    with tempfile.TemporaryDirectory(prefix="playground-") as folder:
        renderer = PageRenderer(make_cache(args))
        page = Page(import_gradio(folder), renderer)
        try:
            _app, url, public_url = page.launch(args.port, args.share)
        except OSError as error:
            raise LabError(
                "port {port} is in use, or not allowed: name another by --port", port=args.port
            ) from error
        print(_("the page: {url} (Ctrl+C ends it)", url=public_url or url), flush=True)
        page.blocks.block_thread()

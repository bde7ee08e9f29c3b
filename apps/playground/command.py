"""The command line of the playground."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from apps.playground.page import Page, import_gradio
from apps.playground.rendering import Answers
from apps.playground.session import ModelCache, find_checkpoints
from vaelab.cli import LabError, Parser, number
from vaelab.data.options import SPLITS, add_data_dir_option
from vaelab.device import choose_device

# --- Command line -------------------------------------------------------------------------------


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--output_dir",
        type=Path,
        default=Path("outputs"),
        help="where to look for best.pt, in it and in all folders below (default: outputs)",
    )
    parser.add_argument(
        "--checkpoint_path", type=Path, nargs="+", metavar="P", help="these checkpoints, in place of a search"
    )
    parser.add_argument(
        "--split", choices=SPLITS, default="valid", help="whose images to play with (default: valid)"
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
        help="ask gradio's servers for a public link: anyone who has it can play",
    )
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cuda", "mps", "cpu"), help="auto: the fastest"
    )
    return parser.parse_args(argv)


def make_cache(args: argparse.Namespace) -> ModelCache:
    """The checkpoints that the options ask for. Raises: LabError if none of them can be played."""
    paths = {str(path): path for path in args.checkpoint_path or ()} or find_checkpoints(args.output_dir)
    command = "python train.py --task Genwithlabel makes one"
    if not paths:
        raise LabError(f"there is no best.pt in {args.output_dir}/: {command}")
    shelf = ModelCache(paths, args.split, args.data_dir, choose_device(args.device))
    refused = [f"{name} can't be played: {why}" for name, why in shelf.refused.items()]
    if not shelf.names:
        raise LabError(f"{'; '.join(refused)}; {command} that can")
    print("".join(f"{line}\n" for line in refused), end="", file=sys.stderr)
    return shelf


def main(argv: Sequence[str] | None = None) -> None:
    """Find the checkpoints, open the page, serve it until Ctrl+C."""
    args = parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="playground-") as folder:
        answers = Answers(make_cache(args))
        page = Page(import_gradio(folder), answers)
        try:
            _, url, public = page.blocks.launch(
                server_name="127.0.0.1",
                server_port=args.port,
                share=args.share,
                quiet=True,
                prevent_thread_lock=True,
                ssr_mode=False,
                mcp_server=False,
                enable_monitoring=False,
                run_history=False,
                footer_links=[],
                **page.looks,
            )
        except OSError as error:
            raise LabError(f"port {args.port} is in use, or not allowed: name another by --port") from error
        print(f"the page: {public or url} (Ctrl+C ends it)", flush=True)
        page.blocks.block_thread()

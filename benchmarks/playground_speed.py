"""The response time of the playground: from an event in a real browser to the new image on the page.

    python benchmarks/playground_speed.py --checkpoint_path outputs/Genwithlabel/best.pt

Needs requirements/test.txt and Debian's chromium. The browser, headless, runs on the same cores.
"""

from __future__ import annotations

import shutil
import socket
import statistics
import subprocess
import sys
from pathlib import Path

from helpers import REPO, machine

from vaelab.checkpoint import load_checkpoint
from vaelab.cli import LabError, Parser, markdown, number, run
from vaelab.data.options import add_data_dir_option

# Moves a slider and waits for another picture in the part of the page that shows the answer. Returns: ms.
MOVE = """
([shown, nth, share]) => new Promise((resolve) => {
  const sliders = [...document.querySelectorAll("input[type=range]")].filter((one) => one.offsetParent);
  const slider = sliders[nth], low = +slider.min, high = +slider.max;
  const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;
  const pictures = () => [...document.querySelectorAll(`${shown} img`)].map((image) => image.src).join();
  const before = pictures(), start = performance.now();
  const look = () => {
    if (pictures() === before) requestAnimationFrame(look);
    else resolve(performance.now() - start);
  };
  set.call(slider, low + share * (high - low));
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  look();
})
"""
EVENTS = {  # tab: the element with its images, and what is moved
    "Latents": ("#decoded", "a slider of a latent"),
    "Interpolate": ("#interpolated", "the position between two images, 12 images"),
}


def response_times(port: int, tab: str, events: int) -> list[float]:
    """The milliseconds from each of `events` events on a tab to its image, after ten that are not counted."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_role("tab", name=tab, exact=True).click()
        shown = EVENTS[tab][0]
        page.wait_for_selector(f"{shown} img")
        times = []
        for i in range(10 + events):
            times.append(page.evaluate(MOVE, [shown, i % 5 if tab == "Latents" else 0, (i * 0.37) % 1]))
            page.wait_for_timeout(50)
        browser.close()
    return times[10:]


def main() -> None:
    """Start the playground, measure, print."""
    parser = Parser(description=__doc__)
    parser.add_argument("--checkpoint_path", type=Path, required=True, help="the checkpoint of the model")
    parser.add_argument("--events", type=number(int, 1, 10_000), default=100, help="(default: 100)")
    add_data_dir_option(parser)
    args = parser.parse_args()
    checkpoint = load_checkpoint(args.checkpoint_path)
    if shutil.which("chromium") is None:
        raise LabError("there is no chromium: apt install chromium")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, str(REPO / "playground.py"), "--checkpoint_path", str(args.checkpoint_path)]
    command += ["--port", str(port), *(["--data_dir", str(args.data_dir)] if args.data_dir else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as playground:
        try:
            if "the page" not in playground.stdout.readline():
                raise LabError("the playground did not start")
            times = {tab: response_times(port, tab, args.events) for tab in EVENTS}
        finally:
            playground.terminate()
    print(f"{machine()}; {checkpoint.task}, latent_dim {checkpoint.config.latent_dim}")
    rows = [
        [tab, EVENTS[tab][1], f"{statistics.median(each):.0f} ms", f"{min(each):.0f} to {max(each):.0f} ms"]
        for tab, each in times.items()
    ]
    print(markdown(["tab", f"{args.events} events", "median", "range"], rows))


if __name__ == "__main__":
    run(main)

"""`playground.py`: the command, its server, and the page in a real browser."""

# ruff: noqa: F811 (fixtures are imported, and named again by the tests that take them)
from __future__ import annotations

import base64
import html
import io
import json
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import browser, open_page  # noqa: F401
from conftest import REPO, fail
from PIL import Image
from playing import NASTY, cache, drawing, lab, png  # noqa: F401

from apps.playground.cache import ModelCache
from apps.playground.rendering import BEST

pytestmark = pytest.mark.xdist_group("playground")  # one server for all

# --- The command --------------------------------------------------------------------------------


ONE_MODEL = ("playground.py", "--output_dir", "outputs/VAE0label")


def test_mistakes(lab: Path, tmp_path: Path) -> None:
    line = fail("playground.py", "--output_dir", "nowhere", cwd=lab)
    assert "there is no best.pt in nowhere/: python train.py --task Genwithlabel makes one" in line
    line = fail("playground.py", "--checkpoint_path", f"outputs/{NASTY}/best.pt", "lost.pt", cwd=lab)
    assert "is damaged" in line
    assert "there is no checkpoint lost.pt" in line
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = fail(*ONE_MODEL, "--port", port, cwd=lab, process=True)
        assert f"port {port} is in use, or not allowed: name another by --port" in line
    (tmp_path / "gradio.py").write_text("raise ImportError('no gradio')\n")
    line = fail(*ONE_MODEL, cwd=lab, env={"PYTHONPATH": str(tmp_path)}, process=True)
    assert line == "error: the playground needs gradio: pip install -r requirements/playground.txt\n"


# Run by Python when it starts: notes every other host that the process asks for.
WATCH = """
import os, sys
def note(event, args):
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event == "socket.connect" and isinstance(args[1], tuple):
        host = args[1][0]
    else:
        return
    if str(host) not in ("127.0.0.1", "localhost", "::1", "None", "0.0.0.0"):
        with open(os.environ["WATCHED"], "a") as file:
            file.write(f"{event} {host}\\n")
sys.addaudithook(note)
"""


class Server:
    """A playground that runs, and what it asked for."""

    def __init__(self, folder: Path, cwd: Path) -> None:
        (folder / "sitecustomize.py").write_text(WATCH)
        self.watched, self.temporary = folder / "watched", folder / "temporary"
        self.watched.touch()
        self.temporary.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        # A proxy that leads nowhere: a machine that needs one for the rest of the world still plays.
        proxy = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY"), "http://192.0.2.1:9")
        paths = {"PYTHONPATH": str(folder), "WATCHED": str(self.watched), "TMPDIR": str(self.temporary)}
        self.env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"} | proxy | paths
        self.process = subprocess.Popen(
            [sys.executable, str(REPO / "playground.py"), "--port", str(self.port)],
            cwd=cwd, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.line = self.process.stdout.readline()
        self.url = f"http://127.0.0.1:{self.port}/"

    def ask(self, name: str, *data: Any) -> str:
        """An answer by the page's own interface: the last of its outputs."""
        body = json.dumps({"data": data, "session_hash": "test"}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}gradio_api/run/{name}", body, headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as response:
            return json.load(response)["data"][-1]

    def memory(self) -> float:
        """MiB in memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


@pytest.fixture(scope="module")
def server(lab: Path, tmp_path_factory: pytest.TempPathFactory):
    pytest.importorskip("gradio")
    server = Server(tmp_path_factory.mktemp("server"), lab)
    assert server.line == f"the page: {server.url} (Ctrl+C ends it)\n", server.process.communicate()
    yield server
    server.process.kill()
    server.process.communicate()


def test_bad_input_gets_a_line_and_the_page_lives_on(server: Server) -> None:
    gen, digit = "Genwithlabel", png(drawing())
    for question, told in {
        ("generate", gen, 3, "five"): "samples: expected a number from 1 to 100, got five",
        ("generate", gen, 3, 101): "samples: expected a number from 1 to 100, got 101",
        ("generate", gen, 3, None): "samples: expected a number from 1 to 100, got nothing",
        ("generate", gen, "x", 5): "digit: expected a number from 0 to 9, got x",
        ("generate", "lost", 3, 5): "there is no checkpoint 'lost'",
        ("start", gen, "abc"): "image: expected a number from 0 to 256, got abc",
        ("start", gen, 1.5): "image: expected a whole number from 0 to 256, got 1.5",
        ("decode", gen, 0, 3, *["a"] * 10): "expected a number from -1e+06 to 1e+06, got a",
        (
            "reconstruct",
            gen,
            png(np.zeros((5000, 5000), np.uint8)),
            BEST,
        ): "the drawing is 5,000 x 5,000 pixels",
        ("reconstruct", gen, png(np.zeros((280, 280), np.uint8)), BEST): "the drawing is empty: draw a digit",
        ("reconstruct", gen, "", BEST): "draw a digit in the black square",
        ("reconstruct", gen, "<script>alert(1)</script>", BEST): "the drawing can't be read",
        ("interpolate", gen, 2, 0, "", 1, ""): "position: expected a number from 0 to 1, got 2",
        ("interpolate", gen, 0.5, 0, "", 999, ""): "image: expected a number from 0 to 256, got 999",
        ("compare", "", 0, 1): "choose 1 to 6 checkpoints, got 0",
    }.items():
        answer = server.ask(*question)
        assert answer.startswith('<p class="message"'), (question, answer)
        assert told in html.unescape(answer), (question, answer)
    assert "best label " in server.ask("reconstruct", gen, digit, BEST)
    hostile = server.ask("generate", "<img src=x onerror=alert(1)>", 3, 5)
    assert "<img" not in hostile


def test_200_interactions_leave_memory_and_disk_as_they_were(server: Server) -> None:
    rng = np.random.default_rng(0)

    def interact(n: int) -> None:
        for k in range(n):
            name, sketch = ("Genwithlabel", "VAE0label")[k // 6 % 2], png(np.roll(drawing(), k % 60))
            question = (
                ("generate", name, k % 10, 20),
                ("about", name),
                ("start", name, k % 257),
                ("decode", name, k % 257, k % 10, *rng.normal(size=10)),
                ("reconstruct", name, sketch, BEST),
                ("interpolate", name, k % 100 / 100, k % 257, sketch, 3, ""),
                ("compare", ["Genwithlabel", "VAE0label"], k % 257, k % 10),
            )[k % 7]
            assert "message" not in server.ask(*question), question

    interact(70)  # what is made once
    before = server.memory()
    interact(200)
    grown = server.memory() - before
    print(f"memory: {before:.1f} MiB, 200 interactions later {grown:+.2f} MiB")
    assert grown < 1
    assert not [path for path in server.temporary.rglob("*") if path.is_file()]


def test_the_server_asks_no_other_host(server: Server) -> None:
    assert "20 generated" in server.ask("generate", "Genwithlabel", 3, 20)
    assert server.watched.read_text() == ""
    # The watch would see it.
    code = (
        "import socket\ntry: socket.create_connection(('192.0.2.1', 9), timeout=0.01)\nexcept OSError: pass"
    )
    watched = server.watched.with_name("control")
    subprocess.run([sys.executable, "-c", code], env=server.env | {"WATCHED": str(watched)}, check=True)
    assert "socket.connect 192.0.2.1" in watched.read_text()


# --- In the browser -----------------------------------------------------------------------------


def open_tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def draw(page: Any, canvas: Any, points: list[tuple[float, float]]) -> None:
    box = canvas.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


SEVEN = [(0.25, 0.25), (0.7, 0.25), (0.45, 0.85)]


@pytest.fixture
def visit(server: Server, open_page):
    """The playground, opened. Afterwards: no other host was asked, and nothing went wrong."""
    visit = open_page()
    visit.page.goto(server.url)
    visit.page.wait_for_selector("#generated img")
    yield visit
    assert visit.hosts == {"127.0.0.1"}
    assert visit.errors == []


def test_generate(visit) -> None:
    page = visit.page
    first = page.locator("#generated img").get_attribute("src")
    page.get_by_role("button", name="Again").click()
    page.wait_for_function("src => document.querySelector('#generated img').src !== src", arg=first)
    page.locator("#generated figcaption", has_text="20 generated, label 0").wait_for()
    page.get_by_role("tabpanel").get_by_label("7", exact=True).check()
    page.locator("#generated figcaption", has_text="20 generated, label 7").wait_for()
    box = page.get_by_role("tabpanel").locator("input[type=number]")
    box.fill("500")
    page.locator("#generated", has_text="samples: expected a number from 1 to 100, got 500").wait_for()
    box.fill("30")
    page.locator("#generated figcaption", has_text="30 generated, label 7").wait_for()


def test_models_without_labels_and_what_cant_be_used(visit) -> None:
    page = visit.page
    refused = page.locator("#refused .message").all_inner_texts()
    assert len(refused) == 4
    assert any(
        line.startswith(f"{NASTY} can't be used: outputs/{NASTY}/best.pt is damaged") for line in refused
    )
    page.get_by_label("Checkpoint", exact=True).click()
    page.get_by_role("option", name="VAE0label").click()
    page.locator("#about", has_text="The model is not conditional").wait_for()
    page.locator("#generated figcaption", has_text="no label").wait_for()
    assert not page.get_by_text("Digit", exact=True).is_visible()


def test_sliders_move_the_image_at_once_and_go_back(visit, cache: ModelCache) -> None:
    page, session = visit.page, cache.session("Genwithlabel")
    open_tab(page, "Latents")
    moved = page.locator("#decoded img").first
    moved.wait_for()
    page.wait_for_function(
        "() => !document.querySelector('#decoded').closest('.row').innerText.includes('z\\n')"
    )
    labels = page.locator("label:visible", has_text=re.compile(r"^z\d+ \(")).all_inner_texts()
    assert [int(label[1:].split()[0]) - 1 for label in labels] == session.latent_order[:10]
    start = moved.get_attribute("src")
    slider = page.locator("input[type=range]:visible").first
    low, high = float(slider.get_attribute("min")), float(slider.get_attribute("max"))
    code, first = session.codes[0].copy(), session.latent_order[0]
    assert low <= session.slider_min[first] < session.slider_max[first] <= high
    slider.focus()
    page.keyboard.press("Home")  # the lowest value
    page.wait_for_function("src => document.querySelector('#decoded img').src !== src", arg=start)
    code[first] = low
    expected = session.decode(code[None], session.labels[:1])[0]
    data = base64.b64decode(moved.get_attribute("src").partition(",")[2])
    assert np.abs(np.asarray(Image.open(io.BytesIO(data))).astype(int) - expected).max() <= 2
    page.get_by_role("button", name="Back to the image's code").click()
    page.wait_for_function("src => document.querySelector('#decoded img').src === src", arg=start)


def test_a_drawing_is_read_while_it_is_drawn_and_cleared(visit) -> None:
    page = visit.page
    open_tab(page, "Draw")
    page.locator("#reconstructed", has_text="draw a digit in the black square").wait_for()
    draw(page, page.locator(".drawing canvas:visible"), SEVEN)
    page.locator("#reconstructed figcaption", has_text="reconstructed: mse 0.").wait_for()
    assert page.locator("#reconstructed .bar").count() == 12
    assert "best label " in page.locator("#reconstructed").inner_text()
    page.get_by_label("3", exact=True).locator("visible=true").check()
    page.wait_for_function(
        "() => !document.querySelector('#reconstructed').innerText.includes('best label ')"
    )
    page.get_by_role("button", name="Clear").locator("visible=true").click()
    page.locator("#reconstructed", has_text="draw a digit in the black square").wait_for()


def test_a_walk_between_images_and_drawings(visit) -> None:
    page = visit.page
    open_tab(page, "Interpolate")
    page.locator("#interpolated figcaption", has_text="interpolated at 50%").wait_for()
    source = "() => document.querySelectorAll('#interpolated img')[{}].src"
    before = [page.evaluate(source.format(i)) for i in (1, 2)]
    draw(page, page.locator(".drawing canvas:visible").last, SEVEN)
    page.wait_for_function(f"src => ({source.format(2)})() !== src", arg=before[1])
    assert page.evaluate(source.format(1)) == before[0]
    page.get_by_role("button", name="Clear").locator("visible=true").last.click()
    page.wait_for_function(f"src => ({source.format(2)})() === src", arg=before[1])
    page.get_by_label("From image").fill("")
    page.locator("#interpolated", has_text="image: expected a number from 0 to 256, got nothing").wait_for()


def test_checkpoints_side_by_side(visit, cache: ModelCache) -> None:
    page = visit.page
    open_tab(page, "Compare")
    page.locator("#compared h4").nth(1).wait_for()
    assert page.locator("#compared h4").all_inner_texts() == [
        f"{name}: latent_dim 12" for name in cache.names
    ]
    for name, text in zip(cache.names, page.locator("#compared section").all_inner_texts(), strict=True):
        session = cache.session(name)
        result = session.reconstruct(session.images[0], int(session.labels[0]))
        mse, ssim = map(float, re.search(r"mse ([\d.]+), ssim ([\d.]+)", text).groups())
        assert (mse, ssim) == (pytest.approx(result.mse, abs=2e-4), pytest.approx(result.ssim, abs=2e-3))


def test_two_sessions_share_nothing(visit, server: Server, open_page) -> None:
    pages = [visit.page, open_page().page]
    pages[1].goto(server.url)
    pages[1].wait_for_selector("#generated img")
    for page, place in zip(pages, (3, 5), strict=True):
        open_tab(page, "Latents")
        page.get_by_label("Start from image").fill(str(place))
        page.locator("#decoded figcaption", has_text=f"image {place}, ").wait_for()
    sources = [page.locator("#decoded img").first.get_attribute("src") for page in pages]
    pages[0].locator("input[type=range]:visible").first.focus()
    pages[0].keyboard.press("End")
    pages[0].wait_for_function("src => document.querySelector('#decoded img').src !== src", arg=sources[0])
    assert "image 3, " in pages[0].locator("#decoded").inner_text()
    pages[1].get_by_role("button", name="Back to the image's code").click()
    pages[1].locator("#decoded figcaption", has_text="image 5, ").wait_for()
    assert pages[1].locator("#decoded img").first.get_attribute("src") == sources[1]


def test_on_a_phone_nothing_is_wider_than_the_screen(server: Server, open_page) -> None:
    page = open_page(width=390, height=800, color_scheme="dark").page
    page.goto(server.url)
    page.wait_for_selector("#generated img")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#generated img").bounding_box()["width"] > 250

"""The report: it says what was graded, in a real browser, and nothing of a user's files gets out of hand."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chromium import browser, open_page  # noqa: F401
from conftest import succeed
from PIL import Image

from apps.report.page import report_page
from apps.report.pictures import reconstruction_grids
from apps.report.run_data import SAMPLE_BYTES, SAMPLE_COUNTS, read_config, read_log, read_samples
from grade import write_report
from vaelab.cli import LabError
from vaelab.grading import grade_outputs
from vaelab.images import image_grid
from vaelab.metrics.score import score_terms
from vaelab.metrics.score_sensitivity import sensitivities
from vaelab.outputs import Hyperparams, Outputs

TASKS = ("VAE0label", "Genwithlabel")
COMMANDS = {task: (f"train {task}", f"infer {task}") for task in TASKS}


def made_up(task: str, dataset: str = "mnist", shape: tuple[int, ...] = (28, 28), n: int = 40) -> Outputs:
    """Outputs of noise: what compresses worst."""
    rng = np.random.default_rng(0)
    images, recon = rng.integers(0, 256, (2, n, *shape), np.uint8)
    gen = rng.integers(0, 256, (10, 1000, *shape), np.uint8) if task == "Genwithlabel" else None
    hyperparams = Hyperparams(task, latent_dim=20, dataset=dataset, split="test")
    return Outputs(images, np.arange(n) % 10, recon, gen, hyperparams)


def page_of(folder: Path, outputs: dict[str, Outputs], **texts: list[str]) -> str:
    """The page on some tasks, graded on `test`."""
    grades = {task: grade_outputs(task, these) for task, these in outputs.items()}
    return report_page(folder, grades, outputs, COMMANDS, {task: texts.get(task, []) for task in grades})


def row(epoch: int, **changed: object) -> dict[str, object]:
    """A row of a log."""
    keys = [f"{part}_{key}" for part in ("train", "valid") for key in ("loss", "recon_term", "kl_term")]
    values = dict.fromkeys(keys, 100.0 / epoch)
    return {"epoch": epoch, "valid_mse": 0.1 / epoch, "valid_ssim": 0.5} | values | changed


def write_run(folder: Path, epochs: int = 3, shape: tuple[int, ...] = (28, 28)) -> Path:
    """The log, the configuration and the samples of a run, the samples of noise."""
    (folder / "samples").mkdir(parents=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(row(i + 1)) + "\n" for i in range(epochs)))
    (folder / "config.json").write_text(json.dumps({"var": 0.002, "model_args": {"arch": "conv"}}))
    rng = np.random.default_rng(0)
    for i in range(epochs):
        grid = image_grid(rng.integers(0, 256, (100, *shape), np.uint8), columns=10)
        Image.fromarray(grid).save(folder / f"samples/epoch_{i + 1:03d}.png")
    return folder


# --- What it says -------------------------------------------------------------------------------


def test_the_page_says_what_was_graded(main_job: Path, open_page) -> None:  # noqa: F811
    result = json.loads((main_job / "outputs/grade_result.json").read_text())
    visit = open_page()
    visit.page.goto((main_job / "outputs/report.html").as_uri())
    total = sum(grade["score"] for grade in result.values())
    assert visit.page.inner_text(".total") == f"{total:.2f} of 40 points"
    for task, grade in result.items():
        text = " ".join(visit.page.inner_text(f"#{task}").split())
        for says in (
            f"{task} on digits valid 257 images, latent_dim 12, ssim {grade['ssim']:.4f}, "
            f"mse {grade['mse']:.4f}",
            "This is digits, not MNIST: the score can't be compared with one on MNIST.",
            f"times the bonus (0.2 + R) {grade['bonus']:.3f} of 1.20",
            f"score {grade['score']:.2f} of {10 if task == 'VAE0label' else 30}.00",
            f"{grade['score_uncapped']:.2f} before the cap",
            *(f"{name} {points:.3f} of {most:.2f}" for name, points, most in score_terms(task, grade)),
            *(f"{y} {distance:.3f}" for y, distance in enumerate(grade.get("fid_by_class", []))),
            *(sensitivity.sentence for sensitivity in sensitivities(task, grade)),
            "arch mlp",
            "epochs 20",
        ):
            assert says in text, (says, text)
    bars = visit.page.locator("#Genwithlabel .terms .bar > i:last-of-type")
    widths = [float(re.search(r"width:([\d.]+)%", style)[1]) for style in attributes(bars, "style")]
    shares = [points / most for _, points, most in score_terms("Genwithlabel", result["Genwithlabel"])]
    assert widths[:3] == pytest.approx([100 * share for share in shares], abs=0.01)


def attributes(locator, name: str) -> list[str]:
    return locator.evaluate_all(f"found => found.map(one => one.getAttribute('{name}'))")


def test_the_command_names_the_page_and_it_says_what_is_missing(main_job: Path, change) -> None:
    cwd = change(main_job)
    shutil.rmtree(cwd / "outputs/Genwithlabel/valid")
    run = cwd / "outputs/VAE0label"
    shutil.rmtree(run / "samples")
    for name in ("log.jsonl", "config.json"):
        (run / name).unlink()
    out = succeed("grade.py", "--output_dir", "outputs", cwd=cwd)
    assert "\nreport: outputs/report.html\n" in out
    assert "no report was written" not in out
    page = (cwd / "outputs/report.html").read_text()
    train = "python train.py --task"
    assert (
        f"Genwithlabel has no outputs yet. To make them: <code>{train} Genwithlabel</code>, then <code>"
        in page
    )
    for what, path in (
        ("loss curves", run / "log.jsonl"),
        ("samples by epoch", run / "samples"),
        ("configuration of the training", run / "config.json"),
    ):
        at = path.relative_to(cwd)
        assert f"No {what}: there is no {at}. It is written by: {train} VAE0label" in page
    assert "<svg" not in page
    assert page.count("<img") == 3  # reconstructions: the best, the median, the worst


def test_a_report_that_cant_be_written_costs_no_grade(tmp_path: Path) -> None:
    assert write_report(tmp_path, {}, {}, {}, {}) == f"report: {tmp_path / 'report.html'}"
    broken = write_report(tmp_path, {"VAE0label": {}}, {}, {}, {})
    assert broken == "note: no report was written: 'VAE0label'"
    assert not (tmp_path / "report.html").exists()  # the earlier one was of another grade
    (tmp_path / "report.html").mkdir()
    assert write_report(tmp_path, {}, {}, {}, {}).startswith("note: no report was written: can't write")


def test_best_median_and_worst_of_each_digit_are_those(open_page) -> None:  # noqa: F811
    outputs = made_up("VAE0label", n=95)  # ten of the labels 0 to 4, nine of the others
    outputs.recon[:] = outputs.images
    for i, image in enumerate(outputs.recon):
        image[0, 0] ^= 1 << i % 8
    errors = np.mean((outputs.recon / 255.0 - outputs.images / 255.0) ** 2, axis=(1, 2))
    best, median, worst = reconstruction_grids(outputs, "digit")
    for y in range(10):
        of_label = np.sort(errors[outputs.labels == y])
        for shown, expected in ((best, of_label[0]), (median, of_label[4]), (worst, of_label[-1])):
            assert shown.columns[y] == (y, pytest.approx(expected, rel=1e-5))
    visit = open_page()
    visit.page.set_content(f"<img src='{worst.picture.uri}'>")
    assert visit.page.evaluate("document.images[0].naturalWidth") == 10 * 30 + 2


# --- In the browser -----------------------------------------------------------------------------


def test_it_asks_no_host_and_every_picture_has_an_alt(main_job: Path, open_page) -> None:  # noqa: F811
    visit = open_page()
    visit.page.goto((main_job / "outputs/report.html").as_uri())
    assert (visit.hosts, visit.errors) == (set(), [])
    images = visit.page.locator("img")
    assert images.count() >= 3 + 3 + 1 + 2 * 4
    assert all(len(alt) > 20 for alt in attributes(images, "alt"))
    assert all(uri.startswith("data:image/png;base64,") for uri in attributes(images, "src"))
    assert visit.page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    labels = attributes(visit.page.locator("svg"), "aria-label")
    assert len(labels) == 10
    assert labels[0].startswith("loss over epochs 1 to 20: on train from ")


def test_the_slider_shows_an_epoch_and_without_scripts_the_last(main_job: Path, open_page) -> None:  # noqa: F811
    uri = (main_job / "outputs/report.html").as_uri()
    for scripts in (True, False):
        page = open_page(java_script_enabled=scripts).page
        page.goto(uri)
        figure = page.locator("#Genwithlabel .epochs")
        assert figure.locator("img:visible").get_attribute("data-epoch") == "20"
        assert figure.locator("input").is_visible() == scripts
        if scripts:
            figure.locator("input").focus()
            page.keyboard.press("Home")
            assert figure.locator("img:visible").get_attribute("data-epoch") == "1"
            assert figure.locator("output").inner_text() == "1"
            page.keyboard.press("ArrowRight")
            assert figure.locator("output").inner_text() == figure.locator("img:visible").get_attribute(
                "data-epoch"
            )
            assert page.locator("#VAE0label .epochs img:visible").get_attribute("data-epoch") == "20"


def test_phone_dark_and_print(main_job: Path, open_page) -> None:  # noqa: F811
    uri = (main_job / "outputs/report.html").as_uri()
    phone = open_page(width=360, height=640).page
    phone.goto(uri)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    luminance = {}
    for scheme in ("light", "dark"):
        page = open_page(color_scheme=scheme).page
        page.goto(uri)
        colours = page.evaluate("[getComputedStyle(document.body)].map(s => [s.backgroundColor, s.color])[0]")
        luminance[scheme] = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours]
    (ground, text), (dark_ground, dark_text) = luminance["light"], luminance["dark"]
    assert ground > 700 > 200 > text
    assert dark_ground < 200 < 600 < dark_text
    assert page.pdf()[:5] == b"%PDF-"
    page.emulate_media(media="print")
    assert not page.locator("#VAE0label .epochs input").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_colour_and_long_runs_stay_small(tmp_path: Path, open_page) -> None:  # noqa: F811
    outputs = {task: made_up(task, "cifar10", (3, 32, 32)) for task in TASKS}
    for task, epochs in (("VAE0label", 7), ("Genwithlabel", 40)):
        write_run(tmp_path / task, epochs, (3, 32, 32))
    log = tmp_path / "Genwithlabel/log.jsonl"
    log.write_text("".join(json.dumps(row(i + 1)) + "\n" for i in range(5000)))
    page = page_of(tmp_path, outputs)
    assert 1_500_000 < len(page.encode()) < 3_000_000
    assert "This is cifar10, not MNIST" in page
    assert "best, the median and the worst of each class" in page
    (tmp_path / "report.html").write_text(page)
    visit = open_page(width=360, height=640)
    visit.page.goto((tmp_path / "report.html").as_uri())
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert visit.page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert visit.errors == []


# --- A user's files -----------------------------------------------------------------------------

HOSTILE = (
    "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">\"'>{{ 7 * 7 }}"
)


def test_hostile_text_stays_text(tmp_path: Path, open_page) -> None:  # noqa: F811
    folder = tmp_path / HOSTILE.replace("/", "")
    run = write_run(folder / "VAE0label")
    deep = json.loads("[" * 50 + "]" * 50)
    config = {
        HOSTILE: HOSTILE,
        "deep": deep,
        "long": "w" * 10_000,
        "odd": "\ud800\u202e\x00",
        "n": {"k": HOSTILE},
    }
    (run / "config.json").write_text(json.dumps(config))
    (run / "log.jsonl").write_text(json.dumps(row(1)) + "\n" + json.dumps(row(2, valid_mse=HOSTILE)) + "\n")
    (run / f"samples/epoch_{HOSTILE.replace('/', '')[:50]}.png").write_text(HOSTILE)
    outputs = made_up("VAE0label")
    hyperparams = replace(outputs.hyperparams, checkpoint=HOSTILE, seed=[HOSTILE])
    outputs = outputs._replace(hyperparams=hyperparams)
    page = page_of(folder, {"VAE0label": outputs}, VAE0label=[f"note: {HOSTILE}", HOSTILE])
    assert "<script>document.title" not in page
    (tmp_path / "report.html").write_text(page)
    visit = open_page(width=360, height=640)
    visit.page.goto((tmp_path / "report.html").as_uri())
    assert visit.page.title() == "VAE Lab: report"
    assert (visit.hosts, visit.errors) == (set(), [])
    assert visit.page.locator("script").count() == 1
    assert visit.page.locator("img").count() == 3 + 3
    assert visit.page.locator("[onerror]").count() == 0
    assert visit.page.inner_text("body").count(HOSTILE) >= 5
    assert visit.page.locator("td", has_text="{{ 7 * 7 }}").count() >= 3
    assert "is damaged in line 2: the curves end before it." in visit.page.inner_text("body")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_no_other_script_would_run(main_job: Path, tmp_path: Path, open_page) -> None:  # noqa: F811
    """The second wall: even text that reached the page unescaped would run nothing and ask no host."""
    page = (main_job / "outputs/report.html").read_text()
    planted = HOSTILE + "<img src='http://127.0.0.1:9/x.png' onload=1>"
    (tmp_path / "report.html").write_text(page.replace("</h1>", f"</h1>{planted}"))
    visit = open_page()
    visit.page.goto((tmp_path / "report.html").as_uri())
    assert visit.page.locator("script").count() == 2
    assert visit.page.title() == "VAE Lab: report"
    assert len(visit.errors) >= 3
    assert all("Content Security Policy" in error for error in visit.errors), visit.errors


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (json.dumps(row(2)), 3),
        ("{", 1),
        ("[1]", 1),
        ("[" * 100_000, 1),
        (json.dumps(row(2, valid_mse=math.nan)), 1),
        (json.dumps(row(2, valid_loss=1e300)), 1),
        (json.dumps(row(2, train_loss=True)), 1),
        (json.dumps(row(1)), 1),
        (json.dumps(row(2) | {"epoch": 1.5}), 1),
        (json.dumps({"epoch": 2}), 1),
        ('{"epoch": ' + "9" * 5000 + "}", 1),
    ],
)
def test_a_log_is_read_up_to_its_first_damaged_line(tmp_path: Path, line: str, read: int) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join([json.dumps(row(1)), line, json.dumps(row(3))]))
    rows, damaged = read_log(path)
    assert (len(rows), damaged) == (read, 0 if read == 3 else 2)


def test_files_that_are_too_large_or_no_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with path.open("wb") as file:
        file.truncate(10**10)  # sparse: ten gigabytes that take no place
    with pytest.raises(LabError, match="is larger than 4,000,000 bytes"):
        read_log(path)
    pipe = tmp_path / "config.json"
    os.mkfifo(pipe)
    with pytest.raises(LabError, match="is not a file"):
        read_config(pipe)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("text", "cannot identify"),
        ("jpeg", "cannot identify"),
        ("wide", "larger than 1400 x 1400 pixels"),
        ("bomb", "pixels"),
        ("cut", "truncated"),
    ],
)
def test_bad_samples_are_named(tmp_path: Path, kind: str, says: str) -> None:
    path = tmp_path / "epoch_001.png"
    match kind:
        case "text":
            path.write_text("<svg onload=alert(1)>")
        case "jpeg":
            Image.new("L", (30, 30)).save(path, format="jpeg")
        case "wide":
            Image.new("L", (1401, 10)).save(path)
        case "bomb":
            Image.new("L", (14_000, 14_000)).save(path)
        case "cut":
            Image.effect_noise((300, 300), 100).save(path)
            path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(LabError, match=says) as caught:
        read_samples(tmp_path)
    assert "epoch_001.png" in str(caught.value)


def test_a_picture_is_encoded_anew_and_epochs_are_thinned(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", 40) / "samples"
    (folder / "epoch_7.png.html").write_text("x")
    for path in folder.glob("*.png"):  # bytes that a browser might take for something else
        path.write_bytes(path.read_bytes() + b"<script>1</script>")
    shown = read_samples(folder)
    epochs = [sample.epoch for sample in shown]
    assert epochs == sorted(epochs)
    assert (epochs[0], epochs[-1]) == (1, 40) if len(epochs) > 1 else epochs == [40]
    assert len(epochs) in SAMPLE_COUNTS
    assert sum(len(sample.picture.uri) for sample in shown) <= 4 / 3 * SAMPLE_BYTES
    assert {sample.picture.width for sample in shown} == {302}  # not doubled, as the trainer's grids are
    smooth = tmp_path / "smooth"
    smooth.mkdir()
    for i in range(40):
        Image.new("L", (604, 604), i).save(smooth / f"epoch_{i + 1:03d}.png")
    assert len(read_samples(smooth)) == 12

"""A page in the browser to play with trained models: generate, move latents, draw, walk, compare.

    pip install -r requirements/playground.txt
    python playground.py                                     # every best.pt in outputs/
    python playground.py --checkpoint_path A/best.pt B/best.pt

The page is for this machine alone (127.0.0.1), and asks no other host for anything unless `--share` asks for
a public link.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from apps.playground.command import main
from apps.playground.rendering import BEST, CSS, Answers, message
from apps.playground.session import MOST
from vaelab.cli import LabError, reason, run

LATENTS = 10  # sliders
DIGITS = list(range(10))

CANVAS = """
<canvas width="280" height="280" role="img" aria-label="LABEL"></canvas><button type="button">Clear</button>
"""
DRAW = """
const canvas = element.querySelector("canvas"), pen = canvas.getContext("2d");
let last = null;
const clear = () => { pen.fillStyle = "black"; pen.fillRect(0, 0, canvas.width, canvas.height); };
const send = (value) => { props.value = value; trigger("input"); };
const line = (event) => {
  const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
  const next = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  pen.strokeStyle = "white"; pen.lineWidth = 22; pen.lineCap = pen.lineJoin = "round";
  pen.beginPath(); pen.moveTo(...(last || next)); pen.lineTo(...next); pen.stroke();
  last = next;
  send(canvas.toDataURL("image/png"));
};
canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); last = null; line(event); };
canvas.onpointermove = (event) => { if (last) line(event); };
canvas.onpointerup = canvas.onpointercancel = () => { last = null; };
element.querySelector("button").onclick = () => { clear(); send(""); };
clear();
"""


# --- The page -----------------------------------------------------------------------------------


def import_gradio(folder: str) -> ModuleType:
    """gradio, told to ask no other host and to keep its files in `folder`. Raises: LabError without it."""
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder}
    # It looks at its own page when it starts: a proxy need not carry that.
    direct = filter(None, (os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), "127.0.0.1"))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(direct)
    try:
        import gradio
    except ImportError as error:
        raise LabError("the playground needs gradio: pip install -r requirements/playground.txt") from error
    return gradio


class Page:
    """The page in the browser: a tab for each of the `Answers`."""

    def __init__(self, gr: ModuleType, answers: Answers) -> None:
        self.gr, self.answers, self.radios = gr, answers, []
        shelf, theme = (
            answers.shelf,
            gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        )
        with gr.Blocks(title="VAE Lab playground", analytics_enabled=False) as self.blocks:
            gr.HTML("<h1>VAE Lab playground</h1>", elem_classes="play")
            self.model = gr.Dropdown(shelf.names, value=shelf.names[0], label="Checkpoint")
            about = self.html("about")
            refused = "".join(
                message(f"{name} can't be played: {why}") for name, why in shelf.refused.items()
            )
            gr.HTML(refused, elem_classes="play", elem_id="refused", visible=bool(refused))
            for title, tab in (
                ("Generate", self.generate_tab),
                ("Move", self.move_tab),
                ("Draw", self.draw_tab),
                ("Walk", self.walk_tab),
                ("Compare", self.compare_tab),
            ):
                with gr.Tab(title), gr.Row():
                    tab()
            triggers = [self.blocks.load, self.model.change]
            self.wire("about", triggers, self.about, [self.model], about, self.radios)
        self.looks = {"css": CSS, "theme": theme}

    def about(self, name: str) -> tuple[list, str]:
        """Which radios are shown, and a line about the model."""
        shown = {"visible": self.answers.shelf.player(name).has_labels}
        return [shown] * len(self.radios), self.answers.about(name)

    def wire(
        self,
        name: str,
        triggers: list,
        function: Callable,
        inputs: list,
        out: Any,
        updated: Sequence[Any] = (),
    ) -> None:
        """Answer events by `function`, in `out`. What goes wrong becomes a line there.

        updated: components of which the function changes more; it returns a list of their new properties, and
        the answer. It is the browser that changes them. Were it the server, it would keep a copy of each for
        every change.
        """

        def answer(*values: Any) -> Any:
            try:
                changes, html = function(*values) if updated else ([], function(*values))
            except LabError as error:
                changes, html = [{}] * len(updated), message(str(error))
            except Exception as error:  # a student's model can raise anything
                changes, html = [{}] * len(updated), message(f"{type(error).__name__}: {reason(error)}")
            return ([change | {"__type__": "update"} for change in changes], html) if updated else html

        changes = [self.gr.JSON(visible=False)] if updated else []
        event = self.gr.on(
            triggers,
            answer,
            inputs,
            [*changes, out],
            api_name=name,
            preprocess=False,  # what comes is checked by the answers, which say what they expect
            trigger_mode="always_last",  # of what comes meanwhile, the latest is answered next
            show_progress="hidden",
            queue=False,  # an answer takes milliseconds, and waiting for it by the queue as many again
        )
        if updated:
            event.then(None, changes, list(updated), js="(changes) => changes", show_progress="hidden")

    # --- Parts of tabs ---

    def html(self, name: str) -> Any:
        """A place for what is computed."""
        return self.gr.HTML(elem_classes="play", elem_id=name)

    def controls(self) -> Any:
        """The column of what can be chosen."""
        return self.gr.Column(scale=2, min_width=300)

    def results(self) -> Any:
        """The column of what is shown."""
        return self.gr.Column(scale=3, min_width=300)

    def digit(self, label: str, extra: Sequence[str] = (), value: Any = 0) -> Any:
        """A choice of a digit; hidden for a model that is given no labels."""
        self.radios.append(self.gr.Radio([*extra, *DIGITS], value=value, label=label))
        return self.radios[-1]

    def place(self, label: str, value: int = 0) -> Any:
        """A choice of an image of the data."""
        return self.gr.Number(value, label=label, min_width=120)

    def canvas(self, label: str) -> Any:
        """A square to draw in. Its value is a data: URI of a PNG file, or empty."""
        template = CANVAS.replace("LABEL", label)
        return self.gr.HTML("", html_template=template, js_on_load=DRAW, elem_classes="drawing")

    # --- Tabs ---

    def generate_tab(self) -> None:
        """Choose a digit and how many."""
        gr = self.gr
        with self.controls():
            label = self.digit("Digit")
            count = gr.Slider(1, MOST, value=20, step=1, label="Samples")
            again = gr.Button("Again")
        with self.results():
            out = self.html("generated")
        triggers = [self.blocks.load, self.model.change, label.input, count.input, again.click]
        self.wire("generate", triggers, self.answers.generate, [self.model, label, count], out)

    def move_tab(self) -> None:
        """A slider for each of the first latents."""
        gr = self.gr
        with self.controls():
            place = self.place("Start from image")
            label = self.digit("Decode as")
            gr.HTML(
                "<p>The latents that matter most (mean KL from N(0, 1), nats):</p>",
                elem_classes="play",
            )
            with gr.Row():
                sliders = [
                    gr.Slider(-3, 3, value=0, step=0.01, label="z", min_width=200) for _ in range(LATENTS)
                ]
            back = gr.Button("Back to the image's code")
        with self.results():
            out = self.html("moved")
        triggers = [self.blocks.load, self.model.change, place.change, back.click]
        self.wire("start", triggers, self.start, [self.model, place], out, [*sliders, label])
        triggers = [label.input, *(slider.input for slider in sliders)]
        self.wire("move", triggers, self.answers.move, [self.model, place, label, *sliders], out)

    def start(self, name: str, place: Any) -> tuple[list, str]:
        """The sliders and the label of an image's code, and the answer to them."""
        player, i = self.answers.image(name, place)
        changes = [{"visible": False}] * LATENTS
        values = [float(player.codes[i, latent]) for latent in player.order[:LATENTS]]
        for k, (latent, value) in enumerate(zip(player.order, values, strict=False)):
            changes[k] = {
                "visible": True,
                "label": f"z{latent + 1} ({player.kl[latent]:.2f})",
                "minimum": math.floor(10 * min(player.low[latent], value)) / 10,
                "maximum": math.ceil(10 * max(player.high[latent], value)) / 10,
                "value": round(value, 2),
            }
        label = int(player.labels[i])
        return [*changes, {"value": label}], self.answers.move(name, place, label, *values)

    def draw_tab(self) -> None:
        """Draw a digit, see what the model makes of it."""
        with self.controls():
            drawing = self.canvas("draw a digit here")
            label = self.digit("Its label", [BEST], BEST)
        with self.results():
            out = self.html("read")
        triggers = [self.blocks.load, self.model.change, drawing.input, label.input]
        self.wire("read", triggers, self.answers.read, [self.model, drawing, label], out)

    def walk_tab(self) -> None:
        """From one image or drawing to another."""
        gr, ends = self.gr, []
        with self.controls():
            gr.HTML("<p>A drawing takes the place of an image, until it is cleared.</p>")
            with gr.Row():
                for value, side in enumerate(("From", "To")):
                    with gr.Column(min_width=120):
                        ends += [
                            self.place(f"{side} image", value),
                            self.canvas(f"{side}: draw a digit here"),
                        ]
        with self.results():
            share = gr.Slider(0, 1, value=0.5, step=0.01, label="Place on the way")
            out = self.html("walked")
        triggers = [self.blocks.load, self.model.change, share.input, *(end.input for end in ends)]
        self.wire("walk", triggers, self.answers.walk, [self.model, share, *ends], out)

    def compare_tab(self) -> None:
        """The same image and the same label, side by side."""
        gr, names = self.gr, self.answers.shelf.names
        with self.controls():
            chosen = gr.Dropdown(names, value=names[:2], multiselect=True, label="Checkpoints")
            place = self.place("Image")
            label = gr.Radio(DIGITS, value=0, label="Digit to generate")
        with self.results():
            out = self.html("compared")
        triggers = [self.blocks.load, chosen.change, place.change, label.input]
        self.wire("compare", triggers, self.answers.compare, [chosen, place, label], out)


if __name__ == "__main__":
    run(main)

"""The layout of the playground's page, and the events of its controls."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from apps.playground.rendering import BEST, MAX_SAMPLES, PageRenderer
from vaelab.cli import LabError, reason
from vaelab.language import N_, _

SLIDERS = 10  # latents that can be changed
DIGITS = list(range(10))
FOLDER = Path(__file__).parent


def import_gradio(folder: str) -> ModuleType:
    """The module gradio, configured to contact no other host and to keep its files in `folder`.

    Raises: LabError if it is not installed.
    """
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder}
    # gradio requests its own page when it starts, which must not go through a proxy.
    direct = filter(None, (os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), "127.0.0.1"))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(direct)
    try:
        import gradio
    except ImportError as error:
        raise LabError("the playground needs gradio: pip install -r requirements/playground.txt") from error
    return gradio


class Page:
    """The page: a choice of the checkpoint, and a tab for each method of the renderer."""

    def __init__(self, gr: ModuleType, renderer: PageRenderer) -> None:
        self.gr, self.renderer = gr, renderer
        self.digit_choices: list[Any] = []  # hidden for a model that is not conditional
        self.css = (FOLDER / "style.css").read_text(encoding="utf-8")
        self.theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
        names, refused = renderer.cache.names, renderer.cache.refused
        with gr.Blocks(title=_("VAE Lab playground"), analytics_enabled=False) as self.blocks:
            self.static("heading")
            self.model = gr.Dropdown(names, value=names[0], label=_("Checkpoint"))
            about = self.output("about")
            lines = [
                _("{name} can't be used: {reason}", name=name, reason=why) for name, why in refused.items()
            ]
            self.static("messages", lines, elem_id="refused", visible=bool(lines))
            for title, tab in (
                (N_("Generate"), self.generate_tab),
                (N_("Latents"), self.latents_tab),
                (N_("Draw"), self.draw_tab),
                (N_("Interpolate"), self.interpolate_tab),
                (N_("Compare"), self.compare_tab),
            ):
                with gr.Tab(_(title)), gr.Row():
                    tab()
            triggers = [self.blocks.load, self.model.change]
            self.wire("about", triggers, self.about, [self.model], about, self.digit_choices)

    def launch(self, port: int, share: bool) -> tuple[Any, str, str | None]:
        """Start the server on this machine. Returns: gradio's (app, local URL, public URL)."""
        return self.blocks.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=share,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            css=self.css,
            theme=self.theme,
        )

    def about(self, name: str) -> tuple[list, str]:
        """The visibility of the choices of a digit, and a line about the model."""
        shown = {"visible": self.renderer.cache.session(name).conditional}
        return [shown] * len(self.digit_choices), self.renderer.about(name)

    def wire(
        self,
        name: str,
        triggers: list,
        function: Callable,
        inputs: list,
        out: Any,
        updated: Sequence[Any] = (),
    ) -> None:
        """Call `function` when an event occurs and show its HTML, or its error message, in `out`.

        updated: components of which the function also changes properties; it then returns a list of their new
        properties, and the HTML. The browser applies the changes: the server would store a copy of every
        component for every change.
        """
        changes = [self.gr.JSON(visible=False)] if updated else []
        event = self.gr.on(
            triggers,
            self.handler(function, len(updated)),
            inputs,
            [*changes, out],
            api_name=name,
            preprocess=False,  # the renderer checks the values, with its own messages
            trigger_mode="always_last",  # of the events during a call, only the last one is handled
            show_progress="hidden",
            queue=False,  # a call takes milliseconds, which the queue would double
        )
        if updated:
            event.then(None, changes, list(updated), js="(changes) => changes", show_progress="hidden")

    def handler(self, function: Callable, updated: int) -> Callable:
        """The function that gradio calls. updated: the number of components whose properties change."""

        def handle(*values: Any) -> Any:
            try:
                changes, html = function(*values) if updated else ([], function(*values))
            except LabError as error:
                changes, html = [{}] * updated, self.renderer.fragment("message", str(error))
            except Exception as error:  # a student's model can raise anything
                text = f"{type(error).__name__}: {reason(error)}"
                changes, html = [{}] * updated, self.renderer.fragment("message", text)
            return ([change | {"__type__": "update"} for change in changes], html) if updated else html

        return handle

    # --- Parts of tabs ---

    def static(self, fragment: str, *values: Any, **options: Any) -> None:
        """Add a fragment that never changes."""
        self.gr.HTML(self.renderer.fragment(fragment, *values), elem_classes="playground", **options)

    def output(self, name: str) -> Any:
        """Add an empty element for the HTML of a result. name: its id."""
        return self.gr.HTML(elem_classes="playground", elem_id=name)

    def controls(self) -> Any:
        """The column of a tab with the controls."""
        return self.gr.Column(scale=2, min_width=300)

    def results(self) -> Any:
        """The column of a tab with the output."""
        return self.gr.Column(scale=3, min_width=300)

    def digit(self, label: str, extra: Sequence[tuple[str, str]] = (), value: Any = 0) -> Any:
        """Add a choice of a digit, which is hidden for a model that is not conditional."""
        self.digit_choices.append(self.gr.Radio([*extra, *DIGITS], value=value, label=label))
        return self.digit_choices[-1]

    def image_index(self, label: str, value: int = 0) -> Any:
        """Add a choice of an image of the data."""
        return self.gr.Number(value, label=label, min_width=120)

    def canvas(self, label: str) -> Any:
        """Add a square to draw in. Its value is a `data:` URI of a PNG file, or empty."""
        template = self.renderer.fragment("canvas", label)
        script = (FOLDER / "drawing.js").read_text(encoding="utf-8")
        return self.gr.HTML("", html_template=template, js_on_load=script, elem_classes="drawing")

    # --- Tabs ---

    def generate_tab(self) -> None:
        """Generate images of a digit."""
        gr = self.gr
        with self.controls():
            label = self.digit(_("Digit"))
            count = gr.Slider(1, MAX_SAMPLES, value=20, step=1, label=_("Samples"))
            again = gr.Button(_("Again"))
        with self.results():
            out = self.output("generated")
        triggers = [self.blocks.load, self.model.change, label.input, count.input, again.click]
        self.wire("generate", triggers, self.renderer.generate, [self.model, label, count], out)

    def latents_tab(self) -> None:
        """Change the latents of an image's code with sliders."""
        gr = self.gr
        with self.controls():
            index = self.image_index(_("Start from image"))
            label = self.digit(_("Decode as"))
            about = _("The latents with the largest mean KL divergence from N(0, 1), in nats:")
            self.static("paragraph", about)
            with gr.Row():
                sliders = [
                    gr.Slider(-3, 3, value=0, step=0.01, label="z", min_width=200)
                    for _slider in range(SLIDERS)
                ]
            reset = gr.Button(_("Back to the image's code"))
        with self.results():
            out = self.output("decoded")
        triggers = [self.blocks.load, self.model.change, index.change, reset.click]
        self.wire("start", triggers, self.start, [self.model, index], out, [*sliders, label])
        triggers = [label.input, *(slider.input for slider in sliders)]
        self.wire("decode", triggers, self.renderer.decode, [self.model, index, label, *sliders], out)

    def start(self, name: str, index: Any) -> tuple[list, str]:
        """The properties of the sliders and the label for an image's code; the HTML of the decoded code."""
        session, i = self.renderer.image(name, index)
        changes: list[dict] = [{"visible": False}] * SLIDERS
        values = [float(session.codes[i, latent]) for latent in session.latent_order[:SLIDERS]]
        for k, (latent, value) in enumerate(zip(session.latent_order, values, strict=False)):
            changes[k] = {
                "visible": True,
                "label": f"z{latent + 1} ({session.kl[latent]:.2f})",
                "minimum": math.floor(10 * min(session.slider_min[latent], value)) / 10,
                "maximum": math.ceil(10 * max(session.slider_max[latent], value)) / 10,
                "value": round(value, 2),
            }
        label = int(session.labels[i])
        return [*changes, {"value": label}], self.renderer.decode(name, index, label, *values)

    def draw_tab(self) -> None:
        """Draw a digit and reconstruct it."""
        with self.controls():
            drawing = self.canvas(_("draw a digit here"))
            label = self.digit(_("Its label"), [(_(BEST), BEST)], BEST)
        with self.results():
            out = self.output("reconstructed")
        triggers = [self.blocks.load, self.model.change, drawing.input, label.input]
        self.wire("reconstruct", triggers, self.renderer.reconstruct, [self.model, drawing, label], out)

    def interpolate_tab(self) -> None:
        """Interpolate between two images or drawings."""
        gr, ends = self.gr, []
        with self.controls():
            self.static("paragraph", _("A drawing replaces the image until it is cleared."))
            with gr.Row():
                sides = (
                    (_("From image"), _("From: draw a digit here")),
                    (_("To image"), _("To: draw a digit here")),
                )
                for index, (image, drawing) in enumerate(sides):
                    with gr.Column(min_width=120):
                        ends += [self.image_index(image, index), self.canvas(drawing)]
        with self.results():
            weight = gr.Slider(0, 1, value=0.5, step=0.01, label=_("Position between the two"))
            out = self.output("interpolated")
        triggers = [self.blocks.load, self.model.change, weight.input, *(end.input for end in ends)]
        self.wire("interpolate", triggers, self.renderer.interpolate, [self.model, weight, *ends], out)

    def compare_tab(self) -> None:
        """Compare several models on the same image and the same label."""
        gr, names = self.gr, self.renderer.cache.names
        with self.controls():
            chosen = gr.Dropdown(names, value=names[:2], multiselect=True, label=_("Checkpoints"))
            index = self.image_index(_("Image"))
            label = gr.Radio(DIGITS, value=0, label=_("Digit to generate"))
        with self.results():
            out = self.output("compared")
        triggers = [self.blocks.load, chosen.change, index.change, label.input]
        self.wire("compare", triggers, self.renderer.compare, [chosen, index, label], out)

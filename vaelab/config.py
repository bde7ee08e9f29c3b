"""The options of a training: each once, with its default, its bounds and its help line.

The command lines, the checks of a loaded checkpoint, the grid of a sweep and the table in docs/options.md
are made from this file. It imports no torch, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import ast
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from vaelab.cli import LabError, number
from vaelab.language import N_, _
from vaelab.tasks import TASKS

SUBMISSION = Path(__file__).resolve().parent.parent / "submission.py"
MAX_LATENT_DIM = 784  # pixels of an MNIST image: a larger code would not compress
SUBMISSION_MODEL = "submission"
DISCRETE_MODELS = ("fsq", "vq")  # of beyond/discrete/
MODELS = (SUBMISSION_MODEL, *DISCRETE_MODELS)
PIXELS = ("grey", "binarized", "threshold")  # see `vaelab.data.augmentation.binarize`


@dataclass(frozen=True)
class Option:
    """A command-line option. `kind` is its type; bounds are inclusive, `exclusive` excludes the minimum."""

    help: str
    kind: type = str
    minimum: float = 0
    maximum: float = 2**31 - 1
    exclusive: bool = False
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()  # earlier names, still accepted

    def parse(self, text: str) -> Any:
        """`text`, converted to the option's type. Raises: argparse.ArgumentTypeError if it is invalid."""
        if self.kind is bool:
            if text.lower() in ("true", "false"):
                return text.lower() == "true"
            raise argparse.ArgumentTypeError(_("expected true or false, got '{text}'", text=text))
        if self.kind is str:
            return text
        return number(self.kind, self.minimum, self.maximum, self.exclusive)(text)

    def add_to(
        self, group: argparse._ArgumentGroup, name: str, default: Any = None, hidden: bool = False
    ) -> None:
        """Add the option `--name` to a parser's group. It is in the namespace only if it was given.

        hidden: leave it out of the help.
        """
        flags = [f"--{flag}" for flag in (name, *self.aliases)]
        text = self.help if default is None else f"{self.help} (default: {default})"
        about = {"dest": name, "default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
        about |= {"help": argparse.SUPPRESS} if hidden else {}
        group.add_argument(*flags, type=self.parse, choices=self.choices or None, **about)

    def check(self, name: str, value: Any) -> None:
        """Check a stored value. Raises: LabError if this option can't have it."""
        try:
            good = type(value) is self.kind or (self.kind is float and type(value) is int)
            good = good and (not self.choices or value in self.choices)
            if good:
                self.parse(str(value))
        except argparse.ArgumentTypeError:
            good = False
        if not good:
            raise LabError("its configuration has the invalid {name} {value!r}", name=name, value=value)


def of_tasks(attribute: str) -> str:
    """The values of an attribute of `Task` for all tasks, as text: '3 for VAE0label, 6 for Genwithlabel'."""
    values = {task.name: f"{getattr(task, attribute):g}" for task in TASKS.values()}
    return ", ".join(_("{value} for {task}", value=value, task=task) for task, value in values.items())


def option(default: Any = MISSING, **about: Any) -> Any:
    """A field of `TrainConfig` that is an option of the command line."""
    return field(default=default, metadata={"option": Option(**about)})


@dataclass
class TrainConfig:
    """All that decides the result of a training, as it is stored in a checkpoint."""

    task: str
    dataset: str
    model_args: dict[str, Any]  # the arguments that the submission's class is called with
    var: float = option(
        kind=float,
        exclusive=True,
        help="variance of a pixel in the loss: a smaller one gives the reconstruction more weight, a larger "
        "one the KL term",
    )
    epochs: int = option(
        kind=int,
        minimum=1,
        help="passes over the training images; a few passes reach most of the score",
    )
    batch_size: int = option(128, kind=int, minimum=1, help="images in a step: 128 suits a CPU")
    lr: float = option(
        3e-3,
        kind=float,
        exclusive=True,
        help="highest learning rate of AdamW, after a warm-up and before a cosine decay to zero; about as "
        "high as is stable",
    )
    weight_decay: float = option(1e-2, kind=float, help="weight decay of AdamW; PyTorch's own default")
    grad_clip: float = option(
        20.0,
        kind=float,
        exclusive=True,
        help="maximum norm of the gradient, in units of 1/(2 var), the factor of the reconstruction term; "
        "the default is about the median norm, since steps of similar length train faster here",
    )
    augment: float = option(
        0.0,
        kind=float,
        maximum=1,
        aliases=("distort",),
        help="share of the training images that are rotated, sheared and deformed at the start; it decreases "
        "to 0 at the end. It prevents overfitting in a long training; a short one does better without",
    )
    pixels: str = option(
        "grey",
        choices=PIXELS,
        help="what the loss is computed on: grey values; binarized (drawn anew in each step, the grey value "
        "is the probability of 1); or threshold (1 above 1/2). The score is always computed on grey values",
    )
    precision: str = option(
        "fp32",
        choices=("auto", "bf16", "fp32"),
        help="precision of matrix products and convolutions. auto: bf16 where the device computes in it, "
        "which is faster, else fp32",
    )
    threads: int = option(
        1,
        kind=int,
        minimum=1,
        maximum=1024,
        help="CPU threads. A resumed run takes the number of its first start: with another one its result "
        "would differ in the last bits",
    )
    seed: int = option(0, kind=int, help="seed of the initial weights, the order of images and the noise")
    warmup_steps: int = 100
    beyond: dict[str, Any] = field(default_factory=dict)  # additions to the submission; empty: none
    model: str = SUBMISSION_MODEL  # whose model: one of `MODELS`

    @property
    def latent_dim(self) -> int:
        """The number of latents of the model."""
        return self.model_args["latent_dim"]

    @property
    def model_name(self) -> str:
        """The name of the model, as messages have it: the class in submission.py, or `vq` or `fsq`."""
        return TASKS[self.task].model_class if self.model == SUBMISSION_MODEL else self.model

    @classmethod
    def from_dict(cls, saved: Any) -> TrainConfig:
        """The configuration from the dictionary in a checkpoint. Raises: LabError if it is invalid."""
        if not isinstance(saved, dict) or saved.keys() != {entry.name for entry in fields(cls)}:
            raise LabError("it is of another version of the lab, or not a checkpoint of the lab")
        config = cls(**saved)
        if config.task not in TASKS:
            raise LabError(
                "its task {task!r} is unknown: known are {tasks}", task=config.task, tasks=", ".join(TASKS)
            )
        if not isinstance(config.dataset, str) or not isinstance(config.beyond, dict):
            raise LabError("its configuration is invalid")
        if config.model not in MODELS:
            raise LabError(
                "its model '{model}' is unknown: known are {known}",
                model=config.model,
                known=", ".join(MODELS),
            )
        if not isinstance(config.model_args, dict) or "latent_dim" not in config.model_args:
            raise LabError("its configuration has no latent_dim")
        for name, about in TRAINING_OPTIONS.items():
            about.check(name, getattr(config, name))
        for name, about in MODEL_OPTIONS.items():
            if name in config.model_args:
                about.check(name, config.model_args[name])
        return config

    def to_dict(self) -> dict[str, Any]:
        """The configuration as config.json holds it, without `beyond` and `model` where they add nothing."""
        left_out = {"beyond": {}, "model": SUBMISSION_MODEL}
        values = asdict(self).items()
        return {key: value for key, value in values if key not in left_out or value != left_out[key]}


TRAINING_OPTIONS: dict[str, Option] = {
    entry.name: entry.metadata["option"] for entry in fields(TrainConfig) if "option" in entry.metadata
}

# The options of the solved submission's models. A student's model may have others: see `model_options`.
ARCHITECTURES = ("conv", "mlp")  # the keys of model.py's tables, repeated here since model.py imports torch
ACTIVATIONS = ("leaky_relu", "relu", "silu", "tanh")
MODEL_OPTIONS: dict[str, Option] = {
    "latent_dim": Option(
        kind=int,
        minimum=1,
        maximum=MAX_LATENT_DIM,
        help="size of the code z: a smaller one has a larger bonus, a larger one reconstructs better",
    ),
    "arch": Option(choices=ARCHITECTURES, help="type of the networks: conv scores best, mlp trains fastest"),
    "hidden_dim": Option(kind=int, minimum=1, maximum=16_384, help="width of the dense layers"),
    "hidden_layers": Option(
        kind=int,
        minimum=1,
        maximum=16,
        help="number of hidden dense layers in the encoder and in the decoder; more did not score higher",
    ),
    "channels": Option(kind=int, minimum=1, maximum=1024, help="channels of the convolutions of conv"),
    "activation": Option(
        choices=ACTIVATIONS,
        help="activation function: smooth ones reconstruct slightly better than relu",
    ),
    "label_dim": Option(kind=int, minimum=1, maximum=1024, help="size of the learned vector of a label"),
}


# --- The options of a submission's models -------------------------------------------------------


@dataclass(frozen=True)
class ModelOption:
    """An option of a model: the keyword argument of its constructor, with its default."""

    about: Option
    default: Any


def constructor(tree: ast.Module, name: str) -> ast.arguments | None:
    """The arguments of the constructor of class `name`, which may be inherited; None if there is none."""
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    while name in classes:
        node = classes.pop(name)
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                return item.args
        name = next((base.id for base in node.bases if isinstance(base, ast.Name)), "")
    return None


def constructor_defaults(arguments: ast.arguments) -> dict[str, Any]:
    """The keyword arguments of a constructor whose default is a constant, with these defaults."""
    named = [*arguments.posonlyargs, *arguments.args]
    pairs = list(zip(named[len(named) - len(arguments.defaults) :], arguments.defaults, strict=True))
    pairs += [(arg, value) for arg, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    found = {}
    for arg, value in pairs:
        try:
            found[arg.arg] = None if value is None else ast.literal_eval(value)
        except ValueError:
            continue  # not a constant: it can't be an option
    return found


def model_options(path: Path = SUBMISSION, tasks: Any = None) -> dict[str, ModelOption]:
    """The options of the models in a submission.py, read without importing it.

    Every keyword argument of a model class with a default that is a number, a string or a truth value is one.
    Raises: LabError if the file is not valid Python.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LabError("there is no {path}, which defines the models", path=path) from error
    except (SyntaxError, ValueError) as error:
        text, line = N_("{name} is not valid Python ({error})"), None
        if isinstance(error, SyntaxError):
            text, line = N_("{name} line {line} is not valid Python ({error})"), error.lineno
        raise LabError(text, name=path.name, line=line, error=error) from error
    found: dict[str, ModelOption] = {}
    for task in tasks or TASKS.values():
        arguments = constructor(tree, task.model_class)
        if arguments is None:
            continue
        found.setdefault("latent_dim", ModelOption(MODEL_OPTIONS["latent_dim"], task.latent_dim))
        for name, default in constructor_defaults(arguments).items():
            if name in MODEL_OPTIONS:
                found[name] = ModelOption(MODEL_OPTIONS[name], default)
            elif type(default) in (int, float, str, bool):
                own = Option(kind=type(default), minimum=-(2**31), help="an option of your own model")
                found[name] = ModelOption(own, default)
    return found


# --- Command lines ------------------------------------------------------------------------------


def add_model_options(parser: argparse.ArgumentParser, takers: dict[str, list[str]]) -> None:
    """Add the options of the submission's models. takers: the tasks whose model uses an option, by its name.

    An option that no model uses is not in the help; `train.py` says why it is refused.
    """
    group = parser.add_argument_group("model", "arguments of the classes in submission.py")
    for name, entry in model_options().items():
        tasks = takers[name]
        default = entry.default
        if tasks and len(tasks) < len(TASKS):
            default = _("{default}; {tasks} only", default=default, tasks=", ".join(tasks))
        entry.about.add_to(group, name, default, hidden=not tasks)


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `TrainConfig`."""
    group = parser.add_argument_group("training")
    for name, about in TRAINING_OPTIONS.items():
        about.add_to(group, name, default_text(name))


def default_text(name: str) -> str:
    """The default of a training option, in words."""
    if name == "var":
        return of_tasks("var")
    if name == "epochs":
        return _("{all}; on the digits {digits}", all=of_tasks("epochs"), digits=of_tasks("digits_epochs"))
    if name == "precision":
        return "auto"
    if name == "threads":
        return _("$OMP_NUM_THREADS, else the number of processors")
    default = TrainConfig.__dataclass_fields__[name].default
    return f"{default:g}" if isinstance(default, float) else str(default)

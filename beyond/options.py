"""The options beyond the lab, additions and discrete models, and the training defaults that they change.

It imports no torch: `train.py --help` reads it.
"""

from __future__ import annotations

import argparse
from collections.abc import Container
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from vaelab.cli import LabError
from vaelab.config import MODELS, SUBMISSION_MODEL, Option
from vaelab.language import N_
from vaelab.tasks import TASKS

# The additions of --beyond, and the defaults of the network and the training that scored best with them.
ALL_ON = {"prior": "learned", "recon": "ssim_mse", "refine": 10, "sharpen": 1.25}
ALL_ON_DEFAULTS = {"channels": 64, "hidden_dim": 512, "augment": 1.0}
EPOCHS = {False: 9, True: 18}  # of --beyond, by `Task.conditional`


def addition(default: Any = MISSING, **about: Any) -> Any:
    """A field of `Additions` that is an option of the command line."""
    return field(default=default, metadata={"option": Option(**about)})


# The default training of `--model vq` and `--model fsq`, of any task.
DISCRETE_TRAINING = {"var": 0.01, "epochs": 10}


@dataclass(frozen=True)
class Additions:
    """The additions to a submission. With the defaults, nothing is added."""

    prior: str = addition(
        "standard",
        choices=("class_mean", "learned", "standard"),
        help="distribution that generation draws its codes from: standard, N(0, I); class_mean, N(m_y, I) "
        "with a learned mean for each class; learned, a small flow-matching model that maps N(0, I) to the "
        "codes of each class, with little weight of the KL term",
    )
    recon: str = addition(
        "mse",
        choices=("bce", "mse", "ssim_mse"),
        help="reconstruction loss: mse, the handout's squared error; ssim_mse, SSIM too, weighted as in the "
        "score; bce, cross-entropy, for comparing likelihoods",
    )
    refine: int = addition(
        0,
        kind=int,
        maximum=1000,
        help="gradient descent steps that improve each code before it is stored; 0: none",
    )
    sharpen: float = addition(
        1.0,
        kind=float,
        minimum=1,
        maximum=10,
        help="factor of the logits of generated pixels: above 1 the images have more contrast, as real ones "
        "have; 1: none. It does not change the training",
    )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Additions:
        """The additions stored in a checkpoint. An older one does not name `sharpen`, which is then off.

        Raises: LabError if they are invalid.
        """
        if values.keys() | {"sharpen"} != OPTIONS.keys():
            raise LabError(
                "expected the additions {options}, got {values}",
                options=", ".join(OPTIONS),
                values=", ".join(map(str, values)),
            )
        for name, value in values.items():
            OPTIONS[name].check(name, value)
        return cls(**values)


MODEL = Option(
    choices=MODELS,
    help="the model to train: submission, the class in submission.py; vq and fsq, an autoencoder with "
    "discrete codes (vector quantization, finite scalar quantization) and a transformer as prior, in place "
    "of the submission's model",
)
# The options of the discrete models that the submission's models don't have, with their defaults: those of
# `beyond.discrete.model.DiscreteVAE`, repeated here since that imports torch.
DISCRETE_OPTIONS: dict[str, tuple[Option, Any]] = {
    "num_codes": (
        Option(
            kind=int,
            minimum=2,
            maximum=65_536,
            help="number of codes, of which each patch gets one: more reconstruct better and cost more bits. "
            "With fsq 16, 64, 256, 512, 1024 or 4096",
        ),
        512,
    ),
    "levels": (
        Option(help="levels of each number of fsq, as in 8,5,5,5, in place of --num_codes"),
        N_("chosen by --num_codes"),
    ),
    "prior_width": (
        Option(
            kind=int,
            minimum=4,
            maximum=4096,
            help="width of the prior's layers, a multiple of 4",
        ),
        64,
    ),
    "prior_layers": (
        Option(
            kind=int,
            minimum=1,
            maximum=64,
            help="layers of the prior",
        ),
        2,
    ),
    "prior_share": (
        Option(
            kind=float,
            maximum=0.99,
            exclusive=True,
            help="share of the training's steps that the prior is given at the end, with all else fixed",
        ),
        0.4,
    ),
    "temperature": (
        Option(
            kind=float,
            maximum=100,
            exclusive=True,
            help="temperature of generated indices: below 1 likely grids become more likely; 1 samples the "
            "prior as it was trained",
        ),
        1.0,
    ),
    "restart_below": (
        Option(
            kind=float,
            maximum=1,
            help="a code of vq is moved to a vector of the batch when its count falls below this share of "
            "the mean count, so that it is used again; 0: never",
        ),
        0.1,
    ),
}

OPTIONS: dict[str, Option] = {entry.name: entry.metadata["option"] for entry in fields(Additions)}


def add_options(parser: argparse.ArgumentParser, taken: Container[str] = ()) -> None:
    """Add --prior, --recon, --refine, --sharpen, --beyond, --model and its options to a command line.

    taken: the options that the submission's own models have, which are not added again.
    """
    group = parser.add_argument_group("beyond the lab", "additions to the submission, all off by default")
    for entry in fields(Additions):
        OPTIONS[entry.name].add_to(group, entry.name, entry.default)
    everything = " ".join(f"--{name} {value}" for name, value in ALL_ON.items())
    group.add_argument(
        "--beyond",
        action="store_true",
        default=False,
        help=f"the best score that we know of: {everything}, with a larger network, augmentation and "
        f"{EPOCHS[False]} epochs ({EPOCHS[True]} for a conditional model)",
    )
    group = parser.add_argument_group(
        "discrete codes", "a model in place of the submission's, and its options"
    )
    MODEL.add_to(group, "model", SUBMISSION_MODEL)
    for name, (about, default) in DISCRETE_OPTIONS.items():
        if name not in taken:
            about.add_to(group, name, default)


def chosen_model(given: dict[str, Any]) -> str:
    """The value of --model. given: parsed options. Raises: LabError for additions beside a discrete model."""
    model = given.get("model", SUBMISSION_MODEL)
    additions = [f"--{name}" for name in (*OPTIONS, "beyond") if given.get(name)]
    if model != SUBMISSION_MODEL and additions:
        raise LabError(
            "--model {model} can't have {additions}: these add to a model of submission.py; leave them out",
            model=model,
            additions=", ".join(additions),
        )
    return model


def chosen_additions(given: dict[str, Any]) -> dict[str, Any]:
    """The additions that were given as options, or by --beyond. given: parsed options."""
    everything = ALL_ON if given.get("beyond") else {}
    return everything | {name: given[name] for name in OPTIONS if name in given}


def read_options(given: dict[str, Any]) -> dict[str, Any]:
    """All additions as a dictionary, if one of them is on; else an empty one. given: parsed options."""
    additions = Additions(**chosen_additions(given))
    return {} if additions == Additions() else asdict(additions)


def changed_defaults(given: dict[str, Any], task: str) -> dict[str, Any]:
    """The defaults of the training and the model that the additions change."""
    if chosen_model(given) != SUBMISSION_MODEL:
        return DISCRETE_TRAINING
    additions = Additions(**read_options(given))
    conditional = TASKS[task].conditional
    var = default_var(additions, conditional)
    defaults = {} if var is None else {"var": var}
    if given.get("beyond"):
        defaults |= ALL_ON_DEFAULTS | {"epochs": EPOCHS[conditional]}
    return defaults


def default_var(additions: Additions, conditional: bool) -> float | None:
    """The variance of a pixel that scored best on `valid`; None: the task's own."""
    if additions.recon == "bce":
        return 0.5  # 1 / (2 var) = 1: the loss is then cross-entropy + KL, as in the ELBO
    if additions.prior == "learned":
        return 0.002  # this prior fits any distribution of codes, so the KL term need not constrain them
    if additions.recon == "ssim_mse" and conditional:
        return 0.2
    return None

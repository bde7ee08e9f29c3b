"""Checks of sentences of the handout and the solutions that state a number or a fact."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from formulas import gaussian_terms, generator, normal, statement
from skimage.metrics import structural_similarity
from torch import nn
from torch.distributions import Categorical, Normal, kl_divergence

from submission import vae_loss
from trainer import Trainer
from vaelab.schedule import Schedule


@statement("handout", "the KL divergence is infinite.", "则 KL 散度为正无穷")
def kl_is_infinite_where_only_q_is_zero() -> None:
    p, q = torch.tensor([0.5, 0.5, 0.0]).double(), torch.tensor([0.0, 0.5, 0.5]).double()
    assert kl_divergence(Categorical(p), Categorical(q)).isinf()
    p, q = torch.tensor([0.5, 0.5, 0.0]).double(), torch.tensor([0.25, 0.25, 0.5]).double()
    assert kl_divergence(Categorical(p), Categorical(q)).item() == pytest.approx(math.log(2))


@statement("handout", "230 instead of 40 for $d = 20$", "当 $d = 20$ 时是 230 个，而不是 40 个")
def outputs_of_a_full_covariance() -> None:
    d = 20
    symmetric = len(torch.tril_indices(d, d)[0])
    assert (d + symmetric, 2 * d) == (230, 40)
    assert d + symmetric == d + d * (d + 1) // 2


@statement(
    "handout",
    r"$2 \mathrm{var}$ is the weight of the KL term relative to the squared error",
    r"相对于平方误差，KL 项的权重是 $2 \mathrm{var}$",
)
def weight_of_the_kl_term() -> None:
    x, recon = torch.rand(2, 3, 28, 28, generator=generator(), dtype=torch.float64)
    mu, logvar = normal(2, 3, 4)
    square = (x - recon).square().flatten(1).sum(dim=1).mean()
    for var in (0.01, 2.0):
        _, recon_term, kl_term = vae_loss(recon, x, mu, logvar, var)
        per_square = recon_term / square  # the weight of the squared error in the loss
        per_kl = kl_term / gaussian_terms(mu, (0.5 * logvar).exp()).mean()
        assert (per_kl / per_square).item() == pytest.approx(2 * var)


@statement(
    "handout",
    "A mean over the pixels would multiply the weight of the reconstruction term by 1/784",
    "如果对像素也取平均，重构项的权重就只有应有的 1/784",
)
def a_mean_over_the_pixels() -> None:
    x, recon = torch.rand(2, 3, 28, 28, generator=generator(), dtype=torch.float64)
    mean = (x - recon).square().mean() / (2 * 0.1)
    right = vae_loss(recon, x, torch.zeros(3, 2).double(), torch.zeros(3, 2).double(), 0.1)[1]
    assert (mean / right).item() == pytest.approx(1 / 784)


@statement(
    "handout",
    "It is an upper bound on the information that the codes contain about their images",
    "它是编码中所含图像信息的一个上界",
)
def kl_bounds_the_information() -> None:
    z = torch.linspace(-25, 25, 20_001, dtype=torch.float64)
    for seed in range(20):
        mu, sigma = normal(6, 1, seed=seed), (0.3 * normal(6, 1, seed=seed + 100)).exp()  # six images
        q_given_x = Normal(mu, sigma).log_prob(z)  # [6, grid]
        log_q = q_given_x.exp().mean(dim=0).clamp(min=1e-300).log()
        information = torch.trapezoid(q_given_x.exp() * (q_given_x - log_q), z).mean()
        assert 0 < information < gaussian_terms(mu, sigma).mean()  # not equal to it


class SmallVAE(nn.Module):
    """8 pixels, 2 latents."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(8, 4), nn.Linear(2, 8)

    def terms(self, x: torch.Tensor, eps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(S, K): the squared error and the KL term, both means over the batch."""
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        recon = self.decoder(mu + (0.5 * logvar).exp() * eps)
        loss, recon_term, kl_term = vae_loss(recon, x, mu, logvar, 0.5)
        assert loss == recon_term + kl_term
        return recon_term, kl_term


@statement(
    "handout",
    "It gets no gradient and keeps its random initial weights, so this training has no result",
    "解码器得不到梯度，参数停留在随机初始值。这样的训练得不到任何结果",
)
def kl_alone_does_not_train_the_decoder() -> None:
    model, x = SmallVAE(), torch.rand(64, 8, generator=generator())
    before = [weight.detach().clone() for weight in model.decoder.parameters()]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for step in range(400):
        _, kl_term = model.terms(x, torch.randn(64, 2, generator=generator(step)))
        optimizer.zero_grad()
        kl_term.backward()
        assert all(weight.grad is None or not weight.grad.any() for weight in model.decoder.parameters())
        optimizer.step()
    assert kl_term < 1e-3
    assert all(map(torch.equal, before, model.decoder.parameters()))


@statement(
    "handout",
    "the decoder still learns the best image for codes without information, the mean image of (1.9)",
    "解码器仍然学到了编码不含信息时的最优输出，即 (1.9) 中的平均图像",
)
def small_weight_of_reconstruction_gives_the_mean_image() -> None:
    model, x = SmallVAE(), torch.rand(64, 8, generator=generator())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(1500):
        square, kl_term = model.terms(x, torch.randn(64, 2, generator=generator(step)))
        optimizer.zero_grad()
        (1e-3 * square + kl_term).backward()  # Adam's steps do not depend on the scale of a gradient
        optimizer.step()
    assert kl_term < 1e-3
    assert (model.decoder(torch.zeros(1, 2)) - x.mean(dim=0)).abs().max() < 0.03
    assert model.decoder.weight.abs().max() < 0.05  # the same image for every code


@statement(
    "handout",
    "The mean image is the best constant image for it too.",
    "对交叉熵来说，在与编码无关的图像中，平均图像也是最优的",
)
def mean_image_minimizes_the_cross_entropy() -> None:
    x = torch.rand(300, 8, generator=generator(), dtype=torch.float64)
    grid = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)[:, None, None]  # values of a pixel of c
    loss = -(x * grid.log() + (1 - x) * (1 - grid).log()).mean(dim=1)  # [999, 8]
    torch.testing.assert_close(grid[loss.argmin(dim=0), 0, 0], x.mean(dim=0), atol=5.1e-4, rtol=0)


@statement("handout", "It is between -1 and 1.", "它的取值范围是 -1 到 1")
def range_of_ssim() -> None:
    x, y = torch.rand(2, 28, 28, generator=generator(), dtype=torch.float64).numpy()
    values = [structural_similarity(x, other, data_range=1.0) for other in (x, y, 1 - x)]
    assert values[0] == pytest.approx(1)
    assert -1 <= values[2] < -0.5 < values[1] < 1


@statement(
    "solutions",
    "Its variance is usually much larger, but not always: for a rapidly oscillating $f$ it can be smaller",
    "它的方差通常大得多，但并非总是如此：如果 $f$ 剧烈振荡，它的方差可能反而较小",
)
def variances_of_the_two_gradients() -> None:
    mu, sigma, eps = 1.5, 0.5, normal(200_000)
    z = mu + sigma * eps
    for of_f, gradient, larger in (
        (z.square(), 2 * z, True),
        ((20 * z).sin(), 20 * (20 * z).cos(), False),
    ):
        score_function = of_f * eps / sigma
        ratio = score_function.var() / gradient.var()
        assert ratio > 5 if larger else ratio < 0.2


@statement(
    "solutions",
    "The learning rate in the first step is one hundredth of `--lr`",
    "第一步的学习率是 `--lr` 的百分之一",
)
def learning_rate_of_a_run() -> None:
    trainer = object.__new__(Trainer)
    trainer.config = SimpleNamespace(lr=3e-3, warmup_steps=100, epochs=10)
    trainer.schedule = Schedule.of(object(), steps=3910)
    assert trainer.learning_rate(0) == pytest.approx(3e-5)
    assert trainer.learning_rate(99) == pytest.approx(3e-3, rel=0.01)
    assert trainer.learning_rate(3909) < 1e-8

"""Checks of the handout's formulas: parts 2 to 5."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from formulas import LinearModel, formula, gaussian_terms, generator, near_mean, normal, random_gaussian
from skimage.metrics import structural_similarity
from torch.distributions import Normal, kl_divergence

from submission import vae_loss
from vaelab.metrics.fid import fid as fid_by_label
from vaelab.metrics.reconstruction import ssim as metrics_ssim
from vaelab.metrics.saved_images import reconstruction
from vaelab.metrics.score import bonus, score

# --- 2 and 3 The lab ----------------------------------------------------------------------------


@formula(
    "2.1",
    r"L = \frac{1}{B} \sum_{k=1}^B \left[ \frac{1}{2 \mathrm{var}} \sum_{j=1}^D (x_{kj} - \hat x_{kj})^2 + "
    r"\frac{1}{2} \sum_{i=1}^d \left( \sigma_{ki}^2 + \mu_{ki}^2 - 1 - \log \sigma_{ki}^2 \right) \right]",
)
def loss_of_a_batch() -> None:
    x, recon = torch.rand(2, 3, 28, 28, generator=generator(), dtype=torch.float64)
    mu, logvar = normal(2, 3, 4)
    total = 0.0
    for k in range(3):
        pixels = zip(x[k].flatten().tolist(), recon[k].flatten().tolist(), strict=True)
        total += sum((a - b) ** 2 for a, b in pixels) / (2 * 0.1)
        for m, v in zip(mu[k].tolist(), logvar[k].exp().tolist(), strict=True):
            total += 0.5 * (v + m**2 - 1 - math.log(v))
    assert vae_loss(recon, x, mu, logvar, 0.1)[0].item() == pytest.approx(total / 3)


@formula("2.2", r"2 \mathrm{var} \cdot L = S + 2 \mathrm{var} \cdot K")
def var_is_the_price_of_a_nat() -> None:
    x, recon = torch.rand(2, 3, 28, 28, generator=generator(), dtype=torch.float64)
    mu, logvar = normal(2, 3, 4)
    square = (x - recon).square().sum(dim=(1, 2)).mean()
    for var in (0.01, 2.0):
        loss, _, kl_term = vae_loss(recon, x, mu, logvar, var)
        torch.testing.assert_close(2 * var * loss, square + 2 * var * kl_term)


@formula(
    "2.3",
    r"\arg\max_{\mathrm{var}} \mathbb E \left[ \log N(x; \hat x, \mathrm{var} \cdot I) \right] = "
    r"\frac{1}{D} \mathbb E \left[ \Vert x - \hat x \Vert^2 \right]",
)
def most_likely_var() -> None:
    x, recon = torch.rand(2, 20, 784, generator=generator(), dtype=torch.float64)
    grid = torch.linspace(0.01, 1, 991, dtype=torch.float64)  # steps of a thousandth
    log_p = [Normal(recon, var.sqrt()).log_prob(x).sum(dim=1).mean().item() for var in grid]
    best = grid[int(np.argmax(log_p))].item()
    assert best == pytest.approx((x - recon).square().mean().item(), abs=5.1e-4)


@formula(
    "3.1",
    r"\log p_\theta(x \mid y) \ge \mathbb E_{z \sim q_\phi(z \mid x, y)} \left[ "
    r"\log p_\theta(x \mid z, y) \right] - \mathrm{KL}(q_\phi(z \mid x, y) \Vert p(z))",
)
def conditional_bound() -> None:
    for y in range(3):  # a decoder for each label
        model = LinearModel(seed=10 * y)
        x = normal(5, seed=40 + y)
        for q, slack in ((random_gaussian(2, seed=y), 0.05), (model.posterior(x), None)):
            z = q.mean + normal(100_000, 2, seed=y) @ q.scale_tril.T
            values = model.log_p_x_given_z(x, z) - kl_divergence(q, model.prior)
            if slack is None:  # at the posterior the bound is reached
                near_mean(values, model.marginal.log_prob(x))
            else:
                assert values.mean() < model.marginal.log_prob(x) - slack


# --- 4 Evaluation -------------------------------------------------------------------------------


@formula("4.1", r"\mathrm{mse} = \frac{1}{D} \sum_{j=1}^D (a_j - x_j)^2")
def mse_of_an_image() -> None:
    a, x = np.random.RandomState(0).randint(0, 256, (2, 1, 28, 28)).astype(np.uint8)
    expected = np.mean((a / 255.0 - x / 255.0) ** 2)
    assert reconstruction(a, x)["mse"] == pytest.approx(expected)


@formula(
    "4.2",
    r"\mathrm{ssim} = \frac{(2 m_a m_x + c_1)(2 s_{ax} + c_2)}{(m_a^2 + m_x^2 + c_1)(s_a^2 + s_x^2 + c_2)}, "
    r"\qquad c_1 = 0.01^2, c_2 = 0.03^2",
)
def ssim_of_a_window() -> None:
    a, x = np.random.RandomState(0).rand(2, 28, 28)
    values = []
    for i in range(22):
        for j in range(22):
            b, y = a[i : i + 7, j : j + 7].ravel(), x[i : i + 7, j : j + 7].ravel()
            (var_b, cov), (_, var_y) = np.cov(b, y)
            above = (2 * b.mean() * y.mean() + 1e-4) * (2 * cov + 9e-4)
            values.append(above / ((b.mean() ** 2 + y.mean() ** 2 + 1e-4) * (var_b + var_y + 9e-4)))
    assert np.mean(values) == pytest.approx(structural_similarity(a, x, data_range=1.0))
    ours = metrics_ssim(torch.from_numpy(a)[None], torch.from_numpy(x)[None])
    assert ours.item() == pytest.approx(np.mean(values))


@formula(
    "4.3",
    r"\mathrm{fid} = \sum_{j=1}^D (m_{g,j} - m_{r,j})^2 + \sum_{j=1}^D "
    r"\left( v_{g,j} + v_{r,j} - 2 \sqrt{v_{g,j} v_{r,j}} \right)",
)
def fid_of_a_label() -> None:
    rng = np.random.RandomState(0)
    gen = rng.randint(0, 256, (1, 50, 28, 28)).astype(np.uint8)
    real = rng.randint(0, 200, (40, 28, 28)).astype(np.uint8)
    g, r = gen[0].reshape(50, -1) / 255, real.reshape(40, -1) / 255
    total = 0.0
    for j in range(784):
        v_g, v_r = np.mean((g[:, j] - g[:, j].mean()) ** 2), np.mean((r[:, j] - r[:, j].mean()) ** 2)
        total += (g[:, j].mean() - r[:, j].mean()) ** 2 + v_g + v_r - 2 * math.sqrt(v_g * v_r)
    assert fid_by_label(gen, real, np.zeros(40, int))[0] == pytest.approx(total)
    # It is the Frechet distance of two Gaussians with these means and diagonal covariances.
    diagonal = np.diag(np.sqrt(g.var(0) * r.var(0)))
    trace = np.trace(np.diag(g.var(0)) + np.diag(r.var(0)) - 2 * diagonal)
    assert total == pytest.approx(np.square(g.mean(0) - r.mean(0)).sum() + trace)


@formula(
    "4.4",
    r"\mathrm{VAE0label} = \min \left( 10, \left[ 5 \mathrm{ssim} + 50 \max(0.1 - \mathrm{mse}, 0) \right] "
    r"\cdot \mathrm{bonus} \right)",
)
def score_of_the_vae() -> None:
    for ssim, mse, d in ((0.5, 0.03, 20), (0.9, 0.004, 3), (0.2, 0.3, 100)):
        expected = min(10, (5 * ssim + 50 * max(0.1 - mse, 0)) * (1.2 - d / 784))
        assert score("VAE0label", {"ssim": ssim, "mse": mse}, d)["score"] == pytest.approx(expected)


@formula(
    "4.5",
    r"\mathrm{Genwithlabel} = \min \left( 30, \left[ 10 \mathrm{ssim} + 100 \max(0.1 - \mathrm{mse}, 0) + "
    r"\max(10 - \mathrm{fid}, 0) \right] \cdot \mathrm{bonus} \right)",
)
def score_of_generation() -> None:
    for ssim, mse, fid, d in ((0.5, 0.03, 4, 20), (0.98, 0.002, 0.1, 3), (0.2, 0.3, 40, 100)):
        points = 10 * ssim + 100 * max(0.1 - mse, 0) + max(10 - fid, 0)
        values = {"ssim": ssim, "mse": mse, "fid": fid}
        expected = min(30, points * (1.2 - d / 784))
        assert score("Genwithlabel", values, d)["score"] == pytest.approx(expected)


@formula("4.6", r"\mathrm{bonus} = 0.2 + R, \qquad R = 1 - \frac{d}{784}")
def bonus_of_a_small_code() -> None:
    assert [bonus(d) for d in (784, 392, 20)] == pytest.approx([0.2, 0.7, 1.2 - 20 / 784])


# --- 5 Looking back -----------------------------------------------------------------------------


@formula(
    "5.1",
    r"\mathbb E_z \left[ \Vert x - W z - b \Vert^2 \right] = \Vert x - W \mu - b \Vert^2 + "
    r"\sum_{i=1}^d \sigma_i^2 \Vert w_i \Vert^2",
)
def noise_costs_reconstruction() -> None:
    model, x, (mu, sigma) = LinearModel(), normal(5, seed=3), (normal(2, seed=1), normal(2, seed=2).exp())
    z = mu + sigma * normal(200_000, 2)
    expected = (x - model.decode(mu)).square().sum() + (sigma**2 * model.weight.square().sum(dim=0)).sum()
    near_mean((x - model.decode(z)).square().sum(dim=1), expected)


@formula("5.2", r"\sigma_i^2 = \frac{1}{1 + \Vert w_i \Vert^2 / \mathrm{var}}")
def width_where_both_halves_balance() -> None:
    model = LinearModel()
    norms = model.weight.square().sum(dim=0)
    logvar = torch.linspace(-8, 2, 100_001, dtype=torch.float64)[:, None]  # [grid, 1]
    loss = logvar.exp() * norms / (2 * model.var) + 0.5 * (logvar.exp() - 1 - logvar)  # [grid, d]
    best = logvar[loss.argmin(dim=0), 0].exp()
    torch.testing.assert_close(best, 1 / (1 + norms / model.var), rtol=1e-4, atol=0)


@formula(
    "5.3",
    r"\mathbb E_x \left[ \mathrm{KL}(q_\phi(z \mid x) \Vert p(z)) \right] = I(x; z) + "
    r"\mathrm{KL}(q(z) \Vert p(z))",
)
def kl_is_information_and_mismatch() -> None:
    mu, sigma = 2 * normal(6, seed=1)[:, None], (0.3 * normal(6, seed=2)).exp()[:, None]  # six images
    z = torch.linspace(-20, 20, 40_001, dtype=torch.float64)
    q_given_x = Normal(mu, sigma).log_prob(z)  # [6, grid]
    q, p = q_given_x.exp().mean(dim=0), Normal(0.0, 1.0).log_prob(z)
    log_q = q.clamp(min=1e-300).log()
    information = torch.trapezoid(q_given_x.exp() * (q_given_x - log_q), z).mean()
    mismatch = torch.trapezoid(q * (log_q - p), z)
    torch.testing.assert_close(gaussian_terms(mu, sigma).mean(), information + mismatch)
    assert 0 < information < math.log(6)

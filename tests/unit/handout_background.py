"""Checks of the handout's formulas: parts 0 and 1."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from formulas import (
    LinearModel,
    Mixture,
    formula,
    gaussian_terms,
    generator,
    near_mean,
    normal,
    random_gaussian,
)
from torch.distributions import Categorical, MultivariateNormal, Normal, kl_divergence

from submission import vae_loss

# --- 0 Background -------------------------------------------------------------------------------


@formula(
    "0.1",
    r"\mathrm{KL}(p \Vert q) = \int p(x) \log \frac{p(x)}{q(x)} dx = "
    r"\mathbb E_{x \sim p} \left[ \log p(x) - \log q(x) \right]",
)
def kl_as_integral_and_expectation() -> None:
    p, q = Normal(0.3, 0.8), Normal(-0.5, 1.7)
    x = torch.linspace(-15, 15, 200_001, dtype=torch.float64)
    log_ratio = p.log_prob(x) - q.log_prob(x)
    integral = torch.trapezoid(p.log_prob(x).exp() * log_ratio, x)
    torch.testing.assert_close(integral.float(), kl_divergence(p, q), rtol=1e-6, atol=0)
    draws = 0.3 + 0.8 * normal(100_000)
    near_mean(p.log_prob(draws) - q.log_prob(draws), integral)


@formula("0.2", r"\mathrm{KL}(p \Vert q) \ge 0, \qquad \mathrm{KL}(p \Vert q) = 0 \iff p = q")
def kl_is_zero_only_at_equality() -> None:
    p, q = normal(2, 2000, 4).softmax(dim=2)
    kl = (p * (p / q).log()).sum(dim=1)
    assert kl.min() > 0
    # Pinsker's inequality: a KL of zero leaves no distance between the two.
    assert (kl >= 0.5 * (p - q).abs().sum(dim=1).square()).all()
    assert ((p * (p / p.clone()).log()).sum(dim=1) == 0).all()
    torch.testing.assert_close(kl, kl_divergence(Categorical(p), Categorical(q)))


@formula("0.3", r"t - 1 \ge \log t")
def line_above_the_logarithm() -> None:
    t = torch.linspace(1e-3, 10, 99_991, dtype=torch.float64)  # steps of 1e-4 or less; 1 is among them
    slack = t - 1 - t.log()
    assert slack.min() >= 0
    assert ((slack < 1e-10) == ((t - 1).abs() < 1e-5)).all()  # equality at 1 only


@formula("0.4", r"\mathbb E \left[ f(X) \right] \ge f(\mathbb E \left[ X \right])")
def jensen() -> None:
    p, x = normal(500, 6).softmax(dim=1), normal(500, 6, seed=1).exp()  # 500 distributions of 6 values
    constant = x[:, :1].expand(-1, 6)
    for f in (torch.square, torch.exp, lambda t: -t.log()):  # strictly convex
        assert ((p * f(x)).sum(dim=1) > f((p * x).sum(dim=1))).all()
        torch.testing.assert_close((p * f(constant)).sum(dim=1), f(x[:, 0]))


@formula(
    "0.5",
    r"N(x; \mu, \sigma^2) = \frac{1}{\sqrt{2 \pi \sigma^2}} "
    r"\exp \left( - \frac{(x - \mu)^2}{2 \sigma^2} \right)",
)
def gaussian_density() -> None:
    x, mu, sigma = normal(100), 0.7, 1.3
    density = 1 / math.sqrt(2 * math.pi * sigma**2) * (-((x - mu) ** 2) / (2 * sigma**2)).exp()
    torch.testing.assert_close(density.log(), Normal(mu, sigma).log_prob(x))


@formula(
    "0.6",
    r"\mathrm{KL}(N(\mu_1, \Sigma_1) \Vert N(\mu_2, \Sigma_2)) = \frac{1}{2} \left[ "
    r"\mathrm{tr}(\Sigma_2^{-1} \Sigma_1) + (\mu_2 - \mu_1)^T \Sigma_2^{-1} (\mu_2 - \mu_1) - n + "
    r"\log \frac{\det \Sigma_2}{\det \Sigma_1} \right]",
)
def kl_of_gaussians() -> None:
    for n in (1, 2, 5):
        p, q = random_gaussian(n, seed=n), random_gaussian(n, seed=100 + n)
        inverse, shift = torch.linalg.inv(q.covariance_matrix), q.mean - p.mean
        mahalanobis = shift @ inverse @ shift
        log_ratio = torch.logdet(q.covariance_matrix) - torch.logdet(p.covariance_matrix)
        rest = (inverse @ p.covariance_matrix).trace() - n + log_ratio
        right, wrong = 0.5 * (rest + mahalanobis), 0.5 * rest + mahalanobis
        torch.testing.assert_close(right, kl_divergence(p, q))
        x = p.mean + normal(200_000, n, seed=7) @ p.scale_tril.T
        sampled = p.log_prob(x) - q.log_prob(x)
        near_mean(sampled, right)
        with pytest.raises(AssertionError):  # without the half before the Mahalanobis term
            near_mean(sampled, wrong)


@formula(
    "0.7",
    r"\arg\max_\theta p(\theta \mid x) = \arg\max_\theta \frac{p(\theta) p(x \mid \theta)}{p(x)} = "
    r"\arg\max_\theta p(x \mid \theta) = \arg\max_\theta \log p(x \mid \theta)",
)
def map_with_a_constant_prior_is_maximum_likelihood() -> None:
    theta = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    likelihood = Normal(theta, 0.7).log_prob(torch.tensor([0.4, 1.3]).double()[:, None]).sum(dim=0).exp()
    for prior, agrees in (
        (torch.full_like(theta, 1 / 6), True),
        (Normal(0.0, 0.5).log_prob(theta).exp(), False),
    ):
        evidence = torch.trapezoid(prior * likelihood, theta)
        posterior = prior * likelihood / evidence
        assert torch.trapezoid(posterior, theta).item() == pytest.approx(1)
        assert (posterior.argmax() == likelihood.argmax()) == agrees
    assert likelihood.argmax() == likelihood.log().argmax()
    assert theta[likelihood.argmax()].item() == pytest.approx(0.85)  # the mean of the two values


@formula(
    "0.8",
    r"\log p_\theta(x) = \int q(z) \log p_\theta(x) dz = \mathrm{ELBO}(q, \theta) + "
    r"\mathrm{KL}(q(z) \Vert p_\theta(z \mid x))",
)
def log_likelihood_as_elbo_plus_kl() -> None:
    mixture, theta = Mixture(), Mixture.random_theta(3)
    log_p, posterior = mixture.log_likelihood(theta), mixture.posterior(theta)
    for q in (torch.softmax(normal(len(mixture.x), 2, seed=5), 1), posterior):
        torch.testing.assert_close((q * log_p[:, None]).sum(dim=1), log_p)
        elbo = mixture.elbo(q, theta)
        kl = kl_divergence(Categorical(q), Categorical(posterior))
        torch.testing.assert_close(elbo + kl, log_p)
        assert (elbo <= log_p + 1e-12).all()
    torch.testing.assert_close(elbo, log_p)  # the last q was the posterior


@formula("0.9", r"\log p_\theta(x) = \log p_\theta(x, z) - \log p_\theta(z \mid x)")
def log_likelihood_at_every_z() -> None:
    mixture, theta = Mixture(), Mixture.random_theta(3)
    difference = mixture.log_joint(theta) - mixture.posterior(theta).log()  # [N, 2]
    torch.testing.assert_close(difference, mixture.log_likelihood(theta)[:, None].expand(-1, 2))


@formula("0.10", r"q_{t+1}(z) = p_{\theta_t}(z \mid x)")
def e_step_is_the_best_q() -> None:
    mixture, theta = Mixture(), Mixture.random_theta(3)
    best = mixture.posterior(theta)
    torch.testing.assert_close(mixture.elbo(best, theta), mixture.log_likelihood(theta))
    for seed in range(50):
        near = (best.log() + 0.1 * normal(*best.shape, seed=seed)).softmax(dim=1)
        assert (mixture.elbo(near, theta) < mixture.elbo(best, theta)).all()


@formula(
    "0.11",
    r"\theta_{t+1} = \arg\max_\theta \mathrm{ELBO}(q_{t+1}, \theta) = "
    r"\arg\max_\theta \mathbb E_{z \sim q_{t+1}} \left[ \log p_\theta(x, z) \right]",
)
def m_step_is_the_maximum() -> None:
    mixture = Mixture()
    q = mixture.posterior(mixture.random_theta(0))
    best = mixture.m_step(q)

    def expected(theta: tuple) -> torch.Tensor:
        return (q * mixture.log_joint(theta)).sum()

    for seed in range(200):
        weight, mean, variance = (0.1 * normal(2, seed=3 * seed + i) for i in range(3))
        near = torch.softmax(best[0].log() + weight, 0), best[1] + mean, best[2] * variance.exp()
        assert expected(near) < expected(best)
        assert mixture.elbo(q, near).sum() < mixture.elbo(q, best).sum()


@formula("0.12", r"\log p_{\theta_{t+1}}(x) \ge \log p_{\theta_t}(x)")
def em_never_falls() -> None:
    for seed in range(10):
        mixture = Mixture(seed)
        theta = mixture.random_theta(seed + 50)
        values = [mixture.log_likelihood(theta).sum().item()]
        for _ in range(40):
            theta = mixture.m_step(mixture.posterior(theta))
            values.append(mixture.log_likelihood(theta).sum().item())
        assert (np.diff(values) >= -1e-9).all()
        assert values[-1] > values[0] + 1


# --- 1 The VAE ----------------------------------------------------------------------------------


@formula(
    "1.1",
    r"\theta^\ast = \arg\min_\theta \mathrm{KL}(p_{data} \Vert p_\theta) = "
    r"\arg\max_\theta \mathbb E_{x \sim p_{data}} \left[ \log p_\theta(x) \right] \approx "
    r"\arg\max_\theta \sum_{i=1}^m \log p_\theta(x^{(i)})",
)
def nearest_is_most_likely() -> None:
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    p_data = 0.3 * Normal(-2, 1).log_prob(x).exp() + 0.7 * Normal(1.5, 0.5).log_prob(x).exp()
    theta = torch.linspace(-3, 3, 601, dtype=torch.float64)[:, None]
    log_p = Normal(theta, 1.2).log_prob(x)  # [601, 4001]
    kl = torch.trapezoid(p_data * (p_data.log() - log_p), x)
    expected = torch.trapezoid(p_data * log_p, x)
    assert kl.argmin() == expected.argmax()
    assert theta[kl.argmin()].item() == pytest.approx(0.3 * -2 + 0.7 * 1.5, abs=0.01)
    m = 100_000  # images drawn from p_data
    left = torch.rand(m, generator=generator(1), dtype=torch.float64) < 0.3
    samples = torch.where(left, -2 + normal(m, seed=2), 1.5 + 0.5 * normal(m, seed=3))
    of_samples = torch.stack([Normal(t, 1.2).log_prob(samples).sum() for t in theta[:, 0]])
    assert theta[of_samples.argmax()].item() == pytest.approx(theta[kl.argmin()].item(), abs=0.03)


@formula("1.2", r"p_\theta(x) = \int p_\theta(x \mid z) p(z) dz")
def likelihood_is_a_mean_over_the_prior() -> None:
    model = LinearModel()
    x = model.marginal.mean + 0.5
    z = normal(200_000, model.d)
    near_mean(model.log_p_x_given_z(x, z).exp(), model.marginal.log_prob(x).exp())


@formula(
    "1.3",
    r"\mathrm{ELBO} = \mathbb E_{z \sim q_\phi(z \mid x)} \left[ \log p_\theta(x \mid z) \right] - "
    r"\mathrm{KL}(q_\phi(z \mid x) \Vert p(z))",
)
def elbo_of_a_linear_gaussian_model() -> None:
    model = LinearModel()
    x = model.marginal.mean + normal(5, seed=4)
    posterior, log_p = model.posterior(x), model.marginal.log_prob(x)
    for q in (random_gaussian(model.d, seed=8), posterior):
        z = q.mean + normal(200_000, model.d, seed=2) @ q.scale_tril.T
        # (0.9): the ELBO is what the KL to the true posterior leaves of log p(x).
        elbo = log_p - kl_divergence(q, posterior)
        near_mean(model.log_p_x_given_z(x, z) - kl_divergence(q, model.prior), elbo)
    torch.testing.assert_close(elbo, log_p)


@formula(
    "1.4",
    r"\mathrm{KL}(q_\phi(z \mid x) \Vert p(z)) = \frac{1}{2} \sum_{i=1}^d "
    r"\left( \sigma_i^2 + \mu_i^2 - 1 - \log \sigma_i^2 \right)",
)
def kl_to_the_prior() -> None:
    mu, logvar = normal(2, 50, 7)
    sigma, image = (0.5 * logvar).exp(), torch.zeros(50, 28, 28)
    expected = kl_divergence(Normal(mu, sigma), Normal(torch.zeros_like(mu), 1.0)).sum(dim=1)
    torch.testing.assert_close(gaussian_terms(mu, sigma), expected)
    torch.testing.assert_close(vae_loss(image, image, mu, logvar, 1.0)[2], expected.mean())


@formula(
    "1.5",
    r"- \log p_\theta(x \mid z) = \frac{1}{2 \mathrm{var}} \Vert x - \hat x \Vert^2 + "
    r"\frac{D}{2} \log (2 \pi \mathrm{var})",
)
def reconstruction_is_a_likelihood() -> None:
    x, recon = torch.rand(2, 784, generator=generator(), dtype=torch.float64)
    for var in (0.01, 0.3, 5.0):
        closed = (x - recon).square().sum() / (2 * var) + 784 / 2 * math.log(2 * math.pi * var)
        torch.testing.assert_close(-closed, Normal(recon, math.sqrt(var)).log_prob(x).sum())


@formula(
    "1.6",
    r"L(x) = \frac{1}{2 \mathrm{var}} \Vert x - \hat x \Vert^2 + \frac{1}{2} \sum_{i=1}^d "
    r"\left( \sigma_i^2 + \mu_i^2 - 1 - \log \sigma_i^2 \right)",
)
def loss_is_the_negative_elbo() -> None:
    model = LinearModel(var=0.2)
    x, (mu, sigma) = model.marginal.mean + 1, (normal(2, seed=1), normal(2, seed=3).exp())
    z = mu + sigma * normal(200_000, 2, seed=6)
    loss = (x - model.decode(z)).square().sum(dim=1) / (2 * model.var) + gaussian_terms(mu, sigma)
    q = MultivariateNormal(mu, torch.diag(sigma**2))
    elbo = model.marginal.log_prob(x) - kl_divergence(q, model.posterior(x))
    near_mean(-loss - 5 / 2 * math.log(2 * math.pi * model.var), elbo)
    one, mu_logvar = model.decode(z[:1]), (mu[None], 2 * sigma.log()[None])
    torch.testing.assert_close(vae_loss(one, x[None], *mu_logvar, model.var)[0], loss[0])


@formula("1.7", r"z = \mu + \sigma \odot \epsilon, \qquad \epsilon \sim N(0, I)")
def reparameterized_moments() -> None:
    mu, sigma = normal(3, seed=1), normal(3, seed=2).exp()
    z = mu + sigma * normal(200_000, 3)
    near_mean(z, mu)
    near_mean((z - mu).square(), sigma**2)
    near_mean((z - mu) * (z - mu).roll(1, dims=1), torch.zeros(3).double())  # no correlation
    near_mean((z - mu) ** 4, 3 * sigma**4)  # a Gaussian's fourth moment


@formula(
    "1.8",
    r"\nabla_\phi \mathbb E_{z \sim q_\phi(z \mid x)} \left[ f(z) \right] = "
    r"\mathbb E_{\epsilon \sim N(0, I)} \left[ \nabla_\phi f(\mu + \sigma \odot \epsilon) \right]",
)
def reparameterized_gradient() -> None:
    n, a, b = 200_000, 0.7, -1.1
    mu, logvar = (torch.full((n,), value, dtype=torch.float64, requires_grad=True) for value in (0.4, -0.6))
    z = mu + torch.exp(0.5 * logvar) * normal(n)
    (a * z**3 + b * z**2).sum().backward()  # each row has its own gradient
    # E z^2 = mu^2 + s, E z^3 = mu^3 + 3 mu s with s = sigma^2 = exp(logvar), whose derivative is s itself.
    m, s = 0.4, math.exp(-0.6)
    near_mean(mu.grad, a * (3 * m**2 + 3 * s) + b * 2 * m)
    near_mean(logvar.grad, (a * 3 * m + b) * s)


@formula("1.9", r"\arg\min_c \mathbb E_x \left[ \Vert x - c \Vert^2 \right] = \mathbb E_x \left[ x \right]")
def mean_image_is_the_best_guess() -> None:
    x = torch.rand(300, 784, generator=generator(), dtype=torch.float64)
    c = torch.zeros(784, dtype=torch.float64, requires_grad=True)
    for _ in range(60):  # descent
        (slope,) = torch.autograd.grad((x - c).square().sum(dim=1).mean(), c)
        c = (c - 0.4 * slope).detach().requires_grad_()
    torch.testing.assert_close(c.detach(), x.mean(dim=0))

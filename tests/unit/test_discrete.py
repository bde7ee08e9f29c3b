"""Discrete codes: quantizers against vector-quantize-pytorch, the prior against enumeration, the model."""

from __future__ import annotations

import itertools
import math
import warnings

import pytest
import torch
from torch import Tensor

from beyond.discrete import discrete
from beyond.discrete.fsq import LEVELS, FiniteScalarQuantizer
from beyond.discrete.model import AUTOENCODER, PRIOR, QUANTIZERS, DiscreteVAE
from beyond.discrete.prior import CodePrior
from beyond.discrete.quantizer import code_frequencies, perplexity, straight_through
from beyond.discrete.vq import VectorQuantizer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import vector_quantize_pytorch as oracle


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# --- Vector quantization ------------------------------------------------------------------------


def vector_quantizers(num_codes: int = 20, dim: int = 6) -> tuple[VectorQuantizer, torch.nn.Module]:
    """Ours and the oracle's, with one codebook and one state of the moving averages, without restarts."""
    ours = VectorQuantizer(num_codes, dim, commitment=0.25, decay=0.9, restart_below=0)
    theirs = oracle.VectorQuantize(
        dim,
        num_codes,
        decay=0.9,
        eps=1e-12,  # of its Laplace smoothing, which the paper does not have
        commitment_weight=0.25,
        rotation_trick=False,
        threshold_ema_dead_code=0,
    )
    codebook = torch.randn(num_codes, dim)
    ours.codebook.copy_(codebook)
    ours.counts.fill_(1.0)
    ours.sums.copy_(codebook)
    theirs.codebook = codebook
    theirs._codebook.embed_avg.copy_(codebook[None])
    return ours, theirs


def test_vq_agrees_with_the_oracle_over_several_updates() -> None:
    """Indices, code vectors, commitment loss, moving averages and gradients, five batches in a row."""
    ours, theirs = vector_quantizers()
    for _ in range(5):
        z = torch.randn(8, 9, 6)
        a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
        quantized = ours(a)
        codes, indices, loss = theirs(b)
        assert torch.equal(quantized.indices, indices)
        torch.testing.assert_close(quantized.codes, codes)
        # Theirs is a mean over all numbers, ours a sum over the 9 * 6 of each image.
        torch.testing.assert_close(quantized.loss, loss.squeeze() * 9 * 6)
        torch.testing.assert_close(ours.counts, theirs._codebook.cluster_size[0])
        torch.testing.assert_close(ours.sums, theirs._codebook.embed_avg[0])
        torch.testing.assert_close(ours.codebook, theirs.codebook)
        weights = torch.randn_like(z)
        ((quantized.codes * weights).sum() + quantized.loss).backward()
        ((codes * weights).sum() + loss.squeeze() * 9 * 6).backward()
        torch.testing.assert_close(a.grad, b.grad)


def test_vq_chooses_the_nearest_of_all_codes() -> None:
    quantizer, z = VectorQuantizer(50, 4), torch.randn(3, 7, 7, 4)
    quantizer.codebook.copy_(torch.randn(50, 4))
    distances = (z[..., None, :].double() - quantizer.codebook.double()).square().sum(dim=-1)
    assert torch.equal(quantizer.nearest(z), distances.argmin(dim=-1))


def test_vq_codes_are_quantized_to_themselves() -> None:
    quantizer = VectorQuantizer(50, 4).eval()
    quantizer.codebook.copy_(torch.randn(50, 4))
    assert torch.equal(quantizer.nearest(quantizer.codes(torch.arange(50))), torch.arange(50))
    once = quantizer(torch.randn(2, 7, 7, 4))
    twice = quantizer(once.codes)
    assert torch.equal(once.indices, twice.indices)
    assert torch.equal(once.codes, twice.codes)
    assert twice.loss == 0


def test_vq_gradient_passes_to_the_encoder_unchanged() -> None:
    quantizer, z = VectorQuantizer(50, 4, commitment=0.0), torch.randn(2, 7, 7, 4, requires_grad=True)
    quantizer.codebook.copy_(torch.randn(50, 4))
    codes = quantizer(z).codes
    codes.retain_grad()
    codes.sin().sum().backward()
    assert torch.equal(z.grad, codes.grad)
    assert torch.equal(codes.grad, codes.detach().cos())  # taken at the code, not at z


def test_vq_commitment_pulls_the_encoder_towards_its_codes() -> None:
    quantizer, z = VectorQuantizer(50, 4, commitment=0.25), torch.randn(5, 7, 7, 4, requires_grad=True)
    quantized = quantizer.eval()(z)
    quantized.loss.backward()
    torch.testing.assert_close(z.grad, 0.5 * (z - quantized.codes).detach() / 5)  # of beta ||z - e||^2 / B


def test_vq_first_update_moves_each_code_to_the_mean_of_its_vectors() -> None:
    quantizer, z = VectorQuantizer(3, 2, restart_below=0), torch.randn(40, 2)
    quantizer.codebook.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [50.0, 50.0]]))
    indices = quantizer.nearest(z)
    quantizer(z[:, None])
    for k in range(2):
        torch.testing.assert_close(quantizer.codebook[k], z[indices == k].mean(dim=0))
    assert quantizer.codebook[2].tolist() == [50.0, 50.0]  # chosen by none: it stays


def test_vq_restarts_codes_that_are_not_chosen() -> None:
    """With restarts all codes move to where the vectors are; without, most are never chosen."""
    data = torch.randn(2000, 4) + 10
    used = {}
    for restart_below in (0, 0.1):
        torch.manual_seed(1)
        quantizer = VectorQuantizer(64, 4, restart_below=restart_below)
        for batch in data.split(200):
            quantizer(batch[:, None])
        quantizer.eval()
        used[restart_below] = (code_frequencies(quantizer.nearest(data), 64) > 0).sum().item()
    assert used[0] < 10
    assert used[0.1] > 55


def test_vq_changes_no_state_in_eval_mode_or_without_a_forward() -> None:
    quantizer, z = VectorQuantizer(10, 4), torch.randn(5, 3, 4)
    before = {key: value.clone() for key, value in quantizer.state_dict().items()}
    quantizer.nearest(z)
    quantizer.eval()(z)
    assert all(torch.equal(before[key], value) for key, value in quantizer.state_dict().items())
    assert not list(quantizer.parameters())  # the codebook is updated by averages, not by an optimizer


def test_vq_searches_large_batches_in_parts() -> None:
    quantizer, z = VectorQuantizer(10, 2), torch.randn(20_000, 2)
    whole = torch.cat([quantizer.nearest(part) for part in z.split(500)])
    assert torch.equal(quantizer.nearest(z), whole)


# --- Finite scalar quantization -----------------------------------------------------------------


@pytest.mark.parametrize("levels", LEVELS.values())
def test_fsq_index_to_code_to_index_is_the_identity(levels: tuple[int, ...]) -> None:
    quantizer = FiniteScalarQuantizer(levels)
    indices = torch.arange(math.prod(levels))
    codes = quantizer.codes(indices)
    assert torch.equal(quantizer.to_indices(codes), indices)
    assert len(codes.unique(dim=0)) == len(codes) == quantizer.num_codes
    assert codes.abs().max() <= 1
    theirs = oracle.FSQ(list(levels))
    torch.testing.assert_close(codes, theirs.indices_to_codes(indices))


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (8, 6, 5), (3, 4)])
def test_fsq_agrees_with_the_oracle(levels: tuple[int, ...]) -> None:
    z = 2 * torch.randn(6, 9, len(levels))
    a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
    quantized = FiniteScalarQuantizer(levels)(a)
    codes, indices = oracle.FSQ(list(levels))(b)
    assert torch.equal(quantized.indices, indices.long())
    torch.testing.assert_close(quantized.codes, codes)
    assert quantized.loss == 0
    weights = torch.randn_like(z)
    (quantized.codes * weights).sum().backward()
    (codes * weights).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)


def test_fsq_reaches_every_level_and_no_other() -> None:
    quantizer = FiniteScalarQuantizer((8, 5, 3))
    z = torch.linspace(-20, 20, 4001)[:, None].expand(-1, 3)
    rounded = quantizer.bound(z).round()
    assert [rounded[:, i].unique().tolist() for i in range(3)] == [
        [-4, -3, -2, -1, 0, 1, 2, 3],
        [-2, -1, 0, 1, 2],
        [-1, 0, 1],
    ]
    torch.testing.assert_close(quantizer.bound(torch.zeros(3)), torch.zeros(3))
    assert torch.equal(quantizer.nearest(z), quantizer(z[:, None]).indices[:, 0])


def test_fsq_rounding_twice_changes_nothing() -> None:
    """And the gradient of the bounded vector is that of the decoder's input."""
    quantizer = FiniteScalarQuantizer((8, 6, 5))
    bounded = quantizer.bound(torch.randn(10, 3)).detach().requires_grad_()
    rounded = straight_through(bounded, bounded.round())
    assert torch.equal(rounded, straight_through(rounded, rounded.round()))
    rounded.retain_grad()
    rounded.square().sum().backward()
    assert torch.equal(bounded.grad, rounded.grad)


def test_fsq_refuses_two_levels() -> None:
    with pytest.raises(ValueError, match="at least 3 levels"):
        FiniteScalarQuantizer((8, 2))


# --- Usage --------------------------------------------------------------------------------------


def test_perplexity_counts_equally_used_codes() -> None:
    frequencies = code_frequencies(torch.tensor([[0, 3], [5, 5], [0, 3]]), 8)
    assert frequencies.tolist() == pytest.approx([1 / 3, 0, 0, 1 / 3, 0, 1 / 3, 0, 0])
    assert perplexity(frequencies) == pytest.approx(3)
    assert perplexity(code_frequencies(torch.zeros(4, dtype=torch.long), 8)) == pytest.approx(1)


# --- The prior ----------------------------------------------------------------------------------


def small_prior() -> tuple[CodePrior, Tensor]:
    """A prior far from uniform over 4 indices of 3 codes, and all 81 grids."""
    prior = CodePrior(num_codes=3, length=4, num_classes=2, width=16, layers=2)
    with torch.no_grad():
        for weight in prior.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return prior.eval(), torch.tensor(list(itertools.product(range(3), repeat=4)))


@pytest.mark.parametrize("label", [0, 1])
def test_prior_sums_to_one(label: int) -> None:
    prior, grids = small_prior()
    log_prob = prior.log_prob(grids, torch.full((81,), label)).detach()
    assert log_prob.double().exp().sum() == pytest.approx(1, abs=1e-5)
    assert log_prob.max() - log_prob.min() > 2  # far from uniform, which would sum to one as well
    torch.testing.assert_close(prior.bits(grids, torch.full((81,), label)), -log_prob / math.log(2))


def test_prior_looks_at_earlier_indices_only() -> None:
    prior, grids = small_prior()
    y = torch.zeros(81, dtype=torch.long)
    logits = prior.logits(grids, y)
    for place in range(4):
        changed = grids.clone()
        changed[:, place] = (changed[:, place] + 1) % 3
        difference = (prior.logits(changed, y) - logits).abs().amax(dim=(0, 2))  # [n]
        assert difference[: place + 1].max() == 0
        assert (difference[place + 1 :] > 1e-3).all()


def test_prior_depends_on_the_label() -> None:
    prior, grids = small_prior()
    of_label = [prior.log_prob(grids, torch.full((81,), label)) for label in (0, 1)]
    assert (of_label[0] - of_label[1]).abs().max() > 0.1


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_prior_samples_with_the_exact_frequencies(temperature: float) -> None:
    """The chi-squared statistic of 20,000 samples over all 81 grids; both labels in one batch.

    With a temperature, each factor is raised to 1 / temperature and normalised.
    """
    prior, grids = small_prior()
    samples = prior.sample(torch.arange(2).repeat(20_000), temperature)
    assert samples.shape == (40_000, 4)
    index = (samples * torch.tensor([27, 9, 3, 1])).sum(dim=1)
    for label in range(2):
        logits = prior.logits(grids, torch.full((81,), label)) / temperature
        log_factors = logits.log_softmax(dim=2).gather(2, grids[..., None])[..., 0]
        expected = 20_000 * log_factors.double().sum(dim=1).exp()
        counts = torch.bincount(index[label::2], minlength=81)
        statistic = ((counts - expected).square() / expected.clamp(min=1))[expected > 1].sum().item()
        cells = int((expected > 1).sum())
        assert statistic < cells + 4 * math.sqrt(2 * cells)  # mean and deviation of chi-squared


def test_prior_samples_the_same_again_from_the_same_seed() -> None:
    prior, _ = small_prior()
    y = torch.zeros(5, dtype=torch.long)
    torch.manual_seed(3)
    first = prior.sample(y)
    torch.manual_seed(3)
    assert torch.equal(first, prior.sample(y))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_prior_refuses_a_temperature_that_is_not_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        small_prior()[0].sample(torch.zeros(1, dtype=torch.long), temperature)


# --- The model ----------------------------------------------------------------------------------


def small_model(quantizer: str, **options) -> DiscreteVAE:
    return DiscreteVAE(quantizer=quantizer, num_codes=64, channels=8, prior_width=16, **options)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize(
    ("image_shape", "latent_dim"), [((1, 28, 28), 49), ((3, 32, 32), 64), ((1, 30, 27), 56)]
)
def test_model_has_the_interface_of_the_lab(
    quantizer: str, image_shape: tuple[int, int, int], latent_dim: int
) -> None:
    model = small_model(quantizer, latent_dim=latent_dim, image_shape=image_shape, num_classes=10).eval()
    shape = image_shape[1:] if image_shape[0] == 1 else image_shape
    x, labels = torch.rand(4, *shape), torch.tensor([1, 2, 3, 9])
    with torch.no_grad():
        mu, logvar = model.encode(x, labels)
        recon, mu_again, _ = model(x, labels)
        assert mu.shape == logvar.shape == (4, latent_dim)
        assert torch.equal(mu, mu_again)
        assert torch.equal(mu + (0.5 * logvar).exp() * torch.randn_like(mu), mu)
        assert mu.dtype == recon.dtype == torch.float32
        assert torch.equal(mu, mu.round())
        assert 0 <= mu.min() <= mu.max() < 64
        torch.testing.assert_close(model.decode(mu, labels), recon)
        generated = model.generate(labels)
    assert recon.shape == generated.shape == x.shape
    assert 0 <= recon.min() <= recon.max() <= 1


def test_model_refuses_options_that_it_can_not_have() -> None:
    with pytest.raises(ValueError, match="latent_dim must be 49, .* got 20"):
        DiscreteVAE(20)
    with pytest.raises(ValueError, match="quantizer must be one of vq, fsq, got pq"):
        DiscreteVAE(quantizer="pq")
    with pytest.raises(ValueError, match="num_codes of fsq must be one of 16, 64, .* got 100"):
        DiscreteVAE(quantizer="fsq", num_codes=100)


def test_decode_takes_any_numbers_for_indices() -> None:
    """Codes come from files: what is no index is rounded and clamped."""
    model = small_model("vq")
    z = torch.full((2, 49), 5.0)
    assert torch.equal(model.decode(z), model.decode(z + 0.3))
    assert torch.equal(model.decode(torch.full((2, 49), 1e6)), model.decode(torch.full((2, 49), 63.0)))


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_each_stage_trains_its_own_part(quantizer: str) -> None:
    model, x = small_model(quantizer), torch.rand(16, 28, 28)
    buffers = [buffer.clone() for buffer in model.buffers()]
    for stage in (AUTOENCODER, PRIOR):
        model.stage = stage
        model.zero_grad()
        loss, recon_term, kl_term = model.training_loss(x, None, 0.05)
        loss.backward()
        trained = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
        assert trained == ({"prior"} if stage == PRIOR else {"encoder", "decoder"})
        assert not kl_term.isnan()
        assert loss >= recon_term + kl_term - 1e-3
        if stage == AUTOENCODER:
            assert kl_term == pytest.approx(49 * math.log(64))
            changed = [not torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True)]
            assert any(changed) == (quantizer == "vq")
            buffers = [buffer.clone() for buffer in model.buffers()]
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))


def test_kl_of_the_prior_stage_is_the_likelihood_of_the_indices() -> None:
    model, x, labels = small_model("fsq", num_classes=10), torch.rand(6, 28, 28), torch.arange(6)
    model.stage = PRIOR
    loss, recon_term, kl_term = model.training_loss(x, labels, 0.05)
    indices = model.encode(x)[0].long()
    torch.testing.assert_close(kl_term, -model.prior.log_prob(indices, labels).mean())
    torch.testing.assert_close(loss, recon_term + kl_term)
    recon = model(x)[0]
    torch.testing.assert_close(recon_term, (x - recon).square().sum() / 6 / 0.1)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_bfloat16_is_for_layers_and_not_for_quantizing(quantizer: str) -> None:
    model, z = small_model(quantizer), 3 * torch.randn(8, 7, 7, 16)
    z = z[..., : model.quantizer.code_dim]
    expected = model.quantizer.eval()(z)
    x, labels = torch.rand(8, 28, 28), torch.zeros(8, dtype=torch.long)
    with torch.autocast("cpu", torch.bfloat16):
        quantized = model.quantizer(z)
        assert torch.equal(quantized.indices, expected.indices)
        assert torch.equal(quantized.codes, expected.codes)
        for model.stage in (AUTOENCODER, PRIOR):
            assert all(term.dtype == torch.float32 for term in model.training_loss(x, labels, 0.05))
        assert model.generate(labels).dtype == torch.float32


def test_a_model_of_the_same_weights_is_the_same_model() -> None:
    """The state_dict holds all that was learned, the moving averages too."""
    model = small_model("vq", num_classes=10)
    model(torch.rand(8, 28, 28))
    other = small_model("vq", num_classes=10)
    other.load_state_dict(model.state_dict())
    x = torch.rand(8, 28, 28)
    for either in (model, other):
        torch.manual_seed(5)
        either(x)
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    )


# --- The solved blanks of part 6 ----------------------------------------------------------------


def test_the_solutions_agree_with_the_quantizers() -> None:
    codebook, z = torch.randn(30, 4), torch.randn(5, 7, 7, 4)
    quantizer = VectorQuantizer(30, 4, commitment=0.25).eval()
    quantizer.codebook.copy_(codebook)
    a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
    quantized = quantizer(a)
    indices = discrete.nearest_code(b, codebook)
    assert torch.equal(indices, quantized.indices)
    codes = discrete.straight_through(b, codebook[indices])
    torch.testing.assert_close(codes, quantized.codes)
    codebook_loss, commitment_loss = discrete.codebook_losses(b, codebook[indices])
    assert codebook_loss == commitment_loss
    torch.testing.assert_close(0.25 * commitment_loss, quantized.loss)
    (codes.sin().sum() + 0.25 * commitment_loss).backward()
    (quantized.codes.sin().sum() + quantized.loss).backward()
    torch.testing.assert_close(a.grad, b.grad)


def test_each_loss_of_the_solution_trains_one_side() -> None:
    quantizer, z = discrete.Codebook(30, 4, beta=0.0), torch.randn(5, 7, 7, 4, requires_grad=True)
    _, indices, loss = quantizer(z)
    loss.backward()
    assert z.grad.abs().max() == 0
    chosen = quantizer.vectors.grad.abs().sum(dim=1) > 0
    assert chosen.nonzero()[:, 0].tolist() == indices.unique().tolist()


def test_the_solution_rounds_like_the_quantizer_of_odd_levels() -> None:
    z = 3 * torch.randn(6, 5)
    rounded = discrete.round_to_levels(z, 5)
    ours = FiniteScalarQuantizer((5,) * 5)
    far = (2 * z.tanh() % 1 - 0.5).abs() > 0.01  # the quantizer's interval is a thousandth wider
    expected = 2 * ours.codes(ours.nearest(z))
    assert torch.equal(rounded[far], expected[far])
    assert rounded.abs().max() == 2

from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from codec_models.training import losses
from codec_models.training.corpus import Corpus
from codec_models.training.data import WindowSampler
from codec_models.training.discriminator import (
    PatchDiscriminator,
    adversarial_loss,
    critic_loss,
    feature_matching_loss,
)
from codec_models.training.face_points import AT
from codec_models.training.windows import Made, Windows

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def windows(corpus: Corpus) -> Windows:
    return WindowSampler(corpus, seed=4).batch(3, 128)


def made_of(w: Windows) -> Made:
    coarse = torch.nn.functional.adaptive_avg_pool2d(w.picture, 32)
    flow = torch.zeros(*w.still_points.shape[:2], 2, 64, 64)
    return Made(w.picture, w.picture, w.points, coarse, w.still_points, flow)


def test_zero_at_the_truth(windows: Windows) -> None:
    terms = losses.plain_losses(made_of(windows), windows, losses.LossWeights())
    assert all(0 <= float(t) < 1e-5 for t in terms.values()), {k: float(t) for k, t in terms.items()}


def test_every_term_grows_and_has_a_gradient(windows: Windows) -> None:
    leaves = [t.detach().clone().requires_grad_() for t in made_of(windows)]
    with torch.no_grad():
        for leaf in leaves:
            leaf.add_(0.05 * torch.randn(leaf.shape, generator=torch.Generator().manual_seed(0)))
    terms = losses.plain_losses(Made(*leaves), windows, losses.LossWeights())
    assert all(float(t.detach()) > 1e-4 for t in terms.values()), terms
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    for name, leaf in zip(Made._fields, leaves, strict=True):
        if name in ("points", "flow"):  # the landmark head has a training of its own, and no clip tells the motion
            assert leaf.grad is None
        else:
            assert leaf.grad is not None and torch.isfinite(leaf.grad).all() and (leaf.grad != 0).any(), name


def test_what_a_teacher_made_is_an_aim(windows: Windows) -> None:
    generator = torch.Generator().manual_seed(0)
    taught = Made(*(t + 0.05 * torch.randn(t.shape, generator=generator) for t in made_of(windows)))
    weights = losses.LossWeights()
    terms = losses.distillation_losses(taught, taught, windows, weights)
    assert set(terms) == {"distil", "distil flow"} and all(float(t) == 0 for t in terms.values())
    leaves, aims = ([t.detach().clone().requires_grad_() for t in m] for m in (made_of(windows), taught))
    terms = losses.distillation_losses(Made(*leaves), Made(*aims), windows, weights)
    assert all(float(t.detach()) > 1e-3 for t in terms.values()), terms
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    assert all(aim.grad is None for aim in aims)
    reached = {n for n, leaf in zip(Made._fields, leaves, strict=True) if leaf.grad is not None}
    assert reached == {"picture", "flow"}
    # as much weight on every pixel as the truth's own losses give it
    against = dataclasses.replace(windows, picture=taught.picture)
    truth = losses.plain_losses(Made(*leaves), against, weights)
    expected = weights.distil * (truth["l1"] + truth["region"] + truth["pyramid"])
    assert float(terms["distil"].detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    # motion counts where there is a face
    flow = torch.zeros_like(taught.flow)
    inside, corner = flow.clone(), flow.clone()
    x, y = ((windows.points[0].mean(0) + 1) * 32).clamp(0, 63).long().tolist()
    inside[0, 0, :, y, x] = corner[0, 0, :, 0, 0] = 0.1
    cost = [
        losses.distillation_losses(taught._replace(flow=f), taught._replace(flow=flow), windows, weights)
        for f in (inside, corner)
    ]
    assert float(cost[0]["distil flow"]) > 5 * float(cost[1]["distil flow"]) > 0


def test_losses_of_landmarks_grow_and_have_a_gradient(windows: Windows) -> None:
    for loss in (losses.point_loss, losses.opening_loss):
        assert float(loss(windows.points, windows.points)) == 0
        apart = torch.randn(windows.points.shape, generator=torch.Generator().manual_seed(1))
        made = (windows.points + 0.02 * apart).requires_grad_()
        near, far = loss(made, windows.points), loss(windows.points + 0.04 * apart, windows.points)
        assert 1e-3 < float(near.detach()) < float(far)
        torch.autograd.backward(near)
        assert made.grad is not None and torch.isfinite(made.grad).all() and (made.grad != 0).any()
        # exactly at the truth, where a square root has no slope
        at = windows.points.clone().requires_grad_()
        torch.autograd.backward(loss(at, windows.points))
        assert at.grad is not None and torch.isfinite(at.grad).all()


def test_lips_and_lids_weigh_more_than_the_outline(windows: Windows) -> None:
    def cost(mesh: int) -> float:
        made = windows.points.clone()
        made[:, AT[mesh]] += 0.05
        return float(losses.point_loss(made, windows.points))

    assert cost(13) > 2 * cost(10) and cost(160) > 2 * cost(10)


def test_gradients_are_finite_at_the_truth_itself(windows: Windows) -> None:
    leaves = [t.detach().clone().requires_grad_() for t in made_of(windows)]
    terms = losses.plain_losses(Made(*leaves), windows, losses.LossWeights())
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    taught = [leaf.grad for name, leaf in zip(Made._fields, leaves, strict=True) if name not in ("points", "flow")]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in taught)


def test_lips_weigh_far_more_than_the_wall(windows: Windows) -> None:
    weight = losses.pixel_weights(windows.points, 128, losses.LossWeights())
    mouth = (windows.points[0, [AT[13], AT[14]]].mean(0) + 1) * 64
    x, y = mouth.clamp(0, 127).long().tolist()
    assert 20 < float(weight[0, 0, y, x]) < 200
    assert float(weight[0, 0].min()) < 1


def test_a_shut_mouth_costs_more_than_a_shift(windows: Windows) -> None:
    shut = windows.points.clone()
    shut[:, AT[14]] = shut[:, AT[13]]
    assert losses.opening_loss(shut, windows.points) > 0.01
    assert losses.opening_loss(windows.points + 0.1, windows.points) < 1e-5, "the pose has no part in it"


def test_ssim_is_that_of_the_literature() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    a = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    b = (a + 0.3 * torch.randn(a.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)
    _, full = metrics.structural_similarity(
        a[0, 0].numpy(),
        b[0, 0].numpy(),
        data_range=2.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert float(losses.ssim(a, b)) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-4)
    assert float(losses.ssim(a, a)) == pytest.approx(1)


def test_the_critic_can_learn_and_teach(windows: Windows) -> None:
    torch.manual_seed(0)
    critic = PatchDiscriminator(8)
    optimiser = torch.optim.Adam(critic.parameters(), 2e-3)
    picture, still = windows.picture, windows.stills[:, 0]
    blurry = torch.nn.functional.interpolate(torch.nn.functional.avg_pool2d(picture, 16), scale_factor=16)
    first = None
    for _ in range(12):
        loss = critic_loss(critic(picture, still), critic(blurry, still))
        first = loss.item() if first is None else first
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    assert loss.item() < 0.8 * first
    made = blurry.clone().requires_grad_()
    real, fake = critic(picture, still), critic(made, still)
    torch.autograd.backward(adversarial_loss(fake) + feature_matching_loss(real, fake))
    assert made.grad is not None and (made.grad != 0).any()
    assert feature_matching_loss(real, critic(picture, still)).item() == 0


def test_weights_of_regions_are_named() -> None:
    weights = losses.LossWeights()
    assert weights.region("left eye") == weights.eyes and weights.region("right brow") == weights.brows
    assert {f.name for f in dataclasses.fields(weights)} >= {"lips", "nose"}

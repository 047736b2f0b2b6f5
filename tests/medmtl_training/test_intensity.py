import numpy as np
import torch

from medmtl_training.intensity import vary_intensity


def picture() -> torch.Tensor:
    return torch.randn((2, 12, 10, 4), generator=torch.Generator().manual_seed(0))


def test_never_means_unchanged() -> None:
    image = picture()
    assert torch.equal(vary_intensity(image, 0.0, np.random.default_rng(0)), image)


def test_always_means_changed_finite_and_of_one_shape() -> None:
    for seed in range(20):
        out = vary_intensity(picture(), 1.0, np.random.default_rng(seed))
        assert out.shape == picture().shape
        assert out.dtype == torch.float32
        assert torch.isfinite(out).all()
        assert not torch.allclose(out, picture(), atol=0.01)
        # still the same picture: light stays light
        assert float(torch.corrcoef(torch.stack([out.flatten(), picture().flatten()]))[0, 1]) > 0.3


def test_a_flat_image_stays_finite() -> None:
    out = vary_intensity(torch.zeros((1, 6, 6, 2)), 1.0, np.random.default_rng(1))
    assert torch.isfinite(out).all()


def test_the_image_that_was_given_is_not_changed() -> None:
    image = picture()
    vary_intensity(image, 1.0, np.random.default_rng(2))
    assert torch.equal(image, picture())


def test_one_seed_one_change() -> None:
    one, two = (vary_intensity(picture(), 0.5, np.random.default_rng(9)) for _ in range(2))
    assert torch.equal(one, two)


def test_hounsfield_units_keep_their_scale() -> None:
    still = [vary_intensity(picture(), 1.0, np.random.default_rng(seed), contrast=0.05) for seed in range(10)]
    free = [vary_intensity(picture(), 1.0, np.random.default_rng(seed)) for seed in range(10)]
    spread = [np.std([float(image.mean()) for image in images]) for images in (still, free)]
    assert spread[0] < 0.2 * spread[1]

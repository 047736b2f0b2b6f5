import torch

from medmtl.network.encoder import Encoder, initialise
from tests.tiny import CUBE, STACK


def test_levels_follow_the_strides() -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 1, 16, 16, 4)
    shapes = [tuple(f.shape[1:]) for f in Encoder(1, STACK)(image)]
    assert shapes == [(4, 16, 16, 4), (8, 8, 8, 4), (8, 4, 4, 2)]
    assert [tuple(f.shape[2:]) for f in Encoder(2, CUBE)(torch.randn(1, 2, 8, 8, 8))] == [(8,) * 3, (4,) * 3, (2,) * 3]


def test_a_flat_kernel_keeps_slices_apart() -> None:
    """The first level's kernel is 3 x 3 x 1: a change in one slice reaches the others by normalisation alone."""
    torch.manual_seed(0)
    encoder = Encoder(1, STACK).eval()
    convolution = encoder.stages[0].conv1
    image = torch.randn(1, 1, 16, 16, 4)
    other = image.clone()
    other[..., 3] += 1.0
    with torch.inference_mode():
        changed = (convolution(image) - convolution(other)).abs().amax(dim=(0, 1, 2, 3))
    assert changed[:3].max() == 0.0
    assert changed[3] > 0.0


def test_initial_biases_are_zero() -> None:
    encoder = Encoder(1, CUBE)
    layer = torch.nn.Conv3d(2, 2, 1)
    torch.nn.init.ones_(layer.bias)
    initialise(torch.nn.Sequential(encoder, layer))
    assert layer.bias.detach().abs().max() == 0.0

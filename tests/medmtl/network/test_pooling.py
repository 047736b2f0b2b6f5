import torch

from medmtl.network.pooling import Standardise


def test_columns_come_to_one_scale_and_stay_there() -> None:
    torch.manual_seed(0)
    centre, spread = torch.tensor([5.0, -3.0, 0.0]), torch.tensor([0.2, 10.0, 1.0])
    module = Standardise(3)
    for _ in range(600):
        module(centre + spread * torch.randn(4, 3))
    module.eval()
    kept = {name: value.clone() for name, value in module.state_dict().items()}
    out = module(centre + spread * torch.randn(20_000, 3))
    assert out.mean(dim=0).abs().max() < 0.2
    assert (out.std(dim=0) - 1.0).abs().max() < 0.2
    assert all(torch.equal(kept[name], value) for name, value in module.state_dict().items())


def test_a_case_alone_and_among_others_is_answered_alike() -> None:
    module = Standardise(2)
    module(torch.randn(1, 2))
    module.eval()
    batch = torch.randn(5, 2)
    assert torch.equal(module(batch)[2:3], module(batch[2:3]))


def test_no_gradient_reaches_what_was_seen() -> None:
    module = Standardise(2)
    given = torch.randn(1, 2, requires_grad=True)
    module(given).sum().backward()
    assert not module.mean.requires_grad
    assert torch.allclose(given.grad, (1.0 / (module.square + 1e-4).sqrt())[None])

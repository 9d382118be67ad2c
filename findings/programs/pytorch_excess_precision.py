import torch


def steps(a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    y = torch.sigmoid(a)
    return y, y * (1 - y)


a = torch.tensor([7.0], dtype=torch.bfloat16)
for name, function in (("eager", steps), ("compiled", torch.compile(steps))):
    y, derivative = function(a)
    print(f"{name}_y =", y.item())
    print(f"{name} =", derivative.item())

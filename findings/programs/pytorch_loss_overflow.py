import torch

y = torch.zeros(1, requires_grad=True)
t = torch.tensor([3e38])
(((y - t) ** 2).sum() / 2).backward()
print("gradient =", y.grad.item())
print("difference =", (y - t).item())

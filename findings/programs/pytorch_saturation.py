import numpy as np
import torch

for name, at in (("float64", 40.0), ("float32", 20.0), ("float16", 10.0), ("bfloat16", 7.0)):
    a = torch.tensor(at, dtype=getattr(torch, name), requires_grad=True)
    torch.sigmoid(a).backward()
    print(f"{name} =", a.grad.item())
    print(f"{name}_exact =", 1 / (2 + np.exp(at) + np.exp(-at)))

import numpy as np
import torch

print("sigmoid =", torch.sigmoid(torch.tensor(-89.0)).item())
print("exact =", 1 / (1 + np.exp(89.0)))
print("least =", torch.finfo(torch.float32).smallest_normal * 2.0**-23)

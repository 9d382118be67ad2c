import numpy as np

at = float.fromhex("-0x1.ba7fecp+1")
exact = 1 / (1 + np.exp(-at))
e = np.exp(np.full(64, at, np.float32))
h = e / (1 + e)
print("ulp =", abs(float(h[0]) - exact) / float(np.spacing(h[0])))

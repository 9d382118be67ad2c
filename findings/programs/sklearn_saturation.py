import numpy as np
from scipy.special import expit
from sklearn.neural_network._base import DERIVATIVES

for name, at in (("float64", 40.0), ("float32", 20.0)):
    h, derivative = expit(np.array([at], name)), np.ones(1, name)
    DERIVATIVES["logistic"](h, derivative)
    print(f"{name} =", float(derivative[0]))
    print(f"{name}_exact =", 1 / (2 + np.exp(at) + np.exp(-at)))

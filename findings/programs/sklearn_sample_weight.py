import numpy as np
from sklearn.neural_network import MLPRegressor

x, t = np.ones((2, 1), np.float32), np.zeros(2, np.float32)
for name, weight in (("none", None), ("float32", np.ones(2, np.float32)), ("float64", np.ones(2))):
    network = MLPRegressor(hidden_layer_sizes=1, activation="logistic", solver="sgd")
    network.partial_fit(x, t, sample_weight=weight)
    print(f"{name} =", 8 * network._optimizer.velocities[-1].dtype.itemsize)

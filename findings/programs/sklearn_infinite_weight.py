import numpy as np
from sklearn.neural_network import MLPRegressor

x, t = np.ones((1, 1)), np.ones(1)
network = MLPRegressor(hidden_layer_sizes=1, activation="logistic", alpha=0, max_iter=1).partial_fit(x, t)
network.coefs_[0][:] = np.inf
hidden, output = [x, None, None], [None, None]
_, by_w, by_b = network._backprop(x, t[:, None], None, hidden, output, [None, None], [None, None])
print("gradient =", by_w[0][0, 0])
print("delta =", by_b[0][0])

import ml_dtypes
import numpy as np

x = np.array([[1.0703125]], ml_dtypes.bfloat16)
print("bits =", 8 * (x @ x).dtype.itemsize)
print("product =", float((x @ x)[0, 0]))
print("rounded =", float((x * x)[0, 0]))

import keras
import tensorflow as tf

w = tf.Variable([0.0], dtype="float64")
keras.optimizers.SGD(0.1).apply([tf.constant([-1.0], "float64")], [w])
print("step =", float(w[0]))
print("error =", abs(float(w[0]) - 0.1) / 0.1)

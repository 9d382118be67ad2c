import tensorflow as tf

y, t = tf.zeros(1), tf.constant([3e38])
losses = {"square": lambda e: tf.reduce_sum(tf.square(e)) / 2, "l2_loss": tf.nn.l2_loss}
for name, loss in losses.items():
    with tf.GradientTape() as tape:
        tape.watch(y)
        L = loss(y - t)
    print(f"{name} =", float(tape.gradient(L, y)[0]))
print("difference =", float((y - t)[0]))

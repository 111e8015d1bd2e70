"""The same model in JAX: data on the device, `lax.scan` over a block of steps, all of it compiled. CPU only here."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class JaxLoop:
    """`block()` takes `block_size` steps in one call."""

    def __init__(
        self,
        rows: np.ndarray,
        mean: np.ndarray,
        *,
        hidden: tuple[int, ...],
        num_latents: int,
        num_categories: int,
        batch_size: int,
        learning_rate: float,
        block_size: int,
        seed: int,
    ) -> None:
        num_code = num_latents if num_categories == 2 else num_latents * num_categories
        key = jax.random.key(seed)
        widths = (len(mean), *hidden, num_code)
        key, encoder = _layers(key, widths)
        key, decoder = _layers(key, widths[::-1])
        decoder[-1]["b"] = jnp.asarray(np.log(np.clip(mean, 1e-3, 1 - 1e-3) / (1 - np.clip(mean, 1e-3, 1 - 1e-3))))
        weights = {"encoder": encoder, "decoder": decoder}
        first, second = (jax.tree.map(jnp.zeros_like, weights) for _ in range(2))
        self._state = (weights, first, second, jnp.zeros((), jnp.int32), key)
        self._rows, mean = jnp.asarray(rows), jnp.asarray(mean)

        def loss(weights, x, key, tau):
            logits = _apply(weights["encoder"], x - mean)
            if num_categories == 2:
                soft = jax.nn.sigmoid((logits + jax.random.logistic(key, logits.shape)) / tau)
                code = (soft > 0.5).astype(soft.dtype)
                code = 2 * (code + soft - jax.lax.stop_gradient(soft)) - 1
                kl = jax.nn.sigmoid(logits) * logits - jax.nn.softplus(logits) + math.log(2)
            else:
                logits = logits.reshape(-1, num_latents, num_categories)
                soft = jax.nn.softmax((logits + jax.random.gumbel(key, logits.shape)) / tau)
                code = jax.nn.one_hot(soft.argmax(-1), num_categories)
                code = (code + soft - jax.lax.stop_gradient(soft)).reshape(len(x), -1)
                log_q = jax.nn.log_softmax(logits)
                kl = (jnp.exp(log_q) * (log_q + math.log(num_categories))).sum(-1)
            outputs = _apply(weights["decoder"], code)
            return ((jax.nn.softplus(outputs) - x * outputs).sum(-1) + kl.sum(-1)).mean()

        def step(state, _):
            weights, first, second, count, key = state
            key, rows_key, noise_key = jax.random.split(key, 3)
            chosen = jax.random.randint(rows_key, (batch_size,), 0, len(rows))
            x = self._rows[chosen].astype(jnp.float32)
            tau = jnp.maximum(0.5, jnp.exp(-1e-4 * count))
            value, gradients = jax.value_and_grad(loss)(weights, x, noise_key, tau)
            count = count + 1
            first = jax.tree.map(lambda m, g: _BETA1 * m + (1 - _BETA1) * g, first, gradients)
            second = jax.tree.map(lambda v, g: _BETA2 * v + (1 - _BETA2) * g * g, second, gradients)
            rate = learning_rate / (1 - _BETA1**count)
            correction = 1 - _BETA2**count
            weights = jax.tree.map(
                lambda w, m, v: w - rate * m / (jnp.sqrt(v / correction) + _EPSILON), weights, first, second
            )
            return (weights, first, second, count, key), value

        self._block = jax.jit(lambda state: jax.lax.scan(step, state, None, length=block_size), donate_argnums=0)

    def block(self) -> float:
        """The mean loss of the block, in nats a row; waited for."""
        self._state, values = self._block(self._state)
        return float(values.mean())


def _layers(key, widths):
    layers = []
    for fan_in, fan_out in itertools.pairwise(widths):
        key, weight_key, bias_key = jax.random.split(key, 3)
        bound = 1 / math.sqrt(fan_in)
        layers.append(
            {
                "w": jax.random.uniform(weight_key, (fan_in, fan_out), minval=-bound, maxval=bound),
                "b": jax.random.uniform(bias_key, (fan_out,), minval=-bound, maxval=bound),
            }
        )
    return key, layers


def _apply(layers, x):
    for number, layer in enumerate(layers):
        x = x @ layer["w"] + layer["b"]
        if number < len(layers) - 1:
            x = jax.nn.relu(x)
    return x

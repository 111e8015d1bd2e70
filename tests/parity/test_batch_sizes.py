"""On the CPU, with one thread, codes do not depend on what a row was batched with: not by one bit."""

import numpy as np
import pytest

from models import noise

SIZES = [*range(1, 34), 47, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257]


def in_batches(run, size, *arrays):
    """`run` on batches of `size` rows, put together."""
    starts = range(0, len(arrays[0]), size)
    parts = [run(*(array[start : start + size] for array in arrays)) for start in starts]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


@pytest.fixture(scope="module")
def temperatures():
    rng = np.random.default_rng(2)
    return rng.choice(np.float32([0, 0.5, 1, 2]), 257), rng.choice(np.float32([0.1, 0.5, 1]), 257)


def test_logits_and_codes_are_bit_identical_in_batches_of_any_size(exported, inputs):
    logits, codes, _ = exported.runtime.encode(inputs)
    for size in SIZES:
        batched_logits, batched_codes, _ = in_batches(exported.runtime.encode, size, inputs)
        np.testing.assert_array_equal(batched_logits, logits, err_msg=f"batches of {size}")
        np.testing.assert_array_equal(batched_codes, codes, err_msg=f"batches of {size}")


def test_sampled_codes_are_bit_identical_in_batches_of_any_size(exported, inputs, temperatures):
    latent = exported.model.latent
    standard = noise.draw(latent.noise, 9, len(inputs), latent.shape)
    whole = exported.runtime.sample(exported.runtime.encode(inputs).logits, standard, *temperatures)

    def encode_then_sample(rows, *others):
        return exported.runtime.sample(exported.runtime.encode(rows).logits, *others)

    for size in SIZES:
        batched = in_batches(encode_then_sample, size, inputs, standard, *temperatures)
        for name, got, expected in zip(whole._fields, batched, whole, strict=True):
            np.testing.assert_array_equal(got, expected, err_msg=f"{name} in batches of {size}")


def test_outputs_are_bit_identical_in_batches_of_any_size(exported, inputs):
    latent = exported.model.latent
    standard = noise.draw(latent.noise, 4, len(inputs), latent.shape)
    relaxed = (standard > 0).astype(np.float32)
    whole = exported.runtime.decode(relaxed)
    for size in SIZES:
        (batched,) = in_batches(lambda rows: [exported.runtime.decode(rows)], size, relaxed)
        np.testing.assert_array_equal(batched, whole, err_msg=f"batches of {size}")


def test_a_row_does_not_depend_on_its_place_in_the_batch(exported, inputs):
    order = np.random.default_rng(3).permutation(len(inputs))
    logits, codes, _ = exported.runtime.encode(inputs)
    moved_logits, moved_codes, _ = exported.runtime.encode(inputs[order])
    np.testing.assert_array_equal(moved_logits, logits[order])
    np.testing.assert_array_equal(moved_codes, codes[order])

"""Golden vectors: a few inputs with what the exported model makes of them, for a host to reproduce before it serves."""

import numpy as np
from jaxtyping import Float32

from models import noise
from models.manifest import Golden
from models.manifest import Tensor as StoredTensor
from training.exported import ExportedModel
from training.latents import LatentConfig
from training.model import DiscreteVAE

MAX_ROWS = 4
_MAX_BYTES = 4 << 20
_TEMPERATURE = 1.0
_NUM_SEEDS = 64


def golden_vectors(model: DiscreteVAE, exported: ExportedModel, inputs: Float32[np.ndarray, "G D"]) -> Golden:
    """Computed by ONNX Runtime on this machine's CPU from the graphs exported of `model`, noise by `models.noise`.

    Another processor may round differently, and must not be turned away because two scores nearly tied. So of the
    inputs those are kept, `MAX_ROWS` at most and in their order, whose least firm symbol is firmest (fewer when large
    inputs would fill the manifest), and of the first 64 seeds the one whose least firm sampled symbol is firmest.
    """
    latent = model.latent
    noise_name = model.relaxation.noise_name(latent.kind)
    num_rows = max(1, min(MAX_ROWS, len(inputs), _MAX_BYTES // inputs[0].nbytes))
    everywhere = np.ones(len(inputs), dtype=np.float32)
    candidates = exported.encode(inputs)
    margins = exported.sample(
        candidates.parameters, np.zeros_like(candidates.logits), 0 * everywhere, everywhere
    ).margins.min(axis=1)
    inputs = inputs[np.sort(np.argsort(-margins, kind="stable")[:num_rows])]

    encoded = exported.encode(inputs)
    samples = [
        exported.sample(
            encoded.parameters,
            noise.draw(noise_name, seed, num_rows, latent.shape),
            np.full(num_rows, _TEMPERATURE, dtype=np.float32),
            everywhere[:num_rows],
        )
        for seed in range(_NUM_SEEDS)
    ]
    seed = int(np.argmax([sampled.margins.min() for sampled in samples]))
    codes = codes_as_tensors(encoded.codes, latent)
    return Golden(
        inputs=StoredTensor.of(inputs),
        logits=StoredTensor.of(encoded.logits),
        codes=StoredTensor.of(encoded.codes),
        seed=seed,
        temperature=_TEMPERATURE,
        sampled_codes=StoredTensor.of(samples[seed].codes),
        outputs=StoredTensor.of(exported.decode(codes)),
        prior_logits=StoredTensor.of(exported.prior_logits(codes)) if exported.has_prior else None,
    )


def codes_as_tensors(codes: np.ndarray, latent: LatentConfig) -> Float32[np.ndarray, "B *latent"]:
    """Integer codes [B, N] as what the decoder graph takes: 0 or 1 a bit, or one-hot."""
    if latent.kind == "binary":
        return codes.astype(np.float32)
    return np.eye(latent.num_categories, dtype=np.float32)[codes]

import logging
import math
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import onnxruntime
import pytest
import torch
from tiny_export import METRIC, RECORD, export_tiny, real_inputs
from tiny_vae import BITS, CATEGORIES, vae

from models import noise
from models.errors import PublishRefused
from models.manifest import InputSpec
from training.errors import ExportRefused
from training.exported import ExportedModel
from training.golden import MAX_ROWS, codes_as_tensors, golden_vectors


def test_an_exported_model_is_read_back_as_it_was_written(published):
    _, repository, stored = published
    assert repository.names() == ["tiny"]
    read = repository.read("tiny")
    assert read.manifest == stored.manifest
    assert dict(read.graphs) == dict(stored.graphs)
    assert read.folder == stored.folder


def test_the_manifest_says_what_the_model_is(published):
    model, repository, _ = published
    manifest = repository.read("tiny").manifest
    assert (manifest.kind, manifest.num_latents, manifest.num_categories) == (
        model.latent.kind,
        model.latent.num_latents,
        model.latent.num_categories,
    )
    assert manifest.relaxation.noise == model.latent.noise
    assert manifest.relaxation_temperature == 0.6
    assert manifest.input.shape == (2, 3)
    assert (manifest.metrics, manifest.training) == ((METRIC,), RECORD)
    assert manifest.libraries["onnxruntime"] == onnxruntime.__version__
    assert set(manifest.libraries) == {"python", "torch", "onnx", "onnxruntime", "numpy"}
    assert timedelta(0) <= datetime.now(UTC) - manifest.created < timedelta(hours=1)


def test_exporting_again_makes_the_next_version_with_the_same_graphs_and_says_how_closely_they_agree(
    published, tmp_path, caplog
):
    model, repository, stored = published
    copied = shutil.copytree(repository.root, tmp_path / "repository")
    with caplog.at_level(logging.INFO, logger="training.export"):
        again = export_tiny(copied, model, parity_inputs=real_inputs(300))
    assert (stored.manifest.version, again.manifest.version) == (1, 2)
    assert again.manifest.graphs == stored.manifest.graphs
    assert again.manifest.golden == stored.manifest.golden
    (message,) = [record.getMessage() for record in caplog.records if record.name == "training.export"]
    assert message.startswith("tiny: PyTorch and ONNX Runtime agree on 320 inputs; greatest differences: logits ")


def test_the_manifest_says_how_codes_of_a_split_are_used(published, tmp_path):
    model = published[0]
    inputs = real_inputs(64)
    usage = export_tiny(tmp_path, model, usage_inputs=inputs, usage_split="valid").manifest.usage
    with torch.no_grad():
        codes = model.latent.indices(model.latent.most_probable(model.encoder(torch.from_numpy(inputs)))).numpy()
    counts = [np.bincount(column, minlength=model.latent.num_categories) for column in codes.T]
    np.testing.assert_allclose(usage.by_symbol(model.latent.kind), np.array(counts) / 64, atol=1e-6)
    assert (usage.split, usage.num_examples) == ("valid", 64)


def test_without_inputs_of_a_split_the_manifest_says_nothing_of_usage(published):
    assert published[2].manifest.usage is None


def test_golden_vectors_are_what_pytorch_makes_of_their_inputs(published):
    model, repository, _ = published
    golden = repository.read("tiny").manifest.golden
    inputs = golden.inputs.array()
    assert len(inputs) == MAX_ROWS
    assert all((row == real_inputs(20)).all(axis=1).any() for row in inputs)
    with torch.no_grad():
        logits = model.encoder(torch.from_numpy(inputs))
        codes = model.latent.most_probable(logits)
        np.testing.assert_allclose(golden.logits.array(), logits, atol=1e-4)
        np.testing.assert_array_equal(golden.codes.array(), model.latent.indices(codes))
        np.testing.assert_allclose(golden.outputs.array(), model.reconstruction(codes), atol=1e-4)
        standard = noise.draw(model.latent.noise, golden.seed, len(inputs), model.latent.shape)
        sampled = model.latent.most_probable(logits + golden.temperature * torch.from_numpy(standard))
        np.testing.assert_array_equal(golden.sampled_codes.array(), model.latent.indices(sampled))


def test_golden_symbols_are_the_firmest_that_could_be_chosen(published):
    model, _, stored = published
    runtime = ExportedModel(stored.graphs)
    golden = golden_vectors(model, runtime, real_inputs(20))
    everywhere = np.ones(20, dtype=np.float32)
    logits = runtime.encode(real_inputs(20)).logits
    margins = runtime.sample(logits, 0 * logits, 0 * everywhere, everywhere).margins.min(axis=1)
    chosen = runtime.encode(golden.inputs.array()).logits
    few = everywhere[:MAX_ROWS]
    of_chosen = runtime.sample(chosen, 0 * chosen, 0 * few, few).margins.min(axis=1)
    np.testing.assert_array_equal(np.sort(of_chosen), np.sort(margins)[-MAX_ROWS:])

    def firmness(seed):
        standard = noise.draw(model.latent.noise, seed, MAX_ROWS, model.latent.shape)
        return runtime.sample(chosen, standard, few, few).margins.min()

    assert firmness(golden.seed) == max(firmness(seed) for seed in range(64))
    assert firmness(golden.seed) > 1e-3


def test_fewer_inputs_than_golden_rows_are_all_kept(published):
    model, _, stored = published
    golden = golden_vectors(model, ExportedModel(stored.graphs), real_inputs(2))
    np.testing.assert_array_equal(golden.inputs.array(), real_inputs(2))


def test_integer_codes_become_the_tensors_that_the_decoder_takes():
    for latent in (BITS, CATEGORIES):
        indices = np.random.default_rng(0).integers(0, latent.num_categories, (9, latent.num_latents), dtype=np.uint8)
        expected = latent.from_indices(torch.from_numpy(indices.astype(np.int64)))
        np.testing.assert_array_equal(codes_as_tensors(indices, latent), expected)


def test_a_weight_that_is_not_finite_is_named(tmp_path):
    model = vae(BITS)
    with torch.no_grad():
        model.decoder.bias[1] = math.inf
        model.decoder.bias[4] = math.nan
    with pytest.raises(ExportRefused, match=r"decoder\.bias: expected finite numbers, got NaN or infinity in 2 of 6"):
        export_tiny(tmp_path, model)
    assert not list(tmp_path.iterdir())


def test_finite_weights_whose_outputs_are_not_are_refused(tmp_path):
    model = vae(BITS, dtype=torch.float32)
    with torch.no_grad():
        for weight in model.encoder.parameters():
            weight.fill_(3e38)
    with pytest.raises(ExportRefused, match="logits: expected finite numbers from ONNX Runtime"):
        export_tiny(tmp_path, model)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": InputSpec(shape=(7,), minimum=0, maximum=1)}, r"input\.shape: expected 6 values.*got 7 in \[7\]"),
        ({"golden_inputs": real_inputs(0)}, r"golden_inputs: expected one or more .* of shape \[0, 6\]"),
        ({"golden_inputs": np.zeros((2, 5), np.float32)}, r"golden_inputs: expected .* rows of 6 values.*\[2, 5\]"),
        ({"parity_inputs": 2 * np.ones((3, 6), np.float32)}, r"parity_inputs: expected values within \[0, 1\].*2 to 2"),
        ({"golden_inputs": np.full((1, 6), np.nan, np.float32)}, r"golden_inputs: expected values within \[0, 1\]"),
        ({"relaxation_temperature": 0.0}, r"relaxation_temperature: expected a number above 0, got 0\.0"),
        ({"relaxation_temperature": math.nan}, "relaxation_temperature: expected a number above 0, got nan"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_by_name(tmp_path, changes, message):
    with pytest.raises(ExportRefused, match=message):
        export_tiny(tmp_path, vae(BITS, dtype=torch.float32), **changes)
    assert not list(tmp_path.iterdir())


def test_a_name_that_no_folder_can_have_is_refused(tmp_path):
    with pytest.raises(ExportRefused, match=r"name: expected at most 64 of a-z.* got '\.\./elsewhere'"):
        export_tiny(tmp_path, vae(BITS, dtype=torch.float32), name="../elsewhere")
    assert not list(tmp_path.iterdir())


def test_a_repository_that_cannot_be_written_is_refused(tmp_path):
    in_the_way = tmp_path / "repository"
    in_the_way.write_text("a file")
    with pytest.raises(PublishRefused, match=f"cannot write to {in_the_way}"):
        export_tiny(in_the_way, vae(BITS, dtype=torch.float32))
    assert in_the_way.read_text() == "a file"

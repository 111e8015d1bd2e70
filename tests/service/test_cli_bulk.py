"""`latent-codes bulk`: the command around bulk jobs."""

import json
from pathlib import Path

import numpy as np
from bulk_datasets import codes_in
from command_line import latent_codes
from tiny_models import TINY_CATEGORICAL


def test_a_dataset_is_encoded_and_decoded_again(tmp_path: Path, tiny_repository: Path) -> None:
    np.save(tmp_path / "rows.npy", TINY_CATEGORICAL.inputs(50))
    options = ("-m", TINY_CATEGORICAL.name, "--repository", tiny_repository, "--rows-per-part", 20)
    encoded = latent_codes("bulk", "encode", tmp_path / "rows.npy", tmp_path / "codes", *options)
    assert (encoded.status, encoded.told) == (0, f"latent-codes: encoded 50 rows in 3 parts to {tmp_path / 'codes'}\n")
    assert codes_in(tmp_path / "codes").shape == (50, TINY_CATEGORICAL.num_latents)
    decoded = latent_codes("bulk", "decode", tmp_path / "codes", tmp_path / "outputs", *options)
    assert decoded.status == 0
    again = latent_codes("bulk", "decode", tmp_path / "codes", tmp_path / "outputs", *options)
    assert "3 of them done before" in again.told


def test_rows_that_cannot_be_encoded_are_counted_and_the_status_says_so(tmp_path: Path, tiny_repository: Path) -> None:
    rows = TINY_CATEGORICAL.inputs(5)
    rows[2, 3] = np.nan
    np.save(tmp_path / "rows.npy", rows)
    options = ("-m", TINY_CATEGORICAL.name, "--repository", tiny_repository, "--quiet")
    finished = latent_codes("bulk", "encode", tmp_path / "rows.npy", tmp_path / "codes", *options)
    assert finished.status == 3
    assert "1 rows or files could not be: see _errors.jsonl there" in finished.told
    assert json.loads((tmp_path / "codes" / "_errors.jsonl").read_text())["start"] == 2


def test_what_cannot_begin_is_one_sentence(tmp_path: Path, tiny_repository: Path) -> None:
    options = ("-m", TINY_CATEGORICAL.name, "--repository", tiny_repository)
    finished = latent_codes("bulk", "encode", tmp_path / "nothing", tmp_path / "codes", *options)
    assert finished.status == 4
    assert finished.told == (
        f"latent-codes: {tmp_path / 'nothing'}: there is nothing; expected a file, or a folder of files\n"
    )
    assert latent_codes("bulk", "encode", "a", "b", "--address", "auto", *options).status == 2

"""`latent-codes encode`, `decode`, `generate`, `models`: the same codes with and without a service, from and to every
kind of file; what is refused, what is skipped, and with which exit status.
"""

import io
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import ROOT, Finished, command, environment, latent_codes, latent_codes_process
from PIL import Image
from ports import ReservedPort
from service_process import ServiceProcess
from tiny_models import TINY_BINARY, TINY_CATEGORICAL, TINY_MODELS, TinyModel

from models import codes as code_layouts
from models.codefile import CodeFile, CodeFileWriter, Provenance
from models.repository import Repository

both_models = pytest.mark.parametrize("model", TINY_MODELS, ids=lambda model: model.name)


@pytest.fixture(params=["with a service", "without a service"])
def where(request: pytest.FixtureRequest, tiny_repository: Path) -> list[object]:
    """Options that say where the work is done."""
    if request.param == "without a service":
        return ["--repository", tiny_repository]
    return ["--url", request.getfixturevalue("running_service").url]


@pytest.fixture
def here(tiny_repository: Path) -> list[object]:
    """Options for work without a service."""
    return ["--repository", tiny_repository]


def succeeded(*arguments: object, **how: Any) -> Finished:
    finished = latent_codes(*arguments, **how)
    assert finished.status == 0, finished.told
    return finished


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def codes_of(path: Path) -> tuple[Provenance, np.ndarray, list[str] | None]:
    with CodeFile(path) as file:
        batches = list(file.batches())
        ids = [name for batch in batches for name in batch.ids or []] if file.has_ids else None
        return file.provenance, np.concatenate([batch.codes for batch in batches]), ids


@both_models
def test_the_codes_are_those_of_the_oracle_and_the_file_knows_its_model(
    tmp_path: Path, where: list[object], model: TinyModel, tiny_repository: Path
) -> None:
    inputs = model.inputs(100)
    source = saved(tmp_path / "inputs.npy", inputs)
    how = ["-m", model.name, "-t", "0.8", "--seed", "7", "--batch-rows", "33", *where]
    finished = succeeded("encode", source, *how, "-o", tmp_path / "codes.parquet")
    provenance, codes, ids = codes_of(tmp_path / "codes.parquet")
    np.testing.assert_array_equal(codes, model.encode(inputs, temperature=0.8, seed=7).codes)
    assert ids is None
    stored = Repository(tiny_repository).read(model.name)
    assert provenance == Provenance(
        model=model.name,
        version=1,
        manifest_sha256=stored.manifest_sha256,
        kind=model.kind,
        num_latents=model.num_latents,
        num_categories=model.num_categories,
        temperature=0.8,
        seed=7,
    )
    assert finished.out == b""
    said = f"encoded 100 rows with {model.name} version 1, temperature 0.8, seed 7 to {tmp_path}"
    assert finished.told == f"latent-codes: {said}/codes.parquet\n"


@both_models
def test_decoding_gives_the_outputs_of_the_oracle(tmp_path: Path, where: list[object], model: TinyModel) -> None:
    codes = model.codes(50)
    source = saved(tmp_path / "codes.npy", codes)
    succeeded("decode", source, "-m", model.name, *where, "-o", tmp_path / "outputs.npy", "--batch-rows", 7)
    outputs = np.load(tmp_path / "outputs.npy")
    assert (outputs.dtype, outputs.shape) == (np.float32, (50, *model.input_shape))
    np.testing.assert_allclose(outputs, model.decode(codes), atol=1e-5)


@both_models
def test_generated_codes_are_those_of_the_oracle(tmp_path: Path, where: list[object], model: TinyModel) -> None:
    how = ["-m", model.name, "-n", "20", "--seed", "3", *where]
    succeeded("generate", *how, "-o", tmp_path / "codes.parquet", "--outputs", tmp_path / "outputs.npy")
    noise = model.prior_noise(3, 20)
    expected = model.sample(np.zeros_like(noise), noise, temperature=1.0).codes
    provenance, codes, _ = codes_of(tmp_path / "codes.parquet")
    np.testing.assert_array_equal(codes, expected)
    assert (provenance.temperature, provenance.seed) == (1.0, 3)
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), model.decode(expected), atol=1e-5)


def test_both_ways_print_the_same_to_the_last_byte(
    tmp_path: Path, running_service: ServiceProcess, here: list[object]
) -> None:
    source = saved(tmp_path / "inputs.npy", TINY_CATEGORICAL.inputs(3000))
    how = ["encode", source, "-m", TINY_CATEGORICAL.name, "-t", "1.3", "--seed", 2**62, "--first-row", 10**12]
    without = succeeded(*how, *here)
    assert succeeded(*how, "--url", running_service.url).out == without.out
    assert len(without.lines) == 3000


@pytest.mark.parametrize("suffix", ["parquet", "npy", "txt", "hex", "jsonl"])
def test_codes_go_to_every_kind_of_file_and_come_back(tmp_path: Path, here: list[object], suffix: str) -> None:
    model = TINY_CATEGORICAL
    inputs = model.inputs(30)
    codes = tmp_path / f"codes.{suffix}"
    succeeded("encode", saved(tmp_path / "inputs.npy", inputs), "-m", model.name, *here, "-o", codes)
    chosen = [] if suffix == "parquet" else ["-m", model.name]
    succeeded("decode", codes, *chosen, *here, "-o", tmp_path / "outputs.npy")
    expected = model.decode(model.encode(inputs).codes)
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), expected, atol=1e-5)


@pytest.mark.parametrize("written_as", ["parquet", "npy", "hex", "jsonl"])
def test_everything_can_be_piped(here: list[object], written_as: str) -> None:
    model = TINY_BINARY
    inputs = model.inputs(300)
    codes = succeeded("encode", "-m", model.name, *here, "--format", written_as, stdin=npy(inputs))
    assert codes.told == ""
    chosen = [] if written_as == "parquet" else ["-m", model.name]
    outputs = succeeded("decode", *chosen, *here, "-o", "-", stdin=codes.out)
    assert outputs.told == ""
    expected = model.decode(model.encode(inputs).codes)
    np.testing.assert_allclose(np.load(io.BytesIO(outputs.out)), expected, atol=1e-5)


def test_a_line_is_a_code_in_the_hex_of_the_rest_interface(here: list[object]) -> None:
    inputs = TINY_BINARY.inputs(5)
    found = succeeded("encode", "-", "-m", TINY_BINARY.name, *here, stdin=npy(inputs))
    assert found.lines == code_layouts.to_hex(TINY_BINARY.encode(inputs).codes, TINY_BINARY.layout)


def test_json_lines_keep_their_names(here: list[object]) -> None:
    inputs = TINY_BINARY.inputs(3)
    text = "".join(json.dumps({"id": f"row {n}", "input": row.tolist()}) + "\n" for n, row in enumerate(inputs))
    how = ["-m", TINY_BINARY.name, *here]
    found = succeeded("encode", *how, "--format", "jsonl", stdin=text.encode())
    documents = [json.loads(line) for line in found.lines]
    codes = code_layouts.to_hex(TINY_BINARY.encode(inputs).codes, TINY_BINARY.layout)
    assert documents == [{"id": f"row {n}", "code": code} for n, code in enumerate(codes)]
    bare = "".join(f"{row.ravel().tolist()}\n\n" for row in inputs)
    assert succeeded("encode", *how, stdin=bare.encode()).lines == codes


def test_rows_of_parquet_are_lists_of_numbers_and_may_have_names(tmp_path: Path, here: list[object]) -> None:
    inputs = TINY_BINARY.inputs(40)
    flat = pa.array(list(inputs.reshape(40, -1).astype(np.float64)))
    nested = pa.array(inputs.tolist(), pa.list_(pa.list_(pa.float32())))
    names = pa.array([f"n{number}" for number in range(40)])
    expected = TINY_BINARY.encode(inputs).codes
    for number, columns in enumerate([{"x": flat, "id": names}, {"x": nested, "label": names}]):
        pq.write_table(pa.table(columns), tmp_path / "inputs.parquet", row_group_size=7)
        to = tmp_path / f"codes-{number}.parquet"
        succeeded("encode", tmp_path / "inputs.parquet", "-m", TINY_BINARY.name, *here, "-o", to, "--batch-rows", 9)
        _, codes, ids = codes_of(to)
        np.testing.assert_array_equal(codes, expected)
        assert ids == (names.to_pylist() if number == 0 else None)
    how = ["-m", TINY_BINARY.name, *here, "--id-column", "label", "--format", "jsonl"]
    found = succeeded("encode", tmp_path / "inputs.parquet", *how)
    assert [json.loads(line)["id"] for line in found.lines] == names.to_pylist()


def test_rows_of_parquet_may_be_bytes(tmp_path: Path, here: list[object]) -> None:
    inputs = TINY_BINARY.inputs(20)
    pq.write_table(pa.table({"x": pa.array([row.tobytes() for row in inputs], pa.binary(64))}), tmp_path / "x.parquet")
    how = ["-m", TINY_BINARY.name, *here]
    expected = code_layouts.to_hex(TINY_BINARY.encode(inputs).codes, TINY_BINARY.layout)
    assert succeeded("encode", tmp_path / "x.parquet", *how).lines == expected
    pq.write_table(pa.table({"x": pa.array([b"abc"], pa.binary(3))}), tmp_path / "x.parquet")
    finished = latent_codes("encode", tmp_path / "x.parquet", *how)
    assert "column 'x': expected 64 bytes, 16 float32, or 16 pixels, got 3 bytes, after row 0" in finished.told


def picture(seed: int, size: tuple[int, int] = (4, 4), mode: str = "L") -> Image.Image:
    shape = (*size[::-1], *((3,) if mode == "RGB" else ()))
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of images, good ones and all that may be wrong with one."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    picture(1).save(folder / "a.png")
    picture(2, (9, 7), "RGB").save(folder / "b.JPG", "JPEG")
    picture(3).save(folder / "sub" / "c.png")
    picture(4).save(folder / ".hidden" / "d.png")
    (folder / "notes.txt").write_text("not an image, and not called one")
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("no image, whatever it is called")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:40])
    picture(5).save(folder / "moving.png", save_all=True, append_images=[picture(6)])
    picture(5).save(folder / "moving.gif", save_all=True, append_images=[picture(6)])
    Image.fromarray(np.zeros((4, 4), np.float32), "F").save(folder / "floats.tiff")
    (folder / "array.jpg").write_bytes(npy(np.zeros((4, 4))))
    return folder


BAD = {
    "empty.png": "the file is empty (0 bytes)",
    "text.png": "expected an image, as its name says; by its bytes it is text",
    "cut.png": "a PNG file that cannot be decoded",
    "moving.png": "animated PNG of 2 frames",
    "moving.gif": "a GIF image",
    "floats.tiff": "a TIFF image",
    "array.jpg": "by its bytes it is a .npy file",
}


def test_a_folder_goes_on_past_what_cannot_be_read_and_names_it(
    tmp_path: Path, photos: Path, where: list[object]
) -> None:
    to = tmp_path / "codes.parquet"
    finished = latent_codes_process("encode", "photos", "-m", TINY_BINARY.name, *where, "-o", to, cwd=tmp_path)
    assert finished.status == 3
    _, codes, ids = codes_of(to)
    assert ids == ["a.png", "b.JPG", "sub/c.png"]
    assert len(codes) == 3
    told = finished.told.splitlines()
    for name, cause in BAD.items():
        (line,) = [line for line in told if f"photos/{name}: " in line]
        assert line.startswith(f"latent-codes: skipped photos/{name}: ")
        assert cause in line
    assert told[-1] == f"latent-codes: encoded 3 rows with {TINY_BINARY.name} version 1 to {to}; skipped {len(BAD)}"
    assert len(told) == len(BAD) + 1


def test_an_image_becomes_the_input_that_the_service_makes_of_it(
    tmp_path: Path, photos: Path, running_service: ServiceProcess, here: list[object]
) -> None:
    import httpx

    for name in ("a.png", "b.JPG"):
        kind = "image/png" if name == "a.png" else "image/jpeg"
        reply = httpx.post(
            f"{running_service.url}/v1/models/{TINY_BINARY.name}/encode?code_format=hex",
            content=(photos / name).read_bytes(),
            headers={"Content-Type": kind},
            timeout=30,
        )
        found = succeeded("encode", photos / name, "-m", TINY_BINARY.name, *here)
        assert found.lines == reply.json()["codes"]
        assert (
            succeeded("encode", "-m", TINY_BINARY.name, *here, stdin=(photos / name).read_bytes()).lines == found.lines
        )


def test_images_in_parquet_are_read_too(tmp_path: Path, photos: Path, here: list[object]) -> None:
    contents = [(photos / name).read_bytes() for name in ("a.png", "text.png", "b.JPG")]
    column = pa.array([{"bytes": content, "path": None} for content in contents])
    pq.write_table(pa.table({"image": column, "label": pa.array([1, 2, 3])}), tmp_path / "images.parquet")
    how = ["-m", TINY_BINARY.name, *here, "--format", "jsonl"]
    finished = latent_codes("encode", tmp_path / "images.parquet", *how)
    assert finished.status == 3
    assert "images.parquet: row 1: expected a PNG or JPEG image" in finished.told
    expected = succeeded("encode", photos / "a.png", photos / "b.JPG", *how)
    assert [json.loads(line)["code"] for line in finished.lines] == [json.loads(x)["code"] for x in expected.lines]
    assert [json.loads(line)["id"] for line in finished.lines] == ["0", "2"]


def test_pictures_come_back_as_a_sheet_or_as_a_folder_with_their_names(
    tmp_path: Path, photos: Path, where: list[object]
) -> None:
    codes = tmp_path / "codes.parquet"
    latent_codes("encode", photos, "-m", TINY_BINARY.name, *where, "-o", codes)
    succeeded("decode", codes, *where, "-o", tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert (sheet.format, sheet.mode) == ("PNG", "L")
        assert sheet.width > 8
    succeeded("decode", codes, *where, "-o", tmp_path / "back")
    found = sorted(path.relative_to(tmp_path / "back").as_posix() for path in (tmp_path / "back").rglob("*.png"))
    assert found == ["a.png", "b.png", "sub/c.png"]
    with Image.open(tmp_path / "back" / "a.png") as image:
        assert image.size == (4, 4)


def test_names_in_a_file_do_not_lead_out_of_the_folder(tmp_path: Path, here: list[object]) -> None:
    about = json.loads(json.dumps(provenance_of(tmp_path, here).model_dump(exclude_none=True)))
    evil = tmp_path / "evil.parquet"
    with CodeFileWriter(evil, Provenance(**about), has_ids=True) as writer:
        writer.write(TINY_BINARY.codes(3), ["../../out.png", "/tmp/out.png", ".."])
    succeeded("decode", evil, *here, "-o", tmp_path / "inside")
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert written == ["inside/000002.png", "inside/out.png", "inside/tmp/out.png"]


def provenance_of(tmp_path: Path, here: list[object]) -> Provenance:
    succeeded("generate", "-m", TINY_BINARY.name, *here, "-o", tmp_path / "some.parquet")
    with CodeFile(tmp_path / "some.parquet") as file:
        return file.provenance


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"manifest_sha256": "ab" * 32}, 4, "expected one whose manifest has SHA-256 abab"),
        ({"version": 2}, 5, "has no version 2"),
        ({"model": "other-model"}, 5, "there is no model 'other-model'"),
    ],
    ids=["another manifest", "another version", "another name"],
)
def test_codes_of_a_model_that_is_not_here_are_not_decoded(
    tmp_path: Path, where: list[object], here: list[object], changes: dict[str, Any], status: int, said: str
) -> None:
    about = provenance_of(tmp_path, here).model_dump(exclude_none=True)
    with CodeFileWriter(tmp_path / "codes.parquet", Provenance(**(about | changes))) as writer:
        writer.write(TINY_BINARY.codes(3))
    finished = latent_codes("decode", tmp_path / "codes.parquet", *where, "-o", tmp_path / "outputs.npy")
    assert (finished.status, finished.out) == (status, b"")
    if where[0] != "--url" or status == 4:
        assert said in finished.told
    assert not (tmp_path / "outputs.npy").exists()


def test_codes_are_not_decoded_by_a_model_that_did_not_make_them(tmp_path: Path, here: list[object]) -> None:
    provenance_of(tmp_path, here)
    other = ["-m", TINY_CATEGORICAL.name, *here, "-o", tmp_path / "outputs.npy"]
    finished = latent_codes("decode", tmp_path / "some.parquet", *other)
    assert finished.status == 4
    assert (
        f"are of model {TINY_BINARY.name} version 1, and cannot be decoded by {TINY_CATEGORICAL.name}" in finished.told
    )


REFUSED: dict[str, tuple[Any, str]] = {
    "not there": (lambda path: None, "inputs.npy: there is no such file or folder"),
    "empty": (lambda path: path.touch(), "inputs.npy: expected content, the file is empty (0 bytes)"),
    "text": (
        lambda path: path.write_text("1, 2, 3"),
        "inputs.npy: expected a .npy file, as its name says; by its bytes",
    ),
    "an image": (lambda path: picture(1).save(path, "PNG"), "by its bytes it is a PNG image"),
    "cut off": (lambda path: path.write_bytes(npy(TINY_BINARY.inputs(5))[:-8]), "inputs.npy: cannot be read as .npy"),
    "objects": (lambda path: path.write_bytes(npy(np.array([[None]]))), "inputs.npy: cannot be read as .npy"),
    "complex": (lambda path: saved(path, np.zeros((2, 16), complex)), "expected an array of real numbers, got complex"),
    "one row": (lambda path: saved(path, np.zeros(16)), "expected rows, an array of two axes or more, got shape [16]"),
    "no rows": (lambda path: saved(path, np.zeros((0, 16))), "inputs.npy: nothing could be encoded"),
    "another shape": (lambda path: saved(path, np.zeros((2, 15))), "inputs.npy: inputs: expected rows of shape"),
    "out of range": (
        lambda path: saved(path, np.r_[np.zeros((1500, 16)), np.full((1, 16), 1.5)]),
        "inputs.npy: row 1500 at [0]: expected a finite number from 0 to 1, got 1.5",
    ),
    "not a number": (
        lambda path: saved(path, np.full((2, 16), np.nan)),
        "inputs.npy: row 0 at [0]: expected a finite number from 0 to 1, got NaN",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_input_that_does_not_fit_is_one_sentence_that_names_the_file(
    tmp_path: Path, here: list[object], case: str
) -> None:
    make, said = REFUSED[case]
    make(tmp_path / "inputs.npy")
    to = tmp_path / "codes.parquet"
    finished = latent_codes("encode", tmp_path / "inputs.npy", "-m", TINY_BINARY.name, *here, "-o", to)
    assert finished.status == 4, finished.told
    assert finished.told.startswith("latent-codes: ")
    assert finished.told.count("\n") == 1
    assert said in finished.told
    assert not to.exists()
    assert list(tmp_path.glob(".*partial")) == []


@pytest.mark.parametrize("case", ["out of range", "not a number", "another shape"])
def test_a_service_refuses_the_same_in_the_same_words(
    tmp_path: Path, running_service: ServiceProcess, case: str
) -> None:
    make, said = REFUSED[case]
    make(tmp_path / "inputs.npy")
    how = ["-m", TINY_BINARY.name, "--url", running_service.url, "-o", tmp_path / "codes.npy"]
    finished = latent_codes("encode", tmp_path / "inputs.npy", *how)
    assert finished.status == 4, finished.told
    assert said in finished.told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"zz\n", "line 1: expected a string of 4 hex digits, got 'zz'"),
        (b"0000\n\n{\n", "line 3: expected a code in hex or JSON"),
        (b"[0, 1]\n", "line 1: expected codes of 12 values, got 2"),
        (b"[0,1,0,1,0,1,0,1,0,1,0,2]\n", "line 1: expected values in 0..1, got 2"),
        (b"[0,1,0,1,0,1,0,1,0,1,0,99999999999999999999]\n", "line 1: expected values in 0..1"),
        (b"[0.5]\n", "line 1: expected hex digits or a list of integers, got a list of 1"),
        (b'{"id": 1}\n', "line 1: expected hex digits or a list of integers, got null"),
        (b"\xff\xfe\n", "line 1: expected text in UTF-8"),
        (b"", "expected at least one code, there is none"),
        (npy(np.full((2, 12), 2)), "in the rows from 0 on: expected values in 0..1, got 2"),
        (npy(np.zeros((2, 12))), "expected integers, got float64"),
        (npy(np.zeros((9, 12), int))[:-1], "expected 9 rows, as its header says, got 8"),
        (b"\x89PNG\r\n\x1a\n", "expected codes in Parquet, .npy or text, got a PNG image"),
        (b"PAR1....", "expected a Parquet file"),
    ],
)
def test_codes_that_do_not_fit_are_named_with_their_line(
    tmp_path: Path, here: list[object], text: bytes, said: str
) -> None:
    finished = latent_codes("decode", "-m", TINY_BINARY.name, *here, "-o", tmp_path / "outputs.npy", stdin=text)
    assert finished.status == 4
    assert "standard input: " in finished.told
    assert said in finished.told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["encode"], "Missing option '--model'"),
        (["encode", "-m", "a@b"], "or name@version with a positive integer, got 'a@b'"),
        (["encode", "-m", "a", "-o", "codes.csv"], "expected a name that ends in .parquet, .npy"),
        (["encode", "-m", "a", "-t", "-1"], "'--temperature'"),
        (["encode", "-m", "a", "--url", "http://x", "--device", "cpu"], "with --url the service does it"),
        (["decode", "-o", "x.npy"], "only a Parquet file of codes knows its model"),
        (["decode", "-m", "a"], "Missing option '--output'"),
        (["generate", "-m", "a", "--outputs", "-"], "cannot both go to standard output"),
        (["enocde"], "No such command 'enocde'"),
    ],
)
def test_a_command_line_that_does_not_fit_ends_with_2(arguments: list[str], said: str) -> None:
    finished = latent_codes(*arguments)
    assert (finished.status, finished.out) == (2, b"")
    assert said in " ".join(finished.told.split())


def test_what_is_needed_and_not_there_ends_with_5(tmp_path: Path, here: list[object]) -> None:
    source = saved(tmp_path / "inputs.npy", TINY_BINARY.inputs(1))
    with ReservedPort() as nobody:
        for arguments, said in [
            (["-m", "nothing", *here], "there is no model 'nothing' in"),
            (["-m", f"{TINY_BINARY.name}@9", *here], f"model {TINY_BINARY.name} has no version 9; found: 1"),
            (["-m", "a", "--url", f"http://127.0.0.1:{nobody.number}"], "cannot connect to http://127.0.0.1:"),
            (["-m", "a", "--url", "localhost"], "--url: expected an address such as http://127.0.0.1:8000"),
            (["-m", TINY_BINARY.name, *here, "--device", "cuda"], "device is cuda"),
        ]:
            finished = latent_codes("encode", source, *arguments)
            assert finished.status == 5, finished.told
            assert said in finished.told
            assert finished.told.count("\n") == 1


def test_a_damaged_model_is_not_used(tmp_path: Path, tiny_repository: Path) -> None:
    import shutil

    shutil.copytree(tiny_repository, tmp_path / "models")
    graph = tmp_path / "models" / TINY_BINARY.name / "1" / "encoder.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    source = saved(tmp_path / "inputs.npy", TINY_BINARY.inputs(1))
    finished = latent_codes("encode", source, "-m", TINY_BINARY.name, "--repository", tmp_path / "models")
    assert finished.status == 5
    assert "encoder.onnx: expected" in finished.told


def test_a_folder_that_may_not_be_written_ends_with_1(tmp_path: Path, here: list[object]) -> None:
    source = saved(tmp_path / "inputs.npy", TINY_BINARY.inputs(1))
    finished = latent_codes("encode", source, "-m", TINY_BINARY.name, *here, "-o", tmp_path / "no" / "codes.npy")
    assert finished.status == 1
    assert "No such file or directory" in finished.told


def test_a_reader_that_has_enough_is_not_complained_about(tmp_path: Path, here: list[object]) -> None:
    source = saved(tmp_path / "inputs.npy", np.repeat(TINY_BINARY.inputs(1), 200_000, axis=0))
    line = " ".join(command("encode", source, "-m", TINY_BINARY.name, *here))
    finished = subprocess.run(
        ["bash", "-c", f"{line} | head -n 2; echo ${{PIPESTATUS[0]}}"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert finished.stderr == ""
    first, second, status = finished.stdout.splitlines()
    assert first == second
    assert status == "141"


@pytest.mark.parametrize(("with_signal", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_an_interrupted_command_leaves_the_file_that_was_there(
    tmp_path: Path, here: list[object], with_signal: signal.Signals, status: int
) -> None:
    to = tmp_path / "codes.parquet"
    to.write_bytes(b"as it was")
    reading, writing = os.pipe()
    process = subprocess.Popen(
        command("encode", "-m", TINY_BINARY.name, *here, "-o", to),
        stdin=reading,
        stderr=subprocess.DEVNULL,
        env=environment(),
        # Where the tests run in the background of a script, SIGINT is ignored, and would be by this too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        os.write(writing, npy(TINY_BINARY.inputs(5000))[:200])  # the others never come
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob(".codes.parquet.*.partial")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(with_signal)
        assert process.wait(30) == status
    finally:
        process.kill()
        process.wait()
        os.close(reading)
        os.close(writing)
    assert to.read_bytes() == b"as it was"
    assert list(tmp_path.iterdir()) == [to]


def test_models_are_listed(tiny_repository: Path, where: list[object]) -> None:
    table = succeeded("models", *where)
    assert table.lines[0].split() == ["NAME", "VERSIONS", "CODE", "INPUT", "DESCRIPTION"]
    assert table.lines[1].startswith(f"{TINY_BINARY.name}       1         12 bits  4 x 4")
    documents = json.loads(succeeded("models", "--json", *where).out)
    assert [document["name"] for document in documents] == [TINY_BINARY.name, TINY_CATEGORICAL.name]
    stored = Repository(tiny_repository).read(TINY_CATEGORICAL.name)
    assert documents[1]["manifest_sha256"] == stored.manifest_sha256
    assert documents[1]["input"]["shape"] == [10]
    assert documents[1]["code_bits"] == 15


def test_the_shipped_models_are_found_without_being_told_where() -> None:
    found = latent_codes_process("encode", "samples/seven.png", "-m", "mnist-binary", cwd=ROOT)
    assert (found.status, found.told) == (0, "")
    assert found.lines == ["6d52ad1019970f0c"]


def test_quiet_leaves_only_what_was_skipped(tmp_path: Path, photos: Path, here: list[object]) -> None:
    how = ["-m", TINY_BINARY.name, *here, "-q", "-o", tmp_path / "codes.npy"]
    assert succeeded("encode", photos / "a.png", *how).told == ""
    skipped = latent_codes("encode", photos / "a.png", photos / "text.png", *how)
    assert skipped.status == 3
    assert skipped.told.count("\n") == 1

"""Images over HTTP: files in, in a body of their own or several in JSON, and pictures out."""

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from image_files import bomb, file_of
from PIL import Image
from service_process import ServiceProcess
from tiny_models import TINY_BINARY as MODEL
from tiny_models import TINY_CATEGORICAL

from service.problems import MAX_PROBLEM_BYTES
from service.schemas import EncodeReply, Problem, ReconstructReply

PIXELS = np.random.default_rng(8).integers(0, 256, (3, 4, 4), dtype=np.uint8)
INPUTS = PIXELS / np.float32(255)
PATH = f"/v1/models/{MODEL.name}"
PNG, JPEG, NPY = "image/png", "image/jpeg", "application/x-npy"


def spelt(*contents: bytes) -> list[str]:
    return [base64.b64encode(content).decode() for content in contents]


def picture(reply: httpx.Response) -> np.ndarray:
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == PNG
    image = Image.open(io.BytesIO(reply.content))
    assert image.format == "PNG"
    return np.asarray(image)


@pytest.fixture
def client(running_service: ServiceProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running_service.url, timeout=30) as client:
        yield client
        assert client.get("/v2/health/ready").json()["ready"] is True


def post_file(client: httpx.Client, operation: str, content: bytes, media_type: str = PNG, **query: Any) -> Any:
    reply = client.post(f"{PATH}/{operation}", content=content, headers={"Content-Type": media_type}, params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


def problem(reply: httpx.Response, status: int) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    assert len(reply.content) <= MAX_PROBLEM_BYTES
    Problem.model_validate(reply.json())
    return reply.json()


def test_a_png_body_is_encoded_as_its_pixels_are_as_numbers(client: httpx.Client) -> None:
    query = {"temperature": 0.8, "seed": 5, "num_samples": 2, "outputs": "codes,logits"}
    found = post_file(client, "encode", file_of(PIXELS[0]), **query)
    body = {"inputs": INPUTS[:1].tolist(), "temperature": 0.8, "seed": 5, "num_samples": 2}
    assert found == client.post(f"{PATH}/encode", json=body | {"outputs": ["codes", "logits"]}).json()


@pytest.mark.parametrize("media_type", [PNG, JPEG])
def test_what_an_image_is_its_bytes_say_whatever_the_type_it_came_as(client: httpx.Client, media_type: str) -> None:
    for file_format in ("PNG", "JPEG"):
        content = file_of(PIXELS[0], file_format)
        found = post_file(client, "encode", content, media_type, outputs="conversions")
        assert found["conversions"][0]["format"] == file_format


def test_several_images_in_one_json_body_are_rows_in_their_order(client: httpx.Client) -> None:
    images = spelt(*(file_of(pixels) for pixels in PIXELS))
    found = client.post(f"{PATH}/reconstruct", json={"images": images, "outputs": ["codes", "inputs"]}).json()
    ReconstructReply.model_validate(found)
    np.testing.assert_array_equal(np.float32(found["inputs"]), INPUTS)
    numbers = client.post(f"{PATH}/reconstruct", json={"inputs": INPUTS.tolist()}).json()
    assert found == numbers | {"inputs": found["inputs"]}


def test_a_reply_says_what_was_done_to_each_image(client: httpx.Client) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = file_of(np.random.default_rng(0).integers(0, 256, (9, 5, 4), dtype=np.uint8), exif=exif)
    body = {"images": spelt(file_of(PIXELS[0]), turned), "outputs": ["conversions"]}
    found = client.post(f"{PATH}/encode", json=body).json()
    EncodeReply.model_validate(found)
    assert set(found) == {"model", "version", "seed", "conversions"}
    assert found["conversions"] == [
        {"format": "PNG", "width": 4, "height": 4, "steps": []},
        {
            "format": "PNG",
            "width": 5,
            "height": 9,
            "steps": [
                "turned upright, as EXIF orientation 6 says",
                "transparency laid over white",
                "colour to grey",
                "resized from 9 x 5 to 4 x 4",
            ],
        },
    ]


def test_the_rows_of_images_come_as_an_array(client: httpx.Client) -> None:
    headers = {"Content-Type": PNG, "Accept": NPY}
    reply = client.post(f"{PATH}/encode", content=file_of(PIXELS[1]), headers=headers, params={"outputs": "inputs"})
    np.testing.assert_array_equal(np.load(io.BytesIO(reply.content)), INPUTS[1:2])


def test_one_code_decodes_to_one_picture_and_several_to_a_sheet(client: httpx.Client) -> None:
    codes = MODEL.codes(5)
    expected = np.rint(MODEL.decode(codes) * 255)
    reply = client.post(f"{PATH}/decode", json={"codes": codes[:1].tolist()}, headers={"Accept": PNG})
    np.testing.assert_allclose(picture(reply), expected[0], atol=1)
    assert reply.headers["latent-codes-model"] == MODEL.name
    sheet = picture(client.post(f"{PATH}/decode", json={"codes": codes.tolist()}, headers={"Accept": PNG}))
    assert sheet.shape == (2 * 6 + 2, 3 * 6 + 2)
    np.testing.assert_allclose(sheet[8:12, 2:6], expected[3], atol=1)


def test_samples_of_a_reconstruction_stand_in_the_line_of_their_row(client: httpx.Client) -> None:
    body = {"inputs": INPUTS.tolist(), "temperature": 1, "seed": 2, "num_samples": 5}
    sheet = picture(client.post(f"{PATH}/reconstruct", json=body, headers={"Accept": PNG}))
    outputs = np.float32(client.post(f"{PATH}/reconstruct", json=body).json()["outputs"])
    assert sheet.shape == (3 * 6 + 2, 5 * 6 + 2)
    np.testing.assert_array_equal(sheet[14:18, 8:12], np.rint(outputs[2, 1] * 255))


def test_a_picture_goes_in_and_a_picture_comes_out(client: httpx.Client) -> None:
    headers = {"Content-Type": PNG, "Accept": "image/*"}
    reply = client.post(f"{PATH}/reconstruct", content=file_of(PIXELS[0]), headers=headers)
    expected = MODEL.decode(MODEL.encode(INPUTS[:1]).codes)[0]
    np.testing.assert_allclose(picture(reply), np.rint(expected * 255), atol=1)


def test_generated_pictures_say_their_seed(client: httpx.Client) -> None:
    reply = client.post(f"{PATH}/generate", json={"num_samples": 4}, headers={"Accept": PNG})
    again = client.post(
        f"{PATH}/generate",
        json={"num_samples": 4, "seed": int(reply.headers["latent-codes-seed"])},
        headers={"Accept": PNG},
    )
    np.testing.assert_array_equal(picture(reply), picture(again))


@pytest.mark.parametrize(
    ("body", "field", "received"),
    [
        ({"images": spelt(b"")}, "images[0]", "no bytes at all"),
        ({"images": spelt(file_of(PIXELS[0]), b"GIF89a")}, "images[1]", "a GIF image"),
        ({"images": spelt(file_of(PIXELS[0])[:40])}, "images[0]", "a PNG file that cannot be decoded: "),
        ({"images": "AAAA"}, "images", "'AAAA'"),
        ({"images": []}, "images", "an empty list"),
        ({"images": [3]}, "images[0]", "3"),
        ({"images": ["not base64!"]}, "images[0]", "no base64: 'not base64!'"),
        ({"images": spelt(b""), "inputs": INPUTS.tolist()}, "inputs", "both"),
        ({}, "inputs", "nothing"),
        ({"inputs": INPUTS.tolist(), "outputs": ["codes", "conversions"]}, "outputs[1]", "inputs"),
        ({"images": spelt(file_of(PIXELS[0])), "num_samples": 5000}, "images", "5000; split the request"),
    ],
)
def test_what_cannot_be_read_is_named(client: httpx.Client, body: dict[str, Any], field: str, received: str) -> None:
    found = problem(client.post(f"{PATH}/encode", json=body), 422)
    assert found["field"] == field
    assert found["received"].startswith(received)


def test_a_body_of_no_bytes_is_no_image(client: httpx.Client) -> None:
    found = problem(client.post(f"{PATH}/encode", content=b"", headers={"Content-Type": PNG}), 422)
    assert (found["field"], found["received"]) == ("body", "no bytes at all")


def test_a_model_of_numbers_takes_no_images_and_makes_no_pictures(client: httpx.Client) -> None:
    path = f"/v1/models/{TINY_CATEGORICAL.name}"
    found = problem(client.post(f"{path}/encode", content=file_of(PIXELS[0]), headers={"Content-Type": PNG}), 422)
    assert "rows of shape [10], which is what tiny-categorical takes" in found["expected"]
    found = problem(client.post(f"{path}/generate", json={}, headers={"Accept": PNG}), 406)
    assert "makes numbers, not pictures" in found["detail"]


def test_codes_are_no_pictures_and_pictures_no_codes(client: httpx.Client) -> None:
    body = {"inputs": INPUTS.tolist()}
    problem(client.post(f"{PATH}/encode", json=body, headers={"Accept": PNG}), 406)
    problem(client.post(f"{PATH}/decode", content=file_of(PIXELS[0]), headers={"Content-Type": PNG}), 415)
    problem(client.post(f"{PATH}/generate", content=file_of(PIXELS[0]), headers={"Content-Type": PNG}), 415)
    headers = {"Accept": NPY}
    body |= {"images": spelt(file_of(PIXELS[0])), "outputs": ["conversions"]}
    del body["inputs"]
    assert problem(client.post(f"{PATH}/encode", json=body, headers=headers), 422)["field"] == "outputs"


def test_too_many_pixels_are_refused_before_and_after(tiny_repository: Any, tmp_path: Any) -> None:
    with (
        ServiceProcess([tiny_repository], log=tmp_path / "log", max_image_pixels=40) as service,
        httpx.Client(base_url=service.url, timeout=30) as client,
    ):
        images = spelt(*(file_of(pixels) for pixels in PIXELS))
        assert client.post(f"{PATH}/encode", json={"images": images[:2]}).status_code == 200
        found = problem(client.post(f"{PATH}/encode", json={"images": images}), 422)
        assert (found["field"], found["received"]) == ("images[2]", "4 x 4, which makes 48")
        assert client.post(f"{PATH}/generate", json={"num_samples": 2}, headers={"Accept": PNG}).status_code == 200
        found = problem(client.post(f"{PATH}/generate", json={"num_samples": 3}, headers={"Accept": PNG}), 422)
        assert found["received"] == "48; ask for fewer"


def test_a_large_image_is_decoded_while_others_are_answered(tiny_repository: Any, tmp_path: Any) -> None:
    large = bomb(5000, 5000)
    with (
        ServiceProcess([tiny_repository], log=tmp_path / "log", workers=1) as service,
        httpx.Client(base_url=service.url, timeout=60) as client,
        ThreadPoolExecutor(1) as others,
    ):
        headers = {"Content-Type": PNG}
        decoded = others.submit(httpx.post, f"{service.url}{PATH}/encode", content=large, headers=headers, timeout=60)
        answered = 0
        while not decoded.done():
            assert client.post(f"{PATH}/encode", json={"inputs": INPUTS.tolist()}).status_code == 200
            answered += 1
        assert decoded.result().status_code == 200
    # Were it decoded on the event loop, one request could slip in before it, and one wait for its end.
    assert answered > 4


def test_images_are_described_where_they_are_taken(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    takes = {verb: set(paths[f"/v1/models/{{model}}/{verb}"]["post"]["requestBody"]["content"]) for verb in VERBS}
    gives = {verb: set(paths[f"/v1/models/{{model}}/{verb}"]["post"]["responses"]["200"]["content"]) for verb in VERBS}
    assert {verb for verb in VERBS if {PNG, JPEG} <= takes[verb]} == {"encode", "reconstruct"}
    assert {verb for verb in VERBS if PNG in gives[verb]} == {"decode", "reconstruct", "generate"}
    assert not any(JPEG in gives[verb] for verb in VERBS)


VERBS = ("encode", "decode", "reconstruct", "generate")

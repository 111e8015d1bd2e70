import base64
import io
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_vae import BITS, CATEGORIES, LATENTS, bits, vae

from models.manifest import ImageSpec, InputSpec
from training.report.charts import Interval, Series, bar_chart, interval_chart, line_chart, ticks
from training.report.html import Markup, element, joined
from training.report.pictures import Pictures
from training.report.traversals import active_latents, mean_effects, traversals, traverse
from training.report.usage import measure_usage


def by_kind(latent):
    return latent.kind


def parsed(markup):
    return ElementTree.fromstring(str(markup))


def pixels(markup):
    source = parsed(markup).get("src").removeprefix("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))


def decoded(model, indices):
    with torch.no_grad():
        return model.reconstruction(model.latent.from_indices(torch.tensor([indices])).double())[0].numpy()


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_a_traversal_decodes_the_code_with_one_symbol_changed(latent):
    model, row = vae(latent), bits(1)[0]
    with torch.no_grad():
        own = latent.indices(latent.most_probable(model.encoder(row.unsqueeze(0))))[0].tolist()
    chosen = np.array([latent.num_latents - 1, 0])
    traversal = traverse(model, row, chosen, latent.num_categories)
    np.testing.assert_allclose(traversal.base, decoded(model, own), atol=1e-12)
    assert traversal.own.tolist() == [own[-1], own[0]]
    for place, number in enumerate(chosen):
        for value in range(latent.num_categories):
            code = [*own]
            code[number] = value
            np.testing.assert_allclose(traversal.outputs[place, value], decoded(model, code), atol=1e-12)


def test_the_mean_effect_of_a_bit_is_that_of_setting_it_in_every_code():
    model, inputs = vae(BITS), bits(9)
    with torch.no_grad():
        codes = BITS.indices(BITS.most_probable(model.encoder(inputs))).tolist()
    expected = np.zeros((2, 6))
    for place, number in enumerate((3, 1)):
        for code in codes:
            with_one, with_zero = ([*code[:number], value, *code[number + 1 :]] for value in (1, 0))
            expected[place] += (decoded(model, with_one) - decoded(model, with_zero)) / len(codes)
    np.testing.assert_allclose(mean_effects(model, inputs, np.array([3, 1])), expected, atol=1e-12)


def test_latents_are_shown_by_falling_kl_and_only_those_that_say_something():
    kl = np.array([0.3, 0.0, 0.0101, 2.0, 0.0099])
    assert active_latents(kl, 10).tolist() == [3, 0, 2]
    assert active_latents(kl, 2).tolist() == [3, 0]


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_a_model_whose_codes_say_nothing_has_no_traversals(latent):
    spec = InputSpec(shape=(6,), minimum=0, maximum=1)
    markup = traversals(vae(latent), bits(4), spec, np.zeros(latent.num_latents))
    assert "no code says anything" in markup
    assert "svg" not in markup


@pytest.mark.parametrize("latent", [BITS, CATEGORIES], ids=by_kind)
def test_usage_is_that_of_the_posterior_of_every_row(latent):
    model, inputs = vae(latent), bits(70)
    with torch.no_grad():
        logits = model.encoder(inputs)
        kl = model.kl(logits).mean(dim=0).numpy()
        scores = torch.stack([torch.zeros_like(logits), logits], dim=-1) if latent.kind == "binary" else logits
        certainty = float(scores.softmax(dim=-1).amax(dim=-1).mean())
    measured = measure_usage(model, inputs, torch.Generator())
    np.testing.assert_allclose(measured.latent_kl, kl, rtol=1e-9)
    assert measured.certainty == pytest.approx(certainty)
    assert measured.usage.distinct_counts.sum() == 70


def test_an_image_is_drawn_pixel_by_pixel_and_inverted_images_as_they_were():
    values = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    drawn = pixels(Pictures(InputSpec(shape=(2, 3), minimum=0, maximum=1)).value(values, "row"))
    assert drawn.tolist() == [[0, 51, 102], [153, 204, 255]]
    image = ImageSpec(mode="L", height=2, width=3, invert=True)
    spec = InputSpec(shape=(2, 3), minimum=0, maximum=1, image=image)
    assert pixels(Pictures(spec).value(values, "row")).tolist() == [[255, 204, 153], [102, 51, 0]]


def test_colours_are_drawn_channel_by_channel_and_values_out_of_range_at_its_ends():
    spec = InputSpec(shape=(1, 2, 3), minimum=0, maximum=1)
    drawn = pixels(Pictures(spec).value(np.array([0.0, 0.2, 1.0, -3.0, 1.7, 0.6]), "row"))
    assert drawn.tolist() == [[[0, 51, 255], [0, 255, 153]]]


def test_a_difference_is_opaque_from_its_scale_on_clear_at_0_and_coloured_by_its_sign():
    pictures = Pictures(InputSpec(shape=(1, 4), minimum=0, maximum=1))
    drawn = pixels(pictures.difference(np.array([0.0, 0.2, -0.4, 0.9]), "change", scale=0.4))
    assert drawn[0, :, 3].tolist() == [0, 128, 255, 255]
    more, less = drawn[0, 1, :3].tolist(), drawn[0, 2, :3].tolist()
    assert more[0] > more[2]
    assert less[2] > less[0]
    assert drawn[0, 3, :3].tolist() == more


def test_a_difference_of_nothing_is_clear_even_when_its_scale_is_0():
    pictures = Pictures(InputSpec(shape=(1, 2), minimum=0, maximum=1))
    assert pixels(pictures.difference(np.zeros(2), "change", scale=0.0))[..., 3].tolist() == [[0, 0]]


def test_a_vector_is_a_line_through_its_values():
    pictures = Pictures(InputSpec(shape=(3,), minimum=0, maximum=2))
    line = parsed(pictures.value(np.array([0.0, 1.0, 2.0]), "row")).find("polyline").get("points")
    heights = [float(point.split(",")[1]) for point in line.split()]
    assert heights == [60, 30, 0]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_evenly_spaced_and_within_the_range(low, width):
    high = low + width
    marks = ticks(low, high)
    tolerance = 1e-6 * (abs(low) + width)
    assert 2 <= len(marks) <= 9 or high == low
    assert all(low - tolerance <= mark <= high + tolerance for mark in marks)
    assert np.allclose(np.diff(marks), marks[1] - marks[0], atol=tolerance)


def test_a_line_has_every_finite_point_in_proportion():
    drawing = parsed(line_chart("loss", [Series("training", [0, 5, 10, 15], [3.0, float("nan"), 1.0, 2.0])]))
    points = [tuple(map(float, point.split(","))) for point in drawing.find(".//polyline").get("points").split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert (x1 - x0) / (x2 - x0) == pytest.approx(10 / 15, abs=1e-3)
    # Down the page is less.
    assert (y2 - y1) / (y0 - y1) == pytest.approx(0.5, abs=1e-2)


def test_long_lines_keep_their_ends():
    steps = list(range(5_000))
    drawing = parsed(line_chart("loss", [Series("training", steps, [float(step) for step in steps])]))
    points = drawing.find(".//polyline").get("points").split()
    assert len(points) == 600
    assert "(4999)" in "".join(drawing.itertext())


@pytest.mark.parametrize("values", [[2.0], [2.0, 2.0], [0.0]], ids=str)
def test_a_constant_can_be_drawn(values):
    steps = list(range(len(values)))
    assert parsed(line_chart("constant", [Series("value", steps, values)])).find("svg") is not None


def test_a_scalar_that_was_never_finite_says_so():
    assert "No finite value." in line_chart("loss", [Series("training", [1, 2], [float("nan"), float("inf")])])


def test_bars_stand_on_the_axis_in_proportion_to_their_values():
    drawing = parsed(bar_chart("usage", [0.0, 1.0, 2.0], ["a", "b", "c"]))
    bars = drawing.findall(".//rect")
    heights = [float(bar.get("height")) for bar in bars]
    assert heights[0] == 0
    assert heights[2] == pytest.approx(2 * heights[1])
    assert len({float(bar.get("y")) + float(bar.get("height")) for bar in bars[1:]}) == 1
    assert [bar.find("title").text for bar in bars] == ["a: 0", "b: 1", "c: 2"]


def test_an_interval_reaches_two_standard_errors_to_either_side():
    drawing = parsed(interval_chart("bounds", [Interval("a", 10.0, 1.0), Interval("b", 20.0, None)]))
    centres = [float(circle.get("cx")) for circle in drawing.iter("circle")]
    reach = [line for line in drawing.iter("line") if line.get("class") is None]
    widths = [(float(line.get("x2")) - float(line.get("x1"))) for line in reach]
    assert widths[1] == 0
    assert widths[0] / (centres[1] - centres[0]) == pytest.approx(4 / 10, rel=1e-4)


def test_text_is_escaped_and_markup_is_not():
    written = element("p", "a < b & c", Markup("<br/>"), [element("b", "bold")], title='say "yes" & go', class_=None)
    assert written == '<p title="say &quot;yes&quot; &amp; go">a &lt; b &amp; c<br/><b>bold</b></p>'
    assert joined("<", [Markup("<br/>")]) == "&lt;<br/>"


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 2, 3)], ids=["vector", "grey", "colour"])
@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_every_change_of_an_active_symbol_is_drawn_above_its_difference(latent, shape):
    model, inputs = vae(latent), bits(5)
    kl = np.linspace(1, 0.5, latent.num_latents)
    section = parsed(traversals(model, inputs, InputSpec(shape=shape, minimum=0, maximum=1), kl))
    drawn = len(list(section.iter("svg" if shape == (6,) else "img")))
    if latent.kind == "binary":
        # The mean effect of each bit; then, for 3 inputs, the input decoded and each bit flipped.
        assert drawn == latent.num_latents + 3 * 2 * (1 + latent.num_latents)
    else:
        # For 2 inputs, the input decoded and every value of each variable.
        assert drawn == 2 * 2 * (1 + latent.num_latents * latent.num_categories)
        own = [figure for figure in section.iter("figure") if figure.get("class") == "chosen"]
        assert len(own) == 2 * latent.num_latents

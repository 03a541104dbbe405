"""Label maps on their way to the browser and clicks on their way back."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from app import bars, frames, pictures, pixels, viewer
from workbench.vocabulary import palette

EVIL = "<img src=x onerror=alert(1)>"


def ids_of(image: Image.Image) -> np.ndarray:
    """As canvas.js reads them: red + 256 green + 65536 blue is the id + 1, 0 ignored."""
    channels = np.asarray(image.convert("RGB"), dtype=np.int64)
    return channels @ np.array([1, 256, 65536]) - 1


def decode(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1])))


def test_ids_survive_the_way_through_a_png() -> None:
    mask = np.array([[-100, 0, 1, 254], [255, 256, 1283, 65534], [65535, 65536, 1_000_000, -1]])
    back = ids_of(decode(pixels.data_url(pixels.encode_ids(mask))))
    assert back.tolist() == np.where(mask < 0, -1, mask).tolist()


def test_jpeg_or_png() -> None:
    picture = Image.new("RGBA", (4, 3), "#ff0000")
    assert pixels.data_url(picture).startswith("data:image/png;base64,")
    assert decode(pixels.data_url(picture, quality=80)).format == "JPEG"


@pytest.fixture
def scene() -> viewer.Scene:
    truth = np.full((5, 8), 1283, dtype=np.int64)
    truth[0] = -100
    prediction = truth.copy()
    prediction[0] = 7
    prediction[4] = 300
    return viewer.Scene(Image.new("RGB", (8, 5)), truth, prediction)


@pytest.fixture
def table() -> pd.DataFrame:
    names = [f"n{n}" for n in range(1284)]
    return pd.DataFrame({"name": names, "color": palette(1284)})


def test_what_is_drawn_is_plain_json_with_the_classes_in_view(
    scene: viewer.Scene, table: pd.DataFrame
) -> None:
    table.loc[1283, ["name", "color"]] = [EVIL, "#aa3311"]
    table.loc[300, "color"] = "#1133aa"
    assert scene.truth is not None
    view = frames.classes_in_view(scene.truth, scene.prediction, table)
    sent = json.loads(json.dumps(viewer.drawn(scene, view), allow_nan=False))
    assert (sent["width"], sent["height"], sent["heat"]) == (8, 5, None)
    assert sent["errors"] == "25.0% of pixels"
    assert [one["id"] for one in sent["classes"]] == [1283, 300]
    assert sent["classes"][0] == {
        **{"id": 1283, "name": EVIL, "color": "#aa3311"},
        **{"iou": 0.75, "truth": 32, "predicted": 24},
    }


def test_classes_of_one_color_can_be_told_apart(scene: viewer.Scene, table: pd.DataFrame) -> None:
    table["color"] = "#123456"
    assert scene.truth is not None
    view = frames.classes_in_view(scene.truth, scene.prediction, table)
    first, second = viewer.drawn(scene, view)["classes"]
    assert first["color"] == "#123456" != second["color"]


def test_a_picture_without_truth(scene: viewer.Scene, table: pd.DataFrame) -> None:
    scene = scene._replace(truth=None)
    view = pictures.classes_predicted(scene.prediction, table)
    sent = json.loads(json.dumps(viewer.drawn(scene, view), allow_nan=False))
    assert sent["truth"] is None and sent["errors"] is None
    assert [(one["id"], one["predicted"], one["iou"]) for one in sent["classes"]] == [
        (1283, 24, None),
        (7, 8, None),
        (300, 8, None),
    ]


def test_numbers_of_a_heat_map_survive_the_way(scene: viewer.Scene, table: pd.DataFrame) -> None:
    values = np.linspace(0.613, 1.187, 40, dtype=np.float32).reshape(5, 8)
    values[0, 3] = np.nan
    heat = viewer.heat_of(values, "Unknown", "distance")
    assert (heat.low, heat.high) == pytest.approx((0.6, 1.2))
    view = pictures.classes_predicted(scene.prediction, table)
    sent = viewer.drawn(scene._replace(heat=heat), view)["heat"]
    steps = ids_of(decode(sent["values"])).astype(float)
    assert steps[0, 3] == -1
    back = np.where(
        steps < 0, np.nan, sent["low"] + steps / sent["steps"] * (sent["high"] - sent["low"])
    )
    np.testing.assert_allclose(back, values, atol=1e-5)


def test_confidence_is_shown_from_nought_to_one_and_low_stands_out() -> None:
    values = np.array([[0.2, 0.9]], dtype=np.float32)
    sure = viewer.heat_of(values, "Unsure", "highest probability", confidence=True)
    assert (sure.low, sure.high, sure.foreign_is_low) == (0.0, 1.0, True)
    nothing = viewer.heat_of(np.full((2, 2), np.nan, dtype=np.float32), "", "")
    assert nothing.low < nothing.high
    flat = viewer.heat_of(np.full((2, 2), 0.7, dtype=np.float32), "", "")
    assert flat.low <= 0.7 <= flat.high and flat.low < flat.high


def test_names_reach_the_page_as_text_only() -> None:
    import pkgutil

    for name in ("viewer.js", "class_list.js", "canvas.js"):
        script = pkgutil.get_data("app", name)
        assert script is not None
        for way in (b"innerHTML", b"outerHTML", b"insertAdjacentHTML", b"document.write", b"eval("):
            assert way not in script


@pytest.mark.parametrize(
    ("value", "pixel"),
    [
        ({"key": "k", "x": 7, "y": 4}, (7, 4)),
        ({"key": "k", "x": 0, "y": 0}, (0, 0)),
        ({"key": "another picture", "x": 1, "y": 1}, None),
        ({"key": "k", "x": 8, "y": 0}, None),
        ({"key": "k", "x": -1, "y": 0}, None),
        ({"key": "k", "x": "1", "y": 0}, None),
        ({"key": "k"}, None),
        (None, None),
        ("k", None),
    ],
)
def test_clicks_outside_the_picture_in_view_are_dropped(value: object, pixel: object) -> None:
    assert viewer.clicked_pixel(value, "k", width=8, height=5) == pixel


def test_bars_escape_names_and_stay_in_their_frame() -> None:
    got = bars.bars([bars.Bar(EVIL, '"><b>', 7.0, "<1%", EVIL), bars.Bar("a", "#123456", -1, "0")])
    assert "<img" not in got and "<b>" not in got
    assert "width:100.0%" in got and "width:0.0%" in got
    assert "background:#123456" in got

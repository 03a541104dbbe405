"""Label maps on their way to the browser and clicks on their way back."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from app import bars, frames, pixels, viewer
from app.data import Sample

EVIL = "<img src=x onerror=alert(1)>"


def decode(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1])))


def test_ids_survive_the_way_through_a_png() -> None:
    mask = np.array([[-100, 0, 1, 254], [255, 256, 1283, 65534], [65535, 65536, 1_000_000, -1]])
    back = pixels.decode_ids(decode(pixels.data_url(pixels.encode_ids(mask))))
    assert back.tolist() == np.where(mask < 0, -1, mask).tolist()


def test_jpeg_or_png() -> None:
    picture = Image.new("RGBA", (4, 3), "#ff0000")
    assert pixels.data_url(picture).startswith("data:image/png;base64,")
    assert decode(pixels.data_url(picture, quality=80)).format == "JPEG"


@pytest.fixture
def sample() -> Sample:
    truth = np.full((5, 8), 1283, dtype=np.int64)
    truth[0] = -100
    prediction = truth.copy()
    prediction[0] = 7
    prediction[4] = 300
    return Sample(Image.new("RGB", (8, 5)), truth, prediction)


def test_payload_is_plain_json_with_the_classes_in_view(sample: Sample) -> None:
    table = pd.DataFrame({"name": [f"n{n}" for n in range(1284)], "color": "#123456"})
    table.loc[1283, "name"] = EVIL
    view = frames.classes_in_view(sample.truth, sample.prediction, table)
    sent = json.loads(json.dumps(viewer.payload("k", sample, view, viewer.Pixel(3, 2))))
    assert (sent["width"], sent["height"], sent["pin"]) == (8, 5, [3, 2])
    assert sent["errors"] == "25.0% of pixels"
    assert [one["id"] for one in sent["classes"]] == [1283, 300]
    assert sent["classes"][0] == {
        **{"id": 1283, "name": EVIL, "color": "#123456"},
        **{"iou": 0.75, "truth": 32, "predicted": 24},
    }


def test_names_reach_the_page_as_text_only() -> None:
    import pkgutil

    script = pkgutil.get_data("app", "viewer.js")
    assert script is not None
    for way_in in (b"innerHTML", b"outerHTML", b"insertAdjacentHTML", b"document.write", b"eval("):
        assert way_in not in script


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

"""The plotly.js that is served: the strict one, of the version that figures are made for."""

import gzip
import re

from dashboard_calls import Page
from plotly.offline import get_plotlyjs_version
from synthetic_runs import make_run

from nas.dashboard.strict_plotly import compressed_bundle


def test_the_bundle_is_strict_and_of_the_version_of_the_figures():
    text = gzip.decompress(compressed_bundle()).decode()
    assert re.search(r"plotly\.js \(strict.*\) v([\d.]+)", text[:400])[1] == get_plotlyjs_version()


def test_the_page_gets_it_in_place_of_dashs(tmp_path):
    client = Page([make_run(tmp_path, "first", trials=0)]).client
    path = "/_dash-component-suites/plotly/package_data/plotly.min.js"
    plain = client.get(path)
    small = client.get(path, headers={"Accept-Encoding": "gzip"})
    assert small.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(small.data) == plain.data == gzip.decompress(compressed_bundle())
    assert "javascript" in plain.headers["Content-Type"]
    assert "max-age" in plain.headers["Cache-Control"]
    # All else of Dash comes from Dash.
    assert client.get("/_dash-component-suites/dash/deps/nothing.js").status_code != 200

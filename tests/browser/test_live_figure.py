"""A live figure's script in a browser, with a plotly that takes its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from workbench.widgets.live_figure import LOADER

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

PLOTLY = """
window.reads = (window.reads || 0) + 1;
await window.gate;
export default () => ({
  initialize({model}) {
    model.on("change:_py2js_update", () => {
      if (model.get("_py2js_update")) model.drawn.push(model.get("_py2js_update"));
    });
  },
  render({model, el}) { el.textContent = model.drawn.join(" "); },
});
"""
# A model as anywidget hands it on, told as plotly tells: a change, then null.
PAGE = """async ([loader, plotly]) => {
  let open;
  window.gate = new Promise(resolve => open = resolve);
  const {default: make} = await import(
    URL.createObjectURL(new Blob([loader], {type: "text/javascript"})));
  const create = () => {
    const values = {_plotly: plotly}, heard = {};
    const model = {
      drawn: [],
      get: name => values[name] ?? null,
      set: (name, value) => {
        if (values[name] === value) return;
        values[name] = value;
        [...(heard[`change:${name}`] || [])].forEach(listen => listen());
      },
      on: (event, listen) => (heard[event] ||= []).push(listen),
      off: (event, listen) => { heard[event] = heard[event].filter(one => one !== listen); },
    };
    return [model, make()];
  };
  const tell = (model, change) => {
    model.set("_py2js_update", change);
    model.set("_py2js_update", null);
  };
  const [first, figure] = create(), [second, other] = create();
  const begun = Promise.resolve(figure.initialize({model: first})).then(() => "begun");
  other.initialize({model: second});
  const early = await Promise.race([begun, new Promise(r => setTimeout(r, 1000, "waits"))]);
  tell(first, "a");
  tell(first, "b");
  const el = document.createElement("div"), beside = document.createElement("div");
  const drawn = [figure.render({model: first, el}), other.render({model: second, el: beside})];
  open();
  await Promise.all(drawn);
  tell(first, "c");
  return {early, text: el.textContent, beside: beside.textContent, drawn: first.drawn,
          reads: window.reads};
}"""


def test_changes_while_plotly_is_read_are_drawn_and_it_is_read_once(browser: Browser) -> None:
    """Anywidget drops all changes of a widget that has not begun within two seconds."""
    page = browser.new_page()
    seen = page.evaluate(PAGE, [LOADER, PLOTLY])
    page.close()
    assert seen["early"] == "begun"
    assert seen["text"] == "a b"
    assert seen["drawn"] == ["a", "b", "c"]
    assert seen["beside"] == ""
    assert seen["reads"] == 1

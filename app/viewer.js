// Picture, truth, prediction, errors and unknown, side by side or one of them large; pointer,
// pin and legend are linked. Class names are data: they go in by textContent only.
const WRONG = [214, 64, 84];
const RIGHT = [62, 148, 132];
const PANELS = ["image", "truth", "prediction", "errors", "heat"];
const TITLES = { image: "Picture", truth: "Truth", prediction: "Prediction", errors: "Errors", heat: "Unknown" };
const ZOOMS = [1, 2, 4, 8];

function visible(state) {
  return PANELS.filter((panel) => !state.figures[panel].hidden);
}

function paint(state) {
  const { ids, photo, width, height, colors, heat } = state;
  const solo = state.hovered ?? state.solo;
  for (const panel of visible(state)) {
    const context = state.canvas[panel].getContext("2d");
    const out = context.createImageData(width, height);
    if (panel === "image") {
      out.data.set(photo);
      context.putImageData(out, 0, 0);
      continue;
    }
    for (let i = 0; i < width * height; i++) {
      const truth = ids.truth ? ids.truth[i] : -1;
      const given = ids.prediction[i];
      let color = GREY;
      let strength = state.opacity;
      if (panel === "errors") {
        if (truth >= 0) color = truth === given ? RIGHT : WRONG;
        if (truth >= 0 && truth === given) strength *= 0.35;
        if (solo !== null && truth !== solo && given !== solo) strength *= 0.12;
      } else if (panel === "heat") {
        const step = ids.heat[i];
        if (step >= 0) color = heat.rgb[Math.round((step / heat.steps) * (heat.rgb.length - 1))];
        if (solo !== null && truth !== solo && given !== solo) strength *= 0.12;
      } else {
        const id = ids[panel][i];
        if (id >= 0) color = colors.get(id) ?? GREY;
        if (solo !== null && id !== solo) strength *= 0.12;
      }
      for (let c = 0; c < 3; c++) {
        out.data[4 * i + c] = color[c] * strength + photo[4 * i + c] * (1 - strength);
      }
      out.data[4 * i + 3] = 255;
    }
    context.putImageData(out, 0, 0);
  }
}

function place(state, kind, point) {
  for (const panel of PANELS) {
    const mark = state.marks[panel][kind];
    mark.style.display = point ? "block" : "none";
    if (!point) continue;
    mark.style.left = `${((point[0] + 0.5) / state.width) * 100}%`;
    mark.style.top = `${((point[1] + 0.5) / state.height) * 100}%`;
  }
}

function named(state, id) {
  const box = element("span");
  const known = state.classes.get(id);
  const swatch = element("span", "swatch");
  swatch.style.background = known ? known.color : "rgb(141, 147, 156)";
  box.append(swatch, element("span", "", id < 0 ? "ignored" : known ? known.name : `class ${id}`));
  return box;
}

function say(state, point) {
  state.say.replaceChildren();
  if (!point) {
    state.say.append(element("span", "muted", "Point at a pixel to read it; click to look into it."));
    return;
  }
  const at = point[1] * state.width + point[0];
  const given = state.ids.prediction[at];
  if (state.ids.truth) {
    const truth = state.ids.truth[at];
    state.say.append(element("span", "muted", "truth"), named(state, truth));
    const verdict = truth < 0 ? "· prediction" : truth === given ? "· rightly predicted" : "· predicted";
    state.say.append(element("span", "muted", verdict), named(state, given));
  } else {
    state.say.append(element("span", "muted", "predicted"), named(state, given));
  }
  if (state.ids.heat && state.ids.heat[at] >= 0) {
    const { low, high, steps, caption } = state.heat;
    const value = low + (state.ids.heat[at] / steps) * (high - low);
    state.say.append(element("span", "muted", `· ${caption} ${value.toFixed(2)}`));
  }
}

function legend(state, list) {
  state.legend.replaceChildren();
  const all = state.width * state.height;
  const least = 0.002 * all;
  const small = list.filter((one) => one.truth === 0 && one.predicted < least);
  const hidden = new Set(small.length > 3 ? small : []);
  for (const one of list) {
    const chip = element("button", "chip");
    const swatch = element("span", "swatch");
    swatch.style.background = one.color;
    chip.append(swatch, element("span", "", one.name));
    if (one.iou === null) {
      const share = one.predicted / all;
      chip.append(element("span", "iou", share < 0.001 ? "< 0.1%" : `${(100 * share).toFixed(1)}%`));
    } else if (one.truth > 0) chip.append(element("span", "iou", one.iou.toFixed(2)));
    else chip.append(element("span", "note", "false alarm"));
    const truth = one.iou === null ? "" : `${one.truth.toLocaleString("en")} pixels in truth, `;
    chip.title = `${one.name}: ${truth}${one.predicted.toLocaleString("en")} predicted`;
    chip.onpointerenter = () => { state.hovered = one.id; paint(state); };
    chip.onpointerleave = () => { state.hovered = null; paint(state); };
    chip.onclick = () => {
      state.solo = state.solo === one.id ? null : one.id;
      for (const other of state.legend.children) other.classList.remove("solo");
      if (state.solo !== null) chip.classList.add("solo");
      paint(state);
    };
    chip.hidden = hidden.has(one);
    state.legend.append(chip);
  }
  if (hidden.size === 0) return;
  const what = state.ids.truth ? "tiny false alarms" : "tiny ones";
  const more = element("button", "chip", `+ ${hidden.size} ${what}`);
  more.onclick = () => {
    for (const chip of state.legend.children) chip.hidden = chip === more;
  };
  state.legend.append(more);
}

function choice(name, entries, choose) {
  const group = element("div", "choice");
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", name);
  for (const [value, text] of entries) {
    const button = element("button", "", text);
    button.dataset.value = value;
    button.onclick = () => choose(value);
    group.append(button);
  }
  return group;
}

function mark(group, value) {
  for (const button of group.children) {
    button.setAttribute("aria-pressed", String(button.dataset.value === String(value)));
  }
}

// Which panels stand there, and how large: "side", "large" (two a row) or "one" (a single layer).
function arrange(state) {
  const there = PANELS.filter((panel) => panel === "image" || (state.ids && state.ids[panel]));
  const layers = there.filter((panel) => panel !== "image");
  if (!layers.includes(state.layer)) state.layer = layers.includes("prediction") ? "prediction" : layers[0];
  const one = state.view === "one";
  for (const panel of PANELS) {
    state.figures[panel].hidden = one ? panel !== state.layer : !there.includes(panel);
  }
  for (const button of state.layers.children) button.hidden = !layers.includes(button.dataset.value);
  state.layers.hidden = !one;
  state.zooms.hidden = !one;
  state.panels.dataset.view = state.view;
  mark(state.views, state.view);
  mark(state.layers, state.layer);
  if (!one) state.zoom = 1;
  look(state);
  if (state.photo) paint(state);
}

function look(state) {
  mark(state.zooms, state.zoom);
  const limit = ((state.zoom - 1) / 2 / state.zoom) * 100;
  state.pan = state.pan.map((value) => Math.min(limit, Math.max(-limit, value)));
  for (const panel of PANELS) {
    const { style } = state.stages[panel];
    style.transform = state.zoom === 1 ? "" : `scale(${state.zoom}) translate(${state.pan[0]}%, ${state.pan[1]}%)`;
    style.setProperty("--unzoom", 1 / state.zoom);
  }
}

function setZoom(state, zoom) {
  if (zoom > 1 && state.zoom === 1 && state.pin) { // towards what was asked about
    state.pan = [50 - (100 * state.pin[0]) / state.width, 50 - (100 * state.pin[1]) / state.height];
  }
  if (zoom === 1) state.pan = [0, 0];
  state.zoom = zoom;
  look(state);
}

function listen(state, panel, pick) {
  const canvas = state.canvas[panel];
  let drag = null;
  canvas.onpointerdown = (event) => {
    if (event.button === 0) drag = { x: event.clientX, y: event.clientY, pan: state.pan, far: false };
  };
  canvas.onpointermove = (event) => {
    if (drag && state.zoom > 1) {
      const box = canvas.getBoundingClientRect(); // of the zoomed picture
      const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
      if (!drag.far && Math.hypot(dx, dy) > 4) {
        drag.far = true;
        canvas.setPointerCapture(event.pointerId);
      }
      if (drag.far) {
        state.pan = [drag.pan[0] + (100 * dx) / box.width, drag.pan[1] + (100 * dy) / box.height];
        look(state);
        return;
      }
    }
    const point = pixelAt(event, canvas, state);
    place(state, "hover", point);
    say(state, point);
  };
  canvas.onpointerleave = () => { place(state, "hover", null); say(state, null); };
  canvas.onpointercancel = () => { drag = null; };
  canvas.onclick = (event) => {
    const moved = drag?.far;
    drag = null;
    if (moved || !state.ids) return;
    state.pin = pixelAt(event, canvas, state);
    place(state, "pin", state.pin);
    pick(state.pin);
  };
}

function colorBar() {
  const bar = element("div", "scale");
  bar.append(element("span"), element("div", "ramp"), element("span"));
  return bar;
}

function build(root) {
  root.replaceChildren();
  const state = {
    canvas: {}, marks: {}, figures: {}, stages: {}, captions: {}, titles: {},
    opacity: null, solo: null, hovered: null, pin: null, token: 0,
    view: "side", layer: "prediction", zoom: 1, pan: [0, 0],
  };
  const bar = element("div", "bar");
  state.views = choice("Arrangement", [["side", "Side by side"], ["large", "Larger"], ["one", "One picture"]],
    (view) => { state.view = view; arrange(state); });
  state.layers = choice("What lies on the picture", PANELS.slice(1).map((panel) => [panel, TITLES[panel]]),
    (layer) => { state.layer = layer; arrange(state); });
  state.zooms = choice("Zoom", ZOOMS.map((zoom) => [zoom, `${zoom}×`]), (zoom) => setZoom(state, zoom));
  const label = element("label", "", "Opacity");
  const slider = element("input");
  Object.assign(slider, { type: "range", min: 0, max: 100, title: "How strongly the colours lie over the picture" });
  slider.setAttribute("aria-label", "Opacity of the colours over the picture");
  state.slider = slider;
  slider.oninput = () => { state.opacity = slider.value / 100; if (state.ids) paint(state); };
  label.append(slider);
  bar.append(state.views, state.layers, label, state.zooms);
  state.say = element("div", "say");
  state.panels = element("div", "panels");
  for (const panel of PANELS) {
    const figure = element("figure");
    const caption = element("figcaption");
    state.titles[panel] = element("b", "", TITLES[panel]);
    state.captions[panel] = element("span");
    caption.append(state.titles[panel], state.captions[panel]);
    const frame = element("div", "frame");
    const stage = element("div", "stage");
    state.canvas[panel] = element("canvas");
    state.marks[panel] = { hover: element("div", "mark"), pin: element("div", "mark pin") };
    stage.append(state.canvas[panel], state.marks[panel].hover, state.marks[panel].pin);
    frame.append(stage);
    figure.append(caption, frame);
    figure.dataset.panel = panel;
    if (panel === "heat") figure.append(state.scale = colorBar());
    state.figures[panel] = figure;
    state.stages[panel] = stage;
    state.panels.append(figure);
  }
  state.legend = element("div", "legend");
  root.append(bar, state.say, state.panels, state.legend);
  root.workbench = state;
  return state;
}

function adopt(state, data, [image, truth, prediction, heat]) {
  const { width, height } = data;
  const same = state.picture === data.image; // new labels on the same picture keep the view
  Object.assign(state, { key: data.key, picture: data.image, width, height, hovered: null });
  if (!same) Object.assign(state, { solo: null, zoom: 1, pan: [0, 0] });
  if (state.opacity === null) { // a photograph has detail of its own to show
    state.opacity = width > 160 ? 0.65 : 0.85;
    state.slider.value = 100 * state.opacity;
  }
  state.photo = readPixels(image, width, height);
  state.ids = { prediction: readIds(prediction, width, height) };
  if (truth) {
    state.ids.truth = readIds(truth, width, height);
    state.ids.errors = state.ids.truth;
  }
  state.heat = null;
  if (heat) {
    state.ids.heat = readIds(heat, width, height);
    state.heat = { ...data.heat, rgb: data.heat.colors.map(rgb) };
    const [low, ramp, high] = state.scale.children;
    low.textContent = data.heat.low.toFixed(2);
    high.textContent = data.heat.high.toFixed(2);
    ramp.style.background = `linear-gradient(to right, ${data.heat.colors.join(", ")})`;
    state.titles.heat.textContent = data.heat.title;
    state.captions.heat.textContent = data.heat.caption;
  }
  state.classes = new Map(data.classes.map((one) => [one.id, one]));
  state.colors = new Map(data.classes.map((one) => [one.id, rgb(one.color)]));
  state.captions.errors.textContent = data.errors ?? "";
  state.panels.style.setProperty("--panel", width > height * 1.2 ? "250px" : "190px");
  state.panels.style.setProperty("--aspect", width / height);
  if (!state.classes.has(state.solo)) state.solo = null;
}

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const root = parentElement.querySelector(".viewer");
  const state = root.workbench ?? build(root);
  const token = ++state.token;
  state.pin = data.pin;
  if (state.key === data.key) {
    place(state, "pin", data.pin);
    return;
  }
  const urls = [data.image, data.truth, data.prediction, data.heat?.values];
  Promise.all(urls.map((url) => (url ? load(url) : null))).then((images) => {
    if (token !== state.token) return; // another picture was asked for meanwhile
    adopt(state, data, images);
    for (const panel of PANELS) {
      const canvas = state.canvas[panel];
      Object.assign(canvas, { width: data.width, height: data.height });
      canvas.style.imageRendering = panel === "image" && data.width > 300 ? "auto" : "pixelated";
      listen(state, panel, ([x, y]) => setStateValue("pixel", { key: state.key, x, y }));
    }
    arrange(state);
    legend(state, data.classes);
    place(state, "hover", null);
    place(state, "pin", state.pin);
    say(state, null);
    root.dataset.ready = data.key;
  }).catch((error) => { state.say.textContent = error.message; });
}

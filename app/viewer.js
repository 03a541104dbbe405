// Picture, truth, prediction and errors side by side, pointer and legend linked.
// Class names are data: they go in by textContent only.
const GREY = [141, 147, 156];
const WRONG = [214, 64, 84];
const RIGHT = [62, 148, 132];
const PANELS = ["image", "truth", "prediction", "errors"];

function load(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("a picture cannot be read"));
    image.src = url;
  });
}

function readPixels(image, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

function readIds(image, width, height) {
  const data = readPixels(image, width, height);
  const ids = new Int32Array(width * height);
  for (let i = 0; i < ids.length; i++) {
    ids[i] = data[4 * i] + 256 * data[4 * i + 1] + 65536 * data[4 * i + 2] - 1;
  }
  return ids;
}

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

function paint(state) {
  const { ids, photo, width, height, colors } = state;
  const opacity = state.opacity;
  const solo = state.hovered ?? state.solo;
  for (const panel of ["truth", "prediction", "errors"]) {
    const canvas = state.canvas[panel];
    const context = canvas.getContext("2d");
    const out = context.createImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      const truth = ids.truth[i];
      const given = ids.prediction[i];
      let color = GREY;
      let strength = opacity;
      if (panel === "errors") {
        if (truth >= 0) color = truth === given ? RIGHT : WRONG;
        if (truth >= 0 && truth === given) strength *= 0.35;
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

function paintPhoto(state) {
  const context = state.canvas.image.getContext("2d");
  const out = context.createImageData(state.width, state.height);
  out.data.set(state.photo);
  context.putImageData(out, 0, 0);
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
    state.say.append(element("span", "muted", "Point at a pixel to read it; click to pin it."));
    return;
  }
  const at = point[1] * state.width + point[0];
  const truth = state.ids.truth[at];
  const given = state.ids.prediction[at];
  state.say.append(element("span", "muted", "truth"), named(state, truth));
  const verdict = truth < 0 ? "· prediction" : truth === given ? "· rightly predicted" : "· predicted";
  state.say.append(element("span", "muted", verdict), named(state, given));
}

function pixelAt(event, canvas, state) {
  const box = canvas.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * state.width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * state.height);
  return [Math.min(Math.max(x, 0), state.width - 1), Math.min(Math.max(y, 0), state.height - 1)];
}

function legend(state, list) {
  state.legend.replaceChildren();
  const least = 0.002 * state.width * state.height;
  const small = list.filter((one) => one.truth === 0 && one.predicted < least);
  const hidden = new Set(small.length > 3 ? small : []);
  for (const one of list) {
    const chip = element("button", "chip");
    chip.type = "button";
    const swatch = element("span", "swatch");
    swatch.style.background = one.color;
    chip.append(swatch, element("span", "", one.name));
    if (one.truth > 0) chip.append(element("span", "iou", one.iou.toFixed(2)));
    else chip.append(element("span", "note", "false alarm"));
    chip.title = `${one.name}: ${one.truth} pixels in truth, ${one.predicted} predicted`;
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
  const more = element("button", "chip", `+ ${hidden.size} tiny false alarms`);
  more.type = "button";
  more.onclick = () => {
    for (const chip of state.legend.children) chip.hidden = chip === more;
  };
  state.legend.append(more);
}

function build(root) {
  root.replaceChildren();
  const state = { canvas: {}, marks: {}, opacity: null, solo: null, hovered: null, token: 0 };
  const bar = element("div", "bar");
  const label = element("label", "", "Colour over picture");
  const slider = element("input");
  Object.assign(slider, { type: "range", min: 0, max: 100 });
  state.slider = slider;
  slider.oninput = () => { state.opacity = slider.value / 100; if (state.ids) paint(state); };
  label.append(slider);
  state.say = element("div", "say");
  const panels = element("div", "panels");
  const size = element("button", "chip", "Larger");
  size.type = "button";
  size.onclick = () => { size.textContent = panels.classList.toggle("large") ? "Smaller" : "Larger"; };
  bar.append(label, size, state.say);
  state.captions = {};
  for (const [panel, title] of [["image", "Picture"], ["truth", "Truth"], ["prediction", "Prediction"], ["errors", "Errors"]]) {
    const figure = element("figure");
    const caption = element("figcaption", "", title);
    state.captions[panel] = element("span");
    caption.append(state.captions[panel]);
    const frame = element("div", "frame");
    state.canvas[panel] = element("canvas");
    state.marks[panel] = { hover: element("div", "mark"), pin: element("div", "mark pin") };
    frame.append(state.canvas[panel], state.marks[panel].hover, state.marks[panel].pin);
    figure.append(caption, frame);
    panels.append(figure);
  }
  state.panels = panels;
  state.legend = element("div", "legend");
  root.append(bar, panels, state.legend);
  root.workbench = state;
  return state;
}

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const root = parentElement.querySelector(".viewer");
  const state = root.workbench ?? build(root);
  const token = ++state.token;
  if (state.key === data.key) {
    place(state, "pin", data.pin);
    return;
  }
  Promise.all([load(data.image), load(data.truth), load(data.prediction)]).then(([image, truth, prediction]) => {
    if (token !== state.token) return; // another picture was asked for meanwhile
    const { width, height } = data;
    Object.assign(state, { key: data.key, width, height, solo: null, hovered: null });
    if (state.opacity === null) { // a photograph has detail of its own to show
      state.opacity = width > 160 ? 0.65 : 0.85;
      state.slider.value = 100 * state.opacity;
    }
    state.photo = readPixels(image, width, height);
    state.ids = { truth: readIds(truth, width, height), prediction: readIds(prediction, width, height) };
    state.classes = new Map(data.classes.map((one) => [one.id, one]));
    state.colors = new Map(data.classes.map((one) => [one.id, rgb(one.color)]));
    state.captions.errors.textContent = data.errors;
    state.panels.style.setProperty("--panel", width > height * 1.2 ? "260px" : "200px");
    for (const panel of PANELS) {
      const canvas = state.canvas[panel];
      canvas.width = width;
      canvas.height = height;
      canvas.style.imageRendering = panel === "image" && width > 300 ? "auto" : "pixelated";
      canvas.onpointermove = (event) => {
        const point = pixelAt(event, canvas, state);
        place(state, "hover", point);
        say(state, point);
      };
      canvas.onpointerleave = () => { place(state, "hover", null); say(state, null); };
      canvas.onclick = (event) => {
        const point = pixelAt(event, canvas, state);
        place(state, "pin", point);
        setStateValue("pixel", { key: state.key, x: point[0], y: point[1] });
      };
    }
    paintPhoto(state);
    paint(state);
    legend(state, data.classes);
    place(state, "hover", null);
    place(state, "pin", data.pin);
    say(state, null);
    root.dataset.ready = data.key;
  }).catch((error) => { state.say.textContent = error.message; });
}

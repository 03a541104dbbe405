// A picture whose pixels are marked by clicks and boxes, what the old and the new classes make
// of it, and a strip of pictures to go on with. Class names go in by textContent only.
const PANELS = ["image", "before", "after", "changed"];
const STRENGTH = 0.75;

function paint(state) {
  const { width, height, photo } = state;
  for (const panel of PANELS) {
    const ids = state.ids[panel];
    state.figures[panel].hidden = panel !== "image" && !ids;
    if (panel !== "image" && !ids) continue;
    const canvas = state.canvas[panel];
    const context = canvas.getContext("2d");
    const out = context.createImageData(width, height);
    const colors = panel === "before" ? state.colors.before : state.colors.after;
    for (let i = 0; i < width * height; i++) {
      let color = GREY;
      let strength = panel === "image" ? 0 : STRENGTH;
      if (ids) {
        const id = ids[i];
        if (id >= 0) color = colors.get(id) ?? GREY;
        if (panel === "changed" && id < 0) strength = 0.6;
        if (panel === "changed" && id >= 0) strength = 0.9;
        if (panel === "after" && state.solo !== null && id !== state.solo) strength *= 0.12;
      }
      for (let c = 0; c < 3; c++) {
        out.data[4 * i + c] = color[c] * strength + photo[4 * i + c] * (1 - strength);
      }
      out.data[4 * i + 3] = 255;
    }
    context.putImageData(out, 0, 0);
  }
}

function named(known, id) {
  const box = element("span");
  const one = known.get(id);
  const swatch = element("span", "swatch");
  swatch.style.background = one ? one.color : "rgb(141, 147, 156)";
  box.append(swatch, element("span", "", one ? one.name : `class ${id}`));
  return box;
}

function say(state, point) {
  const hint = state.marking
    ? "Click pixels of the new class or drag a box round some; click a mark to take it away."
    : "Point at a pixel to read it.";
  if (!point) {
    state.say.replaceChildren(element("span", "muted", hint));
    return;
  }
  const at = point[1] * state.width + point[0];
  const words = [];
  if (state.ids.before) {
    words.push(element("span", "muted", "before"), named(state.classes.before, state.ids.before[at]));
    words.push(element("span", "muted", "· after"));
  } else {
    words.push(element("span", "muted", `pixel ${point[0]}, ${point[1]} · predicted`));
  }
  if (state.ids.after) words.push(named(state.classes.after, state.ids.after[at]));
  state.say.replaceChildren(...words);
}

function corners(mark) {
  return mark.length === 2 ? [...mark, ...mark] : mark;
}

function drawMarks(state, drawn) {
  for (const panel of PANELS) {
    const frame = state.frames[panel];
    for (const old of frame.querySelectorAll(".mark")) old.remove();
    for (const mark of drawn ? [...state.marks, drawn] : state.marks) {
      const [x0, y0, x1, y1] = corners(mark);
      const box = element("div", mark.length === 2 ? "mark point" : "mark");
      if (mark === drawn) box.classList.add("drawn");
      box.style.left = `${((x0 + x1 + 1) / 2 / state.width) * 100}%`;
      box.style.top = `${((y0 + y1 + 1) / 2 / state.height) * 100}%`;
      if (mark.length === 4) {
        box.style.width = `${((x1 - x0 + 1) / state.width) * 100}%`;
        box.style.height = `${((y1 - y0 + 1) / state.height) * 100}%`;
      }
      frame.append(box);
    }
  }
}

function hover(state, point) {
  for (const panel of PANELS) {
    const ring = state.rings[panel];
    ring.style.display = point ? "block" : "none";
    if (!point) continue;
    ring.style.left = `${((point[0] + 0.5) / state.width) * 100}%`;
    ring.style.top = `${((point[1] + 0.5) / state.height) * 100}%`;
  }
  say(state, point);
}

function hit(state, [x, y], reach) {
  const near = state.marks.findIndex(
    (mark) => mark.length === 2 && Math.hypot(mark[0] - x, mark[1] - y) <= reach,
  );
  if (near >= 0) return near;
  return state.marks.findLastIndex(
    (mark) => mark.length === 4 && mark[0] <= x && x <= mark[2] && mark[1] <= y && y <= mark[3],
  );
}

function listen(state, canvas) {
  let start = null;
  const boxOf = (a, b) => [
    Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1]),
  ];
  const add = (mark) => {
    if (state.marks.length < state.mostMarks) state.marks = [...state.marks, mark];
    else state.say.textContent = `No more than ${state.mostMarks} marks in a picture: click one to take it out.`;
  };
  const far = (event) => Math.hypot(event.clientX - start.x, event.clientY - start.y) > 5;
  canvas.onpointerdown = (event) => {
    if (!state.marking || event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    start = { x: event.clientX, y: event.clientY, pixel: pixelAt(event, canvas, state) };
  };
  canvas.onpointermove = (event) => {
    const point = pixelAt(event, canvas, state);
    hover(state, point);
    if (start && far(event)) drawMarks(state, boxOf(start.pixel, point));
  };
  canvas.onpointerleave = () => hover(state, null);
  canvas.onpointercancel = () => { start = null; drawMarks(state); };
  canvas.onpointerup = (event) => {
    if (!start) return;
    const point = pixelAt(event, canvas, state);
    if (far(event)) {
      add(boxOf(start.pixel, point));
    } else {
      const reach = Math.max(1, (6 / canvas.getBoundingClientRect().width) * state.width);
      const old = hit(state, point, reach);
      if (old >= 0) state.marks = state.marks.filter((_, at) => at !== old);
      else add(point);
    }
    start = null;
    drawMarks(state);
    state.send("marks", { picture: state.picture, marks: state.marks });
  };
}

function legend(state, list) {
  state.legend.replaceChildren();
  state.solo = null;
  const shown = list.filter((one, at) => at < 8 || (at < 16 && one.share >= 0.002));
  for (const one of shown) {
    const chip = element("button", "chip");
    const swatch = element("span", "swatch");
    swatch.style.background = one.color;
    const share = one.share >= 0.0005 ? `${(100 * one.share).toFixed(1)}%` : "< 0.1%";
    chip.append(swatch, element("span", "", one.name), element("span", "muted", share));
    chip.title = one.name;
    chip.onclick = () => {
      const own = state.solo !== one.id;
      for (const other of state.legend.children) other.classList.remove("solo");
      state.solo = own ? one.id : null;
      chip.classList.toggle("solo", own);
      paint(state);
    };
    state.legend.append(chip);
  }
  const rest = list.length - shown.length;
  if (rest) state.legend.append(element("span", "rest muted", `+ ${rest} on few pixels`));
}

function showStrip(state, data) {
  const { strip } = data;
  state.thumbs.style.setProperty("--count", Math.max(1, strip.size));
  state.thumbs.replaceChildren(...strip.pictures.map((one) => {
    const thumb = element("button", one.id === data.picture ? "thumb chosen" : "thumb");
    thumb.title = one.id;
    thumb.setAttribute("aria-label", `picture ${one.id}`);
    const image = element("img");
    image.alt = "";
    if (one.url) image.src = one.url;
    thumb.append(image);
    if (one.marks) thumb.append(element("b", "", String(one.marks)));
    thumb.onclick = () => state.trigger("picture", one.id);
    return thumb;
  }));
  const [first, last] = [strip.start + 1, strip.start + strip.pictures.length];
  state.where.textContent = strip.total
    ? `Pictures ${first.toLocaleString("en")} to ${last.toLocaleString("en")} of ` +
      `${strip.total.toLocaleString("en")}; in view: ${data.picture}`
    : `No picture is found; in view: ${data.picture}`;
  state.back.disabled = strip.start === 0;
  state.forth.disabled = last >= strip.total;
  state.back.onclick = () => state.trigger("turn", strip.start - strip.size);
  state.forth.onclick = () => state.trigger("turn", strip.start + strip.size);
}

function build(root) {
  root.replaceChildren();
  const state = { canvas: {}, rings: {}, frames: {}, figures: {}, captions: {}, titles: {}, token: 0 };
  state.say = element("div", "say");
  const panels = element("div", "panels");
  for (const panel of PANELS) {
    const figure = element("figure");
    const caption = element("figcaption");
    state.titles[panel] = element("b");
    state.captions[panel] = element("span");
    caption.append(state.titles[panel], state.captions[panel]);
    const frame = element("div", "frame");
    state.canvas[panel] = element("canvas");
    state.rings[panel] = element("div", "hover");
    frame.append(state.canvas[panel], state.rings[panel]);
    figure.append(caption, frame);
    panels.append(figure);
    Object.assign(state.frames, { [panel]: frame });
    Object.assign(state.figures, { [panel]: figure });
    listen(state, state.canvas[panel]);
  }
  state.legend = element("div", "legend");
  const strip = element("div", "strip");
  state.back = element("button", "turn", "‹");
  state.forth = element("button", "turn", "›");
  state.back.setAttribute("aria-label", "earlier pictures");
  state.forth.setAttribute("aria-label", "later pictures");
  state.thumbs = element("div", "thumbs");
  strip.append(state.back, state.thumbs, state.forth);
  state.where = element("div", "where muted");
  root.append(strip, state.where, state.say, panels, state.legend);
  root.workbench = state;
  return state;
}

export default function (component) {
  const { data, parentElement, setStateValue, setTriggerValue } = component;
  const root = parentElement.querySelector(".picker");
  const state = root.workbench ?? build(root);
  const token = ++state.token;
  state.send = setStateValue;
  state.trigger = setTriggerValue;
  state.marking = data.marking;
  state.mostMarks = data.mostMarks;
  for (const panel of PANELS) state.frames[panel].classList.toggle("marking", data.marking);
  showStrip(state, data);
  const adopt = () => {
    // What is marked here may be ahead of the server: it is taken over only when it changed there.
    const version = `${data.picture}|${data.marksVersion}`;
    if (state.marksVersion !== version) Object.assign(state, { marksVersion: version, marks: data.marks });
    drawMarks(state);
  };
  if (state.key === data.key) {
    adopt();
    say(state, null);
    return;
  }
  const urls = PANELS.map((panel) => data.pictures[panel]).map((url) => (url ? load(url) : null));
  Promise.all(urls).then((images) => {
    if (token !== state.token) return; // something newer was asked for meanwhile
    const { width, height } = data;
    Object.assign(state, { key: data.key, picture: data.picture, width, height });
    state.photo = readPixels(images[0], width, height);
    state.ids = {};
    PANELS.slice(1).forEach((panel, at) => {
      if (images[at + 1]) state.ids[panel] = readIds(images[at + 1], width, height);
    });
    state.classes = {};
    state.colors = {};
    for (const when of ["before", "after"]) {
      state.classes[when] = new Map(data.classes[when].map((one) => [one.id, one]));
      state.colors[when] = new Map(data.classes[when].map((one) => [one.id, rgb(one.color)]));
    }
    for (const panel of PANELS) {
      Object.assign(state.canvas[panel], { width, height });
      const smooth = panel === "image" && width > 300;
      state.canvas[panel].style.imageRendering = smooth ? "auto" : "pixelated";
      state.titles[panel].textContent = data.titles[panel] ?? "";
      state.captions[panel].textContent = data.captions[panel] ?? "";
    }
    legend(state, data.classes.after);
    paint(state);
    adopt();
    hover(state, null);
    root.dataset.ready = data.key;
  }).catch((error) => { state.say.textContent = error.message; });
}

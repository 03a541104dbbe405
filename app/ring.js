// Rings one class in the charts of the page. To draw a chart anew takes longer than all else that
// a click asks for, so the browser marks the point that is there, and marks it again whenever a
// chart has been drawn or zoomed.
const RING = "wb-ring";
const POINTS = ".js-plotly-plot .scatterlayer > .trace";

let current = null;

function classOf(ids, point) {
  const own = ids[point.__data__?.i];
  return own?.length === 1 ? own[0] : undefined; // other charts keep other things there
}

function mark(main, classId) {
  const wanted = new Set();
  for (const trace of classId === null ? [] : main.querySelectorAll(POINTS)) {
    const ids = trace.__data__?.[0]?.trace?.customdata;
    if (!ids) continue; // a helper trace
    for (const point of trace.querySelectorAll("path.point")) {
      if (classOf(ids, point) === classId) wanted.add(point);
    }
  }
  for (const point of main.querySelectorAll(`.${RING}`)) {
    if (!wanted.has(point)) point.classList.remove(RING);
  }
  for (const point of wanted) {
    if (!point.classList.contains(RING)) point.classList.add(RING);
  }
}

export default function (component) {
  const main = document.querySelector('[data-testid="stMain"]');
  const classId = component.data.class_id;
  let frame = 0;
  const own = new MutationObserver(() => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => { if (current === own) mark(main, classId); });
  });
  current?.disconnect();
  current = own;
  own.observe(main, { childList: true, subtree: true });
  mark(main, classId);
  return () => {
    own.disconnect();
    cancelAnimationFrame(frame);
    if (current === own) mark(main, null);
  };
}

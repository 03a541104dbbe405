// What components that draw pictures share; put before their own script.
const GREY = [141, 147, 156];

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
  if (tag === "button") node.type = "button";
  return node;
}

function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

// The pixel under the pointer, as [column, row].
function pixelAt(event, canvas, state) {
  const box = canvas.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * state.width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * state.height);
  return [Math.min(Math.max(x, 0), state.width - 1), Math.min(Math.max(y, 0), state.height - 1)];
}

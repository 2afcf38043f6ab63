// From a picture to the numbers a model takes. What is drawn on a canvas comes in, arrays go out.

/** How a picture becomes numbers, where nothing is remembered. */
export const DEFAULTS = {
  fit: "crop", grey: false, invert: "auto", scale: "unit", top: 16, bgr: false, centre: true,
  width: 224, height: 224, range: null,
};

export const SCALES = [
  ["unit", "0 to 1"],
  ["signed", "−1 to 1"],
  ["raw", "0 to 255"],
  ["top", "0 to …"],
  ["imagenet", "ImageNet mean and deviation"],
  ["caffe", "ImageNet mean only (VGG, ResNet)"],
];

const MEAN = [0.485, 0.456, 0.406];
const DEVIATION = [0.229, 0.224, 0.225];
const CAFFE_MEAN = [123.68, 116.779, 103.939];
const WORKING_SIDE = 2048; // larger pictures are first made smaller by the browser, which is fast

/** A canvas of a size. */
export function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/** Draws a picture onto a canvas, no larger than there is any use for. */
export function toCanvas(picture, width, height) {
  const shrink = Math.min(1, WORKING_SIDE / Math.max(width, height));
  const canvas = canvasOf(Math.max(1, Math.round(width * shrink)), Math.max(1, Math.round(height * shrink)));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  putGround(canvas, context);
  return canvas;
}

/** What is transparent becomes black, or white behind dark marks, which could not be seen else. */
function putGround(canvas, context) {
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  let [clear, opaque, luma] = [0, 0, 0];
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] < 128) clear += 1;
    else {
      opaque += 1;
      luma += data[i] + data[i + 1] + data[i + 2];
    }
  }
  if (clear < opaque / 20 || luma / 3 >= 128 * opaque) return;
  context.globalCompositeOperation = "destination-over";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "source-over";
}

/**
 * The part of the source that is used, and where it comes to lie.
 * @returns {{sx, sy, sw, sh, dx, dy, dw, dh}} in pixels of the source and of the target.
 */
export function placement(fit, sw, sh, dw, dh) {
  if (fit === "stretch") return { sx: 0, sy: 0, sw, sh, dx: 0, dy: 0, dw, dh };
  if (fit === "crop") {
    const scale = Math.max(dw / sw, dh / sh);
    const w = dw / scale;
    const h = dh / scale;
    return { sx: (sw - w) / 2, sy: (sh - h) / 2, sw: w, sh: h, dx: 0, dy: 0, dw, dh };
  }
  const scale = Math.min(dw / sw, dh / sh);
  const w = Math.max(1, Math.round(sw * scale));
  const h = Math.max(1, Math.round(sh * scale));
  const dx = Math.floor((dw - w) / 2);
  const dy = Math.floor((dh - h) / 2);
  return { sx: 0, sy: 0, sw, sh, dx, dy, dw: w, dh: h };
}

/**
 * Resizes by averaging areas: the same numbers in every browser, and no pixel of a thin line lost.
 * @returns {Uint8ClampedArray} RGBA of width × height; what is outside the picture is black.
 */
export function resized(canvas, width, height, fit) {
  const place = placement(fit, canvas.width, canvas.height, width, height);
  const source = canvas.getContext("2d", { willReadFrequently: true });
  const data = source.getImageData(0, 0, canvas.width, canvas.height);
  const target = new Uint8ClampedArray(width * height * 4);
  for (let i = 3; i < target.length; i += 4) target[i] = 255;
  const columns = weights(place.sx, place.sw, place.dw, canvas.width);
  const rows = weights(place.sy, place.sh, place.dh, canvas.height);
  for (let y = 0; y < place.dh; y += 1) {
    for (let x = 0; x < place.dw; x += 1) {
      const at = ((place.dy + y) * width + place.dx + x) * 4;
      average(data, rows[y], columns[x], target, at);
    }
  }
  return target;
}

/** For each target pixel the source pixels under it, as [first, weights]. */
function weights(start, length, count, limit) {
  const step = length / count;
  return Array.from({ length: count }, (_, i) => {
    const from = start + i * step;
    const to = from + step;
    // Made larger, a pixel takes the one under its middle.
    if (step < 1) return [Math.min(limit - 1, Math.floor((from + to) / 2)), [1]];
    const first = Math.max(0, Math.floor(from));
    const last = Math.min(limit, Math.ceil(to - 1e-9));
    const parts = [];
    for (let at = first; at < last; at += 1) {
      parts.push(Math.min(to, at + 1) - Math.max(from, at));
    }
    return [first, parts];
  });
}

function average(data, [top, heights], [left, widths], target, at) {
  let red = 0;
  let green = 0;
  let blue = 0;
  let total = 0;
  heights.forEach((height, row) => {
    let from = ((top + row) * data.width + left) * 4;
    for (const width of widths) {
      const alpha = data.data[from + 3] / 255; // what is transparent is black
      const weight = height * width;
      red += data.data[from] * alpha * weight;
      green += data.data[from + 1] * alpha * weight;
      blue += data.data[from + 2] * alpha * weight;
      total += weight;
      from += 4;
    }
  });
  target[at] = red / total;
  target[at + 1] = green / total;
  target[at + 2] = blue / total;
}

/** The square around what is drawn on black, with room on every side as in MNIST; or all of it. */
export function centred(canvas) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const { data, width, height } = context.getImageData(0, 0, canvas.width, canvas.height);
  let [left, right, top, bottom] = [width, -1, height, -1];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (data[(y * width + x) * 4] > 40) {
        left = Math.min(left, x);
        right = Math.max(right, x);
        top = Math.min(top, y);
        bottom = Math.max(bottom, y);
      }
    }
  }
  if (right < 0) return canvas;
  const side = Math.ceil(Math.max(right - left, bottom - top) * 1.3) + 1;
  const square = canvasOf(side, side);
  const target = square.getContext("2d", { willReadFrequently: true });
  target.fillStyle = "#000";
  target.fillRect(0, 0, side, side);
  target.drawImage(
    canvas, left, top, right - left + 1, bottom - top + 1,
    (side - (right - left)) / 2, (side - (bottom - top)) / 2, right - left + 1, bottom - top + 1,
  );
  return square;
}

/** Makes pixels grey or inverts them, as the settings say; changes them in place. */
export function toned(pixels, { grey, invert }, channels) {
  const isGrey = grey || channels === 1;
  for (let i = 0; i < pixels.length; i += 4) {
    if (isGrey) {
      const luma = 0.299 * pixels[i] + 0.587 * pixels[i + 1] + 0.114 * pixels[i + 2];
      pixels[i] = pixels[i + 1] = pixels[i + 2] = luma;
    }
    if (invert) for (let c = 0; c < 3; c += 1) pixels[i + c] = 255 - pixels[i + c];
  }
  return pixels;
}

/** What a value from 0 to 255 of colour `channel` (red is 0) becomes. */
export function scaled(value, channel, { scale, top, range }) {
  if (scale === "said") return range[0] + (value / 255) * (range[1] - range[0]);
  if (scale === "unit") return value / 255;
  if (scale === "signed") return value / 127.5 - 1;
  if (scale === "top") return (value / 255) * top;
  if (scale === "imagenet") return (value / 255 - MEAN[channel]) / DEVIATION[channel];
  if (scale === "caffe") return value - CAFFE_MEAN[channel];
  return value;
}

/**
 * Pixels as the nested array that a layout wants.
 * @param pixels RGBA of width × height.
 * @param layout see `pictureLayout`.
 * @param isWhole whether the tensor takes integers only.
 */
export function tensorOf(pixels, width, height, layout, settings, isWhole) {
  const { channels, order } = layout;
  const value = (y, x, c) => {
    const from = c === 3 ? 3 : settings.bgr && channels >= 3 ? 2 - c : c;
    const raw = pixels[(y * width + x) * 4 + from];
    const number = from === 3 ? scaled(raw, 0, { scale: "unit" }) : scaled(raw, from, settings);
    return isWhole ? Math.round(number) : Number(number.toPrecision(6));
  };
  const each = (count, of) => Array.from({ length: count }, (_, i) => of(i));
  const colours = (y, x) => each(channels, (c) => value(y, x, c));
  if (order === "chw") {
    return each(channels, (c) => each(height, (y) => each(width, (x) => value(y, x, c))));
  }
  if (order === "hwc") return each(height, (y) => each(width, (x) => colours(y, x)));
  const grid = each(height, (y) => each(width, (x) => (channels === 1 ? value(y, x, 0) : colours(y, x))));
  return order === "flat" ? grid.flat(2) : grid;
}

/**
 * The pixels that gave a tensor: `tensorOf` backwards, as far as there is a way back.
 * @param tensor one row, as the model takes it.
 */
export function pixelsOf(tensor, width, height, layout, settings) {
  const { channels, order } = layout;
  const flat = [tensor].flat(Infinity).map(Number);
  if (flat.length !== width * height * channels) return null;
  const [black, white] = endsOf(settings, flat);
  const pixels = new Uint8ClampedArray(width * height * 4);
  for (let at = 0; at < width * height; at += 1) {
    for (let c = 0; c < 3; c += 1) {
      const colour = channels === 1 ? 0 : settings.bgr ? 2 - c : c;
      const from = order === "chw" ? colour * width * height + at : at * channels + colour;
      pixels[4 * at + c] = ((flat[from] - black) / (white - black)) * 255;
    }
    pixels[4 * at + 3] = 255;
  }
  return pixels;
}

function endsOf({ scale, top, range }, flat) {
  if (scale === "said") return range;
  const known = { unit: [0, 1], signed: [-1, 1], raw: [0, 255], top: [0, top] }[scale];
  if (known) return known;
  const least = flat.reduce((a, b) => Math.min(a, b), Infinity);
  const most = flat.reduce((a, b) => Math.max(a, b), -Infinity);
  return [least, most > least ? most : least + 1];
}

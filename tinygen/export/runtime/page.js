// The page: what people see of the generator, and what they can change.

let language = /^zh/i.test(navigator.language) ? 1 : 0;
const say = (key, values = {}) =>
  TEXT[key][language].replace(/\{(\w+)\}/g, (_, name) => values[name]);
const $ = (id) => document.getElementById(id);
const all = (selector) => document.querySelectorAll(selector);
const make = (tag, values = {}) => Object.assign(document.createElement(tag), values);

// What a part of the file holds; null where it is damaged.
function whole(read) {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof DamagedError)) throw error; // of a browser that lacks something
    wrong = [error.message];
    return null;
  }
}

// ---- what is shown -----------------------------------------------------------------------------

let wrong = []; // why the file is damaged
const model = whole(() => described($("model").textContent, $("model").dataset.sha256)) ?? {
  about: { title: "tinygen", model: "" }, image: [1, 1, 1], parts: {}, classes: [], order: [0, 0],
  samples: 0, start: 0, smooth: true, entries: true,
};
const turning = model.film;
const CELLS = model.entries ? 9 : 0; // along a side of the map
const WALKS = "#code-card,#map-card,.walks" + // what goes from code to code
  (turning || model.smooth ? "" : ",#play,#samples-card .hint");
const SAMPLES = model.samples; // small pictures
const [height, width, channels] = model.image;
const reach = model.prior === "normal" ? 3 : 1; // the map and the sliders go from -reach to reach
const encodes = "encode" in model.parts;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const net = wrong.length ? null : whole(() => generator(model, $("weights").textContent));
let tested = !turning; // a film is its own test
if (net && tested) wrong = net.selfTest();
globalThis.tinygen = net; // to try in the console: tinygen.generate({ seed: 1 })

const state = {
  seed: 0n, number: 0, label: model.classes.length ? 0 : undefined, truncation: 1,
  code: null, // the one shown, before truncation
  spread: null, // standard deviation of each entry, of a drawing's code
  origin: "sample", // or "between", "moved", "drawn"
  axes: [model.order[0], model.order[1] ?? model.order[0]], first: 0, // of the sliders
  settings: {}, time: 1,
  walk: null, // where the animation comes from, and since when
};
let samples; // codes of the seed

// The pictures that are out of date. The large one is drawn at once, small ones as time allows.
const left = { code: false, picture: true, samples: SAMPLES, cells: CELLS ** 2 };
let waiting = false;
let milliseconds = Infinity; // for a picture, at best

function changed(what) {
  Object.assign(left, what);
  if (!waiting) requestAnimationFrame(frame);
  waiting = true;
}

function frame(now) {
  waiting = false;
  if (state.walk) walk(now);
  if (left.code) read();
  if (left.picture) {
    const image = picture(state.code);
    show($("picture"), image);
    show($("echo"), image);
    left.picture = false;
    showCode();
  }
  const end = performance.now() + 8;
  while (left.samples + left.cells && performance.now() < end) small();
  if (turning) mark();
  if (left.samples + left.cells || state.walk) changed({});
  else tell();
}

function picture(code) {
  if (turning) return filmed(code);
  const begin = performance.now();
  const image = net.decode(code.map((z) => z * state.truncation), state.label, state.settings);
  milliseconds = Math.min(milliseconds, performance.now() - begin);
  return image;
}

function show(canvas, { width: w, height: h, data }, x = 0, y = 0) {
  canvas.getContext("2d").putImageData(new ImageData(data, w, h), x, y);
}

function small() {
  if (left.samples) {
    const i = SAMPLES - left.samples--;
    show($("samples").children[i].lastChild, picture(samples[i]));
    return;
  }
  const i = (left.cells-- * 37) % CELLS ** 2; // all over the map, not row by row
  const [row, column] = [Math.floor(i / CELLS), i % CELLS];
  const code = at((column + 0.5) / CELLS, 1 - (row + 0.5) / CELLS);
  show($("cells"), picture(code), column * width, row * height);
}

// The code shown, moved to a place on the map; right and up are 1.
function at(right, up) {
  const code = state.code.slice();
  code[state.axes[1]] = (2 * up - 1) * reach;
  code[state.axes[0]] = (2 * right - 1) * reach;
  return code;
}

const place = (axis) => Math.min(Math.max(state.code[axis] / reach / 2 + 0.5, 0), 1);
const signed = (z) => z.toFixed(2).replace("-", "−");

function showCode() {
  const [x, y] = state.axes;
  $("marker").style.left = `${100 * place(x)}%`;
  $("marker").style.top = `${100 - 100 * place(y)}%`;
  const where = `z ${x} = ${signed(state.code[x])}, z ${y} = ${signed(state.code[y])}`;
  $("place").textContent = where;
  $("map").setAttribute("aria-label", say("mapLabel", { place: where }));
  for (const row of $("sliders").children) {
    const [, slider, output] = row.children;
    const k = Number(slider.dataset.entry);
    slider.value = state.code[k];
    track(slider, 0.5, place(k));
    const spread = state.spread ? ` ± ${state.spread[k].toFixed(2)}` : "";
    output.textContent = signed(state.code[k]) + spread;
  }
  const { origin, seed, number, label } = state;
  let text = say(state.time < 1 ? "onTheWay" : origin, { seed, number: number + 1 });
  if (label !== undefined) text = say("labelled", { text, label: model.classes[label] });
  if ($("status").textContent !== text) $("status").textContent = text; // is read aloud
  $("picture").setAttribute("aria-label", say("synthetic", { text }));
  $("samples").children[number].firstChild.checked = origin === "sample" || origin === "between";
}

function track(slider, zero, value) {
  slider.style.setProperty("--from", `${100 * Math.min(zero, value)}%`);
  slider.style.setProperty("--to", `${100 * Math.max(zero, value)}%`);
}

// ---- what can be changed -----------------------------------------------------------------------

function setSeed(seed, number = 0) {
  samples = net.codes(SAMPLES, seed);
  state.seed = seed;
  if (turning) remake();
  $("previous").disabled = seed === 0n;
  $("next").disabled = seed === 2n ** 64n - 1n;
  call();
  changed({ samples: SAMPLES });
  choose(number);
  if (turning) assign();
}

function choose(number) {
  state.number = number;
  if (state.walk && !turning) state.walk = { code: samples[number], since: performance.now() };
  set(samples[number], "sample");
}

// Show another code; `cells` is 0 where it differs only along the axes of the map.
function set(code, origin, cells = CELLS ** 2) {
  Object.assign(state, { code, origin, spread: null });
  changed({ picture: true, cells: Math.max(cells, left.cells) });
}

function move(right, up) {
  stop();
  set(at(Math.min(Math.max(right, 0), 1), Math.min(Math.max(up, 0), 1)), "moved", 0);
}

function redraw() {
  if (turning) {
    remake();
    assign();
  }
  changed({ picture: true, samples: SAMPLES, cells: CELLS ** 2, code: state.origin === "drawn" });
}

// A point between two codes: along a great circle for codes of the normal distribution, so that it
// is as long as they are; straight for uniform ones.
function between(a, b, t) {
  const dot = (u, v) => u.reduce((sum, x, i) => sum + x * v[i], 0);
  const angle = Math.acos(Math.min(Math.max(dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)), -1), 1));
  const round = model.prior === "normal" && Math.sin(angle) > 1e-6;
  const [p, q] = round ? [1 - t, t].map((s) => Math.sin(s * angle) / Math.sin(angle)) : [1 - t, t];
  return a.map((x, i) => p * x + q * b[i]);
}

function walk(now) {
  let t = Math.max(now - state.walk.since, 0) / 2000;
  if (turning) return playFilm(now, t);
  if (t >= 1) {
    state.number = (state.number + 1) % SAMPLES;
    state.walk = { code: samples[state.number], since: now };
    t = 0;
  }
  t = calm.matches ? Math.floor(4 * t) / 4 : t * t * (3 - 2 * t); // a few still pictures, or gently
  set(between(state.walk.code, samples[(state.number + 1) % SAMPLES], t), "between");
}

function stop(start = false) {
  state.walk = start ? { code: state.code, since: performance.now() } : null;
  $("play").textContent = say(start ? "pause" : "play");
  changed({});
}

function pages() {
  const shown = model.order.slice(state.first, state.first + 10);
  $("sliders").replaceChildren(...shown.map((k) => {
    const row = make("div", { className: "slider" });
    const slider = make("input", { type: "range", id: `z${k}` });
    Object.assign(slider, { min: -reach, max: reach, step: reach / 100 });
    slider.dataset.entry = k;
    slider.oninput = () => {
      stop();
      const code = state.code.slice();
      code[k] = Number(slider.value);
      set(code, "moved", state.axes.includes(k) ? 0 : CELLS ** 2);
    };
    const name = make("label", { htmlFor: slider.id, textContent: `z ${k}` });
    row.append(name, slider, make("output"));
    return row;
  }));
}

function listen() {
  const whole = /^\d{1,20}$/;
  $("seed").oninput = () => {
    const text = $("seed").value.trim();
    const fits = whole.test(text) && BigInt(text) < 2n ** 64n;
    $("seed").setAttribute("aria-invalid", !fits);
    $("seed-error").textContent = fits ? "" : say("seedError");
    if (fits) setSeed(BigInt(text));
  };
  const turn = (by) => () => {
    $("seed").value = state.seed + by;
    $("seed").oninput();
  };
  $("previous").onclick = turn(-1n);
  $("next").onclick = turn(1n);
  $("truncation").oninput = () => {
    state.truncation = Number($("truncation").value);
    $("truncation-value").textContent = state.truncation.toFixed(2);
    track($("truncation"), 0, state.truncation);
    redraw();
  };
  $("play").onclick = () => stop(!state.walk);
  $("reset").onclick = () => choose(state.number);
  $("entries").onchange = () => {
    state.first = Number($("entries").value);
    pages();
    showCode();
  };
  ["across", "up"].forEach((id, i) => {
    $(id).onchange = () => {
      const axis = Number($(id).value);
      if (axis === state.axes[1 - i]) state.axes[1 - i] = state.axes[i]; // they change places
      state.axes[i] = axis;
      $("across").value = state.axes[0];
      $("up").value = state.axes[1];
      changed({ picture: true, cells: CELLS ** 2 });
    };
  });
  drag($("map"), ([x, y]) => move(x, 1 - y));
  $("map").onkeydown = (event) => {
    const step = (event.shiftKey ? 10 : 2) / 100;
    const [right, up] = state.axes.map(place);
    const moves = {
      ArrowLeft: [right - step, up], ArrowRight: [right + step, up],
      ArrowUp: [right, up + step], ArrowDown: [right, up - step], Home: [0.5, 0.5],
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    move(...moves[event.key]);
    showCode();
    $("said").textContent = $("place").textContent;
  };
  $("save").onclick = () => save([$("picture")], 1, 280, { Code: state.code.join(" ") });
  $("save-grid").onclick = () => {
    while (left.samples) small();
    save(Array.from($("samples").children, (label) => label.lastChild), 8, 600, {});
  };
}

// Calls back with the place (x, y) of a pressed pointer, 0 to 1, and where it was before.
function drag(element, moved) {
  let last = null;
  const follow = (event) => {
    if (event.type === "pointerdown") {
      element.setPointerCapture(event.pointerId);
      last = null;
    } else if (!element.hasPointerCapture(event.pointerId)) return;
    const box = element.getBoundingClientRect();
    const now = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    moved(now, last ?? now);
    last = now;
  };
  element.onpointerdown = follow;
  element.onpointermove = follow;
}

// ---- drawing -----------------------------------------------------------------------------------

const ink = { width, height, data: new Uint8ClampedArray(4 * width * height) };
const pen = { x: width >> 1, y: height >> 1, down: false };

// A line from pixel to pixel, as thick as handwriting, with soft edges.
function line([x0, y0], [x1, y1]) {
  const radius = 0.045 * Math.min(width, height);
  const colour = [1, 3, 5].map((i) => parseInt($("colour").value.slice(i, i + 2), 16));
  const length = (x1 - x0) ** 2 + (y1 - y0) ** 2;
  for (let i = 0; i < width * height; i++) {
    const [x, y] = [(i % width) + 0.5, Math.floor(i / width) + 0.5];
    const along = length ? ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length : 0;
    const t = Math.min(Math.max(along, 0), 1);
    const distance = Math.hypot(x - x0 - t * (x1 - x0), y - y0 - t * (y1 - y0));
    const cover = Math.min(Math.max(radius + 0.5 - distance, 0), 1);
    for (let c = 0; c < 3; c++) ink.data[4 * i + c] += cover * (colour[c] - ink.data[4 * i + c]);
  }
  drawn();
}

function drawn() {
  stop();
  show($("ink"), ink);
  $("here").hidden = true;
  changed({ code: true });
}

function read() {
  const { mean, logvar } = net.encode(ink, state.label);
  set(Float32Array.from(mean), "drawn");
  state.spread = logvar.map((v) => Math.exp(v / 2));
  left.code = false;
}

function wipe() {
  ink.data.forEach((_, i) => { ink.data[i] = i % 4 === 3 ? 255 : 0; });
  show($("ink"), ink);
}

function drawing() {
  wipe();
  const pixels = ([x, y]) => [x * width, y * height];
  drag($("pad"), (now, before) => line(pixels(before), pixels(now)));
  $("clear").onclick = () => {
    wipe();
    $("here").hidden = false;
    left.code = false;
    choose(state.number);
  };
  $("copy").onclick = () => {
    ink.data.set(picture(state.code).data);
    drawn();
  };
  const hold = () => {
    Object.assign($("pen").style, { width: `${100 / width}%`, height: `${100 / height}%`,
      left: `${(100 * pen.x) / width}%`, top: `${(100 * pen.y) / height}%` });
    $("pen").className = pen.down ? "down" : "";
  };
  hold();
  $("pad").onkeydown = (event) => {
    const step = {
      ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0],
    }[event.key];
    if (!step) return;
    event.preventDefault();
    if (event.key === " ") {
      pen.down = !pen.down;
      $("pen-said").textContent = say(pen.down ? "penDown" : "penUp");
    }
    const before = [pen.x + 0.5, pen.y + 0.5];
    pen.x = Math.min(Math.max(pen.x + step[0], 0), width - 1);
    pen.y = Math.min(Math.max(pen.y + step[1], 0), height - 1);
    if (pen.down) line(before, [pen.x + 0.5, pen.y + 0.5]);
    hold();
  };
}

// ---- files -------------------------------------------------------------------------------------

// Pictures side by side as one PNG file, enlarged to about `size` pixels, that says what it is.
function save(canvases, columns, size, text) {
  const gap = canvases.length > 1 ? 1 : 0;
  const across = columns * (width + gap) + gap;
  const down = Math.ceil(canvases.length / columns) * (height + gap) + gap;
  const scale = Math.max(1, Math.ceil(size / across));
  const sheet = make("canvas", { width: across * scale, height: down * scale });
  const context = sheet.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.fillStyle = "#404040";
  context.fillRect(0, 0, sheet.width, sheet.height);
  canvases.forEach((canvas, i) => {
    const x = (i % columns) * (width + gap) + gap;
    const y = Math.floor(i / columns) * (height + gap) + gap;
    context.drawImage(canvas, x * scale, y * scale, width * scale, height * scale);
  });
  const chunks = {
    Software: model.about["made by"], Description: "synthetic image generated by a model",
    Title: model.about.title, Model: model.about.weights, Seed: state.seed, ...text,
    Truncation: state.truncation, ...state.settings,
    ...(state.label === undefined ? {} : { Label: model.classes[state.label] }),
  };
  sheet.toBlob(async (blob) => {
    const png = new Uint8Array(await blob.arrayBuffer());
    const parts = Object.entries(chunks).map(([name, value]) => textChunk(name, `${value}`));
    const after = 33; // bytes: signature and header
    const file = new Blob([png.slice(0, after), ...parts, png.slice(after)], { type: "image/png" });
    const link = make("a", { href: URL.createObjectURL(file) });
    link.download = `${model.name}-seed-${state.seed}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });
}

// A text chunk of a PNG file: length, "iTXt", name, text in UTF-8, checksum.
function textChunk(name, text) {
  const body = new TextEncoder().encode(`iTXt${name}\0\0\0\0\0${text.replaceAll("\0", "")}`);
  const chunk = new DataView(new ArrayBuffer(body.length + 8));
  let crc = -1;
  body.forEach((byte, i) => {
    chunk.setUint8(4 + i, byte);
    crc ^= byte;
    for (let k = 0; k < 8; k++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  });
  chunk.setUint32(0, body.length - 4);
  chunk.setUint32(4 + body.length, ~crc);
  return chunk.buffer;
}

// ---- words on the page -------------------------------------------------------------------------

function speak(chosen) {
  language = chosen;
  document.documentElement.lang = language ? "zh-Hans" : "en";
  for (const element of all("[data-text]")) element.textContent = say(element.dataset.text);
  for (const element of all("[data-label]")) {
    element.setAttribute("aria-label", say(element.dataset.label));
  }
  for (const element of all("#explain [lang]")) {
    element.hidden = element.lang !== document.documentElement.lang;
  }
  all(".language").forEach((button, i) => button.setAttribute("aria-pressed", i === language));
  const kind = ["vae", "gan"].find((name) => model.about.model.includes(name));
  const named = kind ? say(kind) : model.about.model;
  $("intro").textContent = say("intro", { latent: model.latent, kind: named });
  const said = Object.entries(model.about).filter(([, value]) => `${value}`);
  $("about").replaceChildren(...said.flatMap(([name, value]) => {
    const each = (Array.isArray(value) ? value : [value]).map(
      (one) => (typeof one === "object" ? JSON.stringify(one) : `${one}`));
    const text = each.join(name === "image" ? " × " : ", ");
    const term = (language && ABOUT.get(name)) || name;
    const shown = make("dd", { textContent: text });
    if (each.length > 12) {
      const more = make("details", { textContent: text });
      more.prepend(make("summary", { textContent: each.length }));
      shown.replaceChildren(more);
    }
    return [make("dt", { textContent: term }), shown];
  }));
  $("alert").hidden = !wrong.length;
  $("alert").textContent = wrong.length ? say("failed", { why: wrong.join("; ") }) : "";
  tell();
  $("play").textContent = say(state.walk ? "pause" : "play");
  if (!samples) return;
  call();
  showCode();
}

function call() {
  $("samples").childNodes.forEach((label, i) => {
    label.firstChild.setAttribute("aria-label", say("sample", { number: i + 1, seed: state.seed }));
  });
}

function tell() {
  const ms = Math.max(milliseconds, 0.1).toFixed(1);
  const passed = tested && !wrong.length && milliseconds !== Infinity;
  $("tested").textContent = passed ? say("passed", { ms }) : "";
}

function icon() {
  if ($("icon").href === "data:,") $("icon").href = $("picture").toDataURL();
}

function begin() {
  document.title = `${model.about.title} · tinygen`;
  $("title").textContent = model.about.title;
  document.body.classList.toggle("encodes", encodes);
  for (const id of ["picture", "echo", "ink"]) Object.assign($(id), { width, height });
  Object.assign($("cells"), { width: CELLS * width, height: CELLS * height });
  if (encodes) $("code-help").dataset.text = "codeDrawn";
  document.body.classList.toggle("flat", !CELLS);
  if (!CELLS) for (const element of all(WALKS)) element.hidden = true;
  all(".language").forEach((button, i) => { button.onclick = () => speak(i); });
  speak(language);
  if (!net) return;
  const choice = (name, index, shown, chosen) => {
    const label = make("label");
    const input = make("input", { type: "radio", name, checked: index === 0 });
    input.onchange = () => chosen(index);
    label.append(input, shown);
    return label;
  };
  $("labels").hidden = !model.classes.length;
  $("labels").append(...model.classes.map((name, i) =>
    choice("label", i, make("span", { textContent: name }), () => {
      state.label = i;
      redraw();
    })));
  $("samples").append(...Array.from({ length: SAMPLES }, (_, i) =>
    choice("sample", i, make("canvas", { width, height, className: "image" }), choose)));
  const option = (value, text) => make("option", { value, textContent: text });
  for (const [i, id] of ["across", "up"].entries()) {
    $(id).append(...model.order.map((k) => option(k, `z ${k}`)));
    $(id).value = state.axes[i];
  }
  for (let k = 0; k < model.latent; k += 10) {
    $("entries").append(option(k, `${k + 1}–${Math.min(k + 10, model.latent)} / ${model.latent}`));
  }
  for (const element of all("[for=entries], #entries")) element.hidden = model.latent <= 10;
  pages();
  listen();
  if (turning || model.settings.length) filming();
  $("draw-card").hidden = !encodes;
  if (encodes) drawing();
  else $("picture-card").after($("map-card"));
  for (const element of all("[for=colour], #colour")) element.hidden = channels === 1;
  track($("truncation"), 0, 1);
  setSeed(0n, model.start);
  frame(performance.now());
  if (!turning) icon();
  new IntersectionObserver(([seen]) => {
    document.body.classList.toggle("unseen", !seen.isIntersecting);
  }, { threshold: 0.5 }).observe($("picture"));
}

begin();
window.started = true;

"use strict"; // a module: it waits for the data
const $ = (id) => document.getElementById(id);
const packed = Uint8Array.from(atob($("data").textContent), (c) => c.charCodeAt(0));
const step = await new Response(
  new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
const { calls, arrays } = step;
const PHASES = ["forward", "backward", "update"];
const LANE = 22; // pixels of a lane
const SHOWN = 8; // users of an array that are listed
let at = 0; // the current call
let picked = null; // the array whose path is shown
let timer = null;
let address = null; // a browser lets it change now and then only

// ---- what follows from the calls ----------------------------------------------------------------

const range = (first, last) => Array.from({ length: last - first + 1 }, (_, n) => first + n);
const numbers = (list) => list.filter((x) => typeof x === "number");
const maker = new Map(); // array -> the call that made it
const users = new Map(); // array -> the calls that read it
calls.forEach((call, k) => {
  for (const i of new Set(numbers(call.in))) {
    if (!users.has(i)) users.set(i, []);
    users.get(i).push(k);
  }
  for (const i of call.out) if (!maker.has(i) && !call.in.includes(i)) maker.set(i, k);
});

const place = (call) => call.module || (call.line || "").replace(/:\d+$/, "").split("/").pop();
const parts = []; // calls in a row of one phase and one module
calls.forEach((call, k) => {
  const last = parts[parts.length - 1];
  if (last && last.phase === call.phase && last.place === place(call)) last.count += 1;
  else parts.push({ start: k, count: 1, phase: call.phase, place: place(call) });
});
const partOf = (k) => parts.findLastIndex((part) => part.start <= k);

const runs = new Map(); // call -> the runs of calls that compute its slopes: [first, last]
calls.forEach((call, k) => {
  if (call.of === null) return;
  if (!runs.has(call.of)) runs.set(call.of, []);
  const known = runs.get(call.of);
  const last = known[known.length - 1];
  if (last && last[1] === k - 1) last[1] = k;
  else known.push([k, k]);
});

const firstBad = calls.findIndex((call) => call.out.some((i) => arrays[i].bad));

// ---- words --------------------------------------------------------------------------------------

function element(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (key === "class") made.className = value;
    else if (key === "click") made.addEventListener("click", value);
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((c) => c !== null && c !== ""));
  return made;
}

const digits = (x) => x === null ? "none" : x !== 0 && Math.abs(x) < 1e-3
  ? Number(x.toPrecision(3)).toExponential() : Number(x.toPrecision(4)).toString();
const shape = (a) => a.shape.length ? `(${a.shape.join(", ")}${a.shape.length === 1 ? "," : ""})`
  : "one number";
const many = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const title = (i) => {
  const a = arrays[i];
  return a.name ? a.name + (a.version ? `, version ${a.version}` : "") : "";
};
const argument = (call, n) => {
  const names = (step.operations[call.op] || { args: [] }).args;
  if (n >= names.length || (names.length === 1 && call.in.length > 1)) {
    return `${names[0] || "in"}[${n}]`;
  }
  return names[n];
};
const described = (k) => `call ${k + 1} of ${calls.length}, ${calls[k].op}, ${calls[k].phase}`
  + (place(calls[k]) ? `, ${place(calls[k])}` : "");

function link(k, text = `${k + 1} ${calls[k].op}`) {
  return element("button", {
    type: "button", class: `link ${calls[k].phase}`, click: () => go(k, true),
    "aria-label": [text, calls[k].phase, place(calls[k])].filter(Boolean).join(", "),
  }, text);
}

// ---- pictures -----------------------------------------------------------------------------------

let colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const rgb = (name) => {
    const hex = style.getPropertyValue(name).trim();
    return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  };
  const names = ["zero", "plus", "minus", "nan", "forward", "backward", "update", "track", "mark"];
  colours = Object.fromEntries(names.map((name) => [name, rgb(`--${name}`)]));
}

function cells(a) {
  if (a.thumb) {
    const [rows, columns, , text] = a.thumb;
    const bytes = atob(text);
    const level = (i) => bytes.charCodeAt(i);
    const value = (i) => level(i) ? (level(i) - 128) / 127 : null;
    return { rows, columns, values: Array.from(bytes, (_, i) => value(i)) };
  }
  const few = a.values || (a.shape.includes(0) ? [] : [a.mean]);
  const top = Math.max(...few.map((v) => typeof v === "number" ? Math.abs(v) : 0)) || 1;
  const rows = a.values && a.shape.length > 1 ? a.shape[0] : 1;
  const values = few.map((v) => typeof v === "number" ? v / top : null);
  return { rows, columns: Math.max(1, few.length / rows), values };
}

function paint(canvas, a) {
  const { rows, columns, values } = cells(a);
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  values.forEach((v, i) => {
    const end = v === null ? colours.nan : v < 0 ? colours.minus : colours.plus;
    const share = v === null ? 1 : Math.abs(v) ** 0.7;
    for (let c = 0; c < 3; c++) {
      image.data[4 * i + c] = colours.zero[c] + (end[c] - colours.zero[c]) * share;
    }
    image.data[4 * i + 3] = 255;
  });
  context.putImageData(image, 0, 0);
}

function bars(a) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 240 26");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", a.hist.map((n, i) => {
    const height = n ? Math.max(1, n * 26 / 99) : 0;
    return `M${10 * i} 26v${-height}h9v${height}z`;
  }).join(""));
  svg.append(path);
  return svg;
}

function statistics(a) {
  if (a.mean === undefined) return a.shape.includes(0) ? "empty" : "not looked at";
  if (a.mean === null) return `none of ${a.bad} values is finite`;
  const zeros = a.zero >= 0.005 ? `, ${Math.round(100 * a.zero)} % zeros` : "";
  if (a.min === a.max) return `all ${digits(a.min)}`;
  return `mean ${digits(a.mean)}, deviation ${digits(a.std)}, ${digits(a.min)} to `
    + `${digits(a.max)}${zeros}`;
}

function figure(i, role) {
  const a = arrays[i];
  const head = element("span", {}, element("strong", {}, role), " ",
    title(i) === role ? "" : title(i));
  const flat = a.shape.length < 2 || a.min === a.max;
  const canvas = element("canvas", { "aria-hidden": "true", class: flat ? "flat" : "" });
  const one = a.values && a.values.length === 1;
  if (!a.shape.includes(0) && !one) paint(canvas, a);
  const pick = element("button", {
    type: "button", class: "pick", click: () => follow(i), "aria-pressed": String(picked === i),
    "aria-label": `${role} ${title(i)}, ${shape(a)} ${a.dtype}, ${statistics(a)}; show its path`,
    "data-array": i,
  }, head, one || a.shape.includes(0) ? "" : canvas, a.hist ? bars(a) : "");
  const made = element("figure", { class: picked === i ? "array picked" : "array" }, pick);
  const few = a.values && a.values.length <= 16;
  const single = few && a.values.length === 1;
  if (few) made.append(element("p", { class: "values" }, element("code", {}, a.values.map(
    (v) => typeof v === "number" ? digits(v) : v).join(", "))));
  const tiles = a.tiles ? `, the first ${a.tiles}` : "";
  made.append(element("p", { class: "small" }, `${shape(a)} ${a.dtype}${tiles}`,
    single ? "" : element("br"), single ? "" : statistics(a)));
  if (a.bad) made.append(element("p", { class: "small wrong" }, `${a.bad} not finite`));
  made.append(usesOf(i));
  return made;
}

function usesOf(i) {
  const list = users.get(i) || [];
  const row = element("div", { class: "uses small" });
  row.append(element("span", {}, maker.has(i) ? "from" : "from outside,"));
  if (maker.has(i)) row.append(link(maker.get(i)));
  row.append(element("span", {}, list.length ? "used by" : "used by none"));
  const near = list.findIndex((k) => k >= at);
  const begin = Math.max(0, Math.min(near < 0 ? list.length : near, list.length - SHOWN));
  const shown = list.slice(begin, begin + SHOWN);
  row.append(...shown.map((k) => link(k)));
  const more = list.length - shown.length;
  if (more) row.append(element("span", {}, `and ${more} more`));
  return row;
}

function inputsOf(call) {
  return call.in.map((x, n) => typeof x === "number" ? figure(x, argument(call, n))
    : element("span", { class: "scalar" }, element("code", {}, `${argument(call, n)} = ${x}`)));
}

function outputsOf(call) {
  const several = call.out.length > 1;
  return call.out.map((i, n) => figure(i, call.phase === "update" ? "after"
    : several ? `out ${n + 1}` : "out"));
}

// ---- the current call ---------------------------------------------------------------------------

function lineOf(call, brief = false) {
  const rows = [];
  const module = step.modules[call.module];
  if (call.module) {
    rows.push(element("p", {}, element("strong", {}, call.module), module ? ` ${module}` : ""));
  }
  const told = step.operations[call.op];
  if (told && told.about && !brief) rows.push(element("p", { class: "soft lines" },
    told.about.replaceAll("`", "")));
  const text = step.source[call.line];
  if (call.line) {
    rows.push(element("p", { class: "small" }, element("code", {}, call.line), " ",
      text ? element("code", { class: "soft" }, text) : ""));
  }
  if (call.user) {
    const user = step.source[call.user];
    rows.push(element("p", { class: "small soft" }, "called from ",
      element("code", {}, call.user), " ", user ? element("code", {}, user) : ""));
  }
  return rows;
}

function ruleOf(k) {
  const call = calls[k];
  if (call.adds === "paths") return "the slopes of two paths, added";
  if (call.adds === "axes") return "the slope of a stretched array: summed over what was stretched";
  if (call.phase === "update" && call.options) return ""; // its text says it better
  if (call.adds === "body") return "the fused operation, run again in parts to differentiate it";
  if (call.phase !== "backward" || call.argument === undefined) {
    return call.rule && call.phase === "forward" ? `out = ${call.rule}` : call.rule || "";
  }
  const next = calls[k + 1] || {};
  const done = next.of !== call.of || next.argument !== call.argument || next.adds; // the rule
  return (done && call.rule ? `g(${argument(calls[call.of], call.argument)}) = ` : "")
    + (call.rule || "");
}

function show() {
  const call = calls[at];
  $("h-call").replaceChildren(`${at + 1}. ${call.op} `,
    element("span", { class: call.phase }, call.phase));
  const rule = ruleOf(at);
  const about = lineOf(call);
  if (call.phase === "backward" && call.of !== null) {
    about.unshift(element("p", {}, "part of the slopes of ", link(call.of)));
  }
  const said = call.phase === "forward"; // by the formula
  const options = Object.entries(said ? {} : call.options || {})
    .map(([key, value]) => `${key} = ${value}`);
  $("about").replaceChildren(
    rule ? element("p", { class: "formula" }, rule) : "", ...about,
    options.length ? element("p", { class: "small soft" }, `with ${options.join(", ")}`) : "");
  $("figures").replaceChildren(element("div", { class: "figures" }, ...inputsOf(call),
    element("span", { class: "flow", "aria-hidden": "true" }), ...outputsOf(call)));
  showHalf(call);
}

function showHalf(call) {
  const title = $("h-half");
  const other = $("other");
  if (call.phase === "update") {
    title.textContent = "Where its slope came from";
    const gradient = call.in[1];
    other.replaceChildren(typeof gradient === "number" && maker.has(gradient)
      ? element("p", {}, "The slope was made by ", link(maker.get(gradient)), ".")
      : element("p", { class: "soft" }, "It was made outside of the recording."));
    return;
  }
  if (call.of !== null) {
    const forward = calls[call.of];
    title.replaceChildren(`The ${forward.phase} call `, link(call.of));
    other.replaceChildren(
      forward.phase === "forward" && forward.rule
        ? element("p", { class: "formula" }, `out = ${forward.rule}`) : "",
      ...lineOf(forward, true),
      element("div", { class: "figures" }, ...inputsOf(forward),
        element("span", { class: "flow", "aria-hidden": "true" }), ...outputsOf(forward)));
    return;
  }
  const mine = runs.get(at) || [];
  title.textContent = mine.length ? "Its backward calls" : "No backward call";
  if (!mine.length) {
    const through = passedOn(call).map((n) => `g(${argument(call, n)}) = g`);
    if (through.length) {
      other.replaceChildren(element("p", { class: "formula" }, through.join(", ")),
        element("p", { class: "soft" }, "A slope passes through as it is, without a call."));
      return;
    }
    const why = call.phase === "backward" ? "It computes a slope; the slope of it is not asked for."
      : "No slope of this result was asked for, or none passes through it.";
    other.replaceChildren(element("p", { class: "soft" }, why));
    return;
  }
  other.replaceChildren(...mine.map(([first, last]) => runShown(call, first, last)));
}

// The arguments to which the slope of the result is handed on as it is.
function passedOn(call) {
  const { passes = [] } = step.operations[call.op] || {};
  return passes.filter((n) => typeof call.in[n] === "number");
}

function runShown(call, first, last) {
  // The slope that arrives, and for each argument its rule and its slope.
  const inside = new Set();
  const known = new Set([...numbers(call.in), ...call.out]);
  const arrived = [];
  const slopes = new Map();
  const told = step.operations[call.op] || {};
  for (let k = first; k <= last; k++) {
    for (const i of numbers(calls[k].in)) {
      if (!inside.has(i) && !known.has(i) && !arrived.includes(i)) arrived.push(i);
    }
    calls[k].out.forEach((i) => inside.add(i));
    if (calls[k].adds === "paths" || calls[k].adds === "body") continue;
    const continues = [...slopes].find(([, slope]) => calls[k].in.includes(slope.array));
    const which = told.together && continues ? continues[0] : calls[k].argument ?? 0;
    const all = told.together && calls[k].out.length > 1; // one rule for all arguments
    calls[k].out.slice(0, all ? call.in.length : 1).forEach((array, n) => {
      const to = all ? n : which;
      if (typeof call.in[to] !== "number") return;
      const rule = (calls[k].rule || "").replace(/\[0\]$/, all ? `[${n}]` : "$&");
      slopes.set(to, { rule: rule || (slopes.get(to) || {}).rule, array,
        summed: calls[k].adds === "axes" });
    });
  }
  const bodies = range(first, last).filter((k) => calls[k].adds === "body");
  const made = element("div", { class: "run" });
  made.append(element("p", { class: "uses" }, first === last ? "" : "calls ",
    ...range(first, Math.min(last, first + 9)).map((k) => link(k)),
    last - first > 9 ? ` … to ${last + 1}` : ""));
  const figures = element("div", { class: "figures" });
  if (arrived.length) {
    figures.append(figure(arrived[0], "g"),
      element("span", { class: "flow", "aria-hidden": "true" }));
  }
  for (const [which, slope] of slopes) {
    const name = `g(${argument(call, which)})`;
    const rule = slope.rule || (slope.summed ? "g, summed over what was stretched" : "");
    if (rule) made.append(element("p", { class: "formula" }, `${name} = ${rule}`));
    figures.append(figure(slope.array, name));
  }
  for (const n of passedOn(call)) {
    if (!slopes.has(n) && call.phase === "forward") {
      made.append(element("p", { class: "formula" }, `g(${argument(call, n)}) = g`));
    }
  }
  if (bodies.length < last - first + 1) made.append(figures);
  if (bodies.length) {
    made.append(element("p", {}, "The operation ran again in these parts, and each was "
      + "differentiated:"));
  }
  for (const k of bodies) {
    for (const [from, to] of runs.get(k) || []) {
      made.append(element("h3", {}, "Slopes of ", link(k)), runShown(calls[k], from, to));
    }
  }
  return made;
}

// ---- the path of an array -----------------------------------------------------------------------

function reach(starts, next) {
  const seen = new Set(starts);
  const stack = [...starts];
  while (stack.length) {
    for (const k of next(stack.pop())) {
      if (!seen.has(k)) {
        seen.add(k);
        stack.push(k);
      }
    }
  }
  return seen;
}

const before = (k) => numbers(calls[k].in).filter((i) => maker.has(i)).map((i) => maker.get(i))
  .filter((m) => m < k);
const after = (k) => calls[k].out.flatMap((i) => users.get(i) || []).filter((m) => m > k);
let ancestors = new Set();
let heirs = new Set();

function follow(i) {
  picked = picked === i ? null : i;
  showPath();
  show();
  draw();
  const again = picked === null ? null : document.querySelector(`[data-array="${i}"]`);
  if (again) again.focus({ preventScroll: true });
}

function showPath() {
  $("path").hidden = picked === null;
  ancestors = new Set();
  heirs = new Set();
  if (picked === null) return;
  const made = maker.get(picked);
  const used = users.get(picked) || [];
  ancestors = made === undefined ? ancestors : reach([made], before);
  heirs = reach(used, after);
  const chain = []; // one way back: through the array that most calls took part in
  const depth = (i) => maker.has(i) ? reach([maker.get(i)], before).size : 0;
  let source = picked;
  while (maker.has(source) && chain.length < 400) {
    const k = maker.get(source);
    chain.unshift(k);
    const read = numbers(calls[k].in);
    if (!read.length) break;
    const depths = read.map(depth);
    source = read[depths.indexOf(Math.max(...depths))];
  }
  $("h-path").textContent = `The path of ${title(picked) || `an array ${shape(arrays[picked])}`}`;
  const begin = maker.has(source) ? "" : element("strong", {}, title(source) || "outside");
  const hidden = chain.length > 14 ? chain.length - 14 : 0;
  const way = [begin, ...chain.slice(hidden).flatMap((k) => ["→", link(k)])];
  if (hidden) way.splice(1, 0, `→ ${hidden} calls →`);
  $("way").replaceChildren(
    element("p", {}, made === undefined ? "It comes from outside of the recorded step."
      : `${many(ancestors.size, "call")} before it took part in it. The longest way to it:`),
    made === undefined ? "" : element("div", { class: "chain" }, ...way),
    element("p", {}, used.length ? `Used by ${many(used.length, "call")}; `
      + `${many(heirs.size, "call")} depend on it in all:` : "No call uses it."),
    used.length ? element("div", { class: "chain" }, ...used.map((k) => link(k))) : "",
    element("p", { class: "small soft" },
      "Above, the calls of the path are bright, and all others faint."));
}

// ---- the bands ----------------------------------------------------------------------------------

function draw() {
  const canvas = $("lane");
  const width = canvas.clientWidth;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.round(3 * LANE * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const css = (c, alpha = 1) => `rgba(${c.join(",")},${alpha})`;
  const thumb = 7; // of the slider: call k is where its middle is
  const each = calls.length > 1 ? (width - thumb) / (calls.length - 1) : width - thumb;
  PHASES.forEach((phase, row) => {
    context.fillStyle = css(colours.track);
    context.fillRect(0, row * LANE + 1, width, LANE - 2);
  });
  calls.forEach((call, k) => {
    const row = PHASES.indexOf(call.phase);
    const on = picked === null || ancestors.has(k) || heirs.has(k);
    context.fillStyle = css(colours[call.phase], on ? 0.9 : 0.15);
    const gap = each > 4 ? 1 : 0;
    const left = thumb / 2 + (k - 0.5) * each;
    context.fillRect(left, row * LANE + 3, Math.max(0.7, each - gap), LANE - 6);
    if (call.out.some((i) => arrays[i].bad)) {
      context.fillStyle = css(colours.nan);
      context.fillRect(left, row * LANE + 3, Math.max(2, each - gap), LANE - 6);
    }
  });
}

// ---- moving -------------------------------------------------------------------------------------

function go(k, say = false) {
  at = Math.max(0, Math.min(calls.length - 1, k));
  $("slider").value = at + 1;
  $("slider").setAttribute("aria-valuetext", described(at));
  if (say) $("said").textContent = described(at);
  $("back").disabled = $("back-part").disabled = at === 0;
  $("on").disabled = $("on-part").disabled = at === calls.length - 1;
  const n = partOf(at);
  const current = $("list").querySelector("[aria-current]");
  if (current) current.removeAttribute("aria-current");
  const row = $("list").children[n].firstChild;
  row.setAttribute("aria-current", "true");
  const list = $("list");
  if (row.offsetTop < list.scrollTop || row.offsetTop + row.offsetHeight > list.scrollTop
    + list.clientHeight) list.scrollTop = row.offsetTop - list.clientHeight / 2;
  clearTimeout(address);
  address = setTimeout(() => history.replaceState(null, "", `#${at + 1}`), 500);
  show();
}

function goPart(by) {
  const n = partOf(at);
  const inside = at > parts[n].start;
  const next = parts[by < 0 && inside ? n : n + by];
  if (next) go(next.start, true);
  else go(by < 0 ? 0 : calls.length - 1, true);
}

function goHalf() {
  const call = calls[at];
  if (call.of !== null) go(call.of, true);
  else if (runs.has(at)) go(runs.get(at)[0][0], true);
}

function find() {
  const text = $("find").value.trim().toLowerCase();
  if (!text) {
    $("found").textContent = "";
    return;
  }
  const names = (call) => [call.op, call.phase, place(call), call.line || "",
    ...[...numbers(call.in), ...call.out].map((i) => arrays[i].name || "")];
  const hits = calls.map((call, k) => k)
    .filter((k) => names(calls[k]).some((name) => name.toLowerCase().includes(text)));
  const next = hits.find((k) => k > at) ?? hits[0];
  $("found").textContent = hits.length ? `${hits.indexOf(next) + 1} of ${hits.length}`
    : "not found";
  if (next !== undefined) go(next);
}

function play(on) {
  clearInterval(timer);
  timer = on ? setInterval(() => at < calls.length - 1 ? go(at + 1) : play(false), 400) : null;
  $("play").textContent = on ? "Stop" : "Play";
  $("play").setAttribute("aria-pressed", String(on));
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target === $("find");
  if (typing && event.key !== "Escape") return;
  const keys = {
    ArrowLeft: () => event.shiftKey ? goPart(-1) : go(at - 1),
    ArrowRight: () => event.shiftKey ? goPart(1) : go(at + 1),
    Home: () => go(0), End: () => go(calls.length - 1),
    m: goHalf, n: () => firstBad >= 0 && go(firstBad, true), "/": () => $("find").focus(),
    Escape: () => typing ? $("slider").focus() : picked !== null && follow(picked),
  };
  if (event.target === $("list") && ["Home", "End"].includes(event.key)) return;
  if (!keys[event.key]) return;
  event.preventDefault();
  if (event.key.startsWith("Arrow")) play(false);
  keys[event.key]();
}

function operationsOf(part) {
  const names = new Set(calls.slice(part.start, part.start + part.count).map((c) => c.op));
  return [...names].slice(0, 3).join(", ") + (names.size > 3 ? ", …" : "");
}

// ---- the start ----------------------------------------------------------------------------------

function begin() {
  $("old").hidden = true;
  readColours();
  const counts = PHASES.map((phase) => calls.filter((call) => call.phase === phase).length);
  const told = [step.run ? `run ${step.run}` : "", step.model,
    step.batch === null ? "" : `a batch of ${step.batch}`,
    step.seed === null || step.seed === undefined ? "" : `seed ${step.seed}`,
    `${calls.length} calls`, ...(step.losses ? Object.entries(step.losses).map(
      ([name, value]) => `${name} ${typeof value === "number" ? digits(value) : value}`) : [])];
  $("intro").textContent = told.filter(Boolean).join(" · ");
  if (!calls.length) {
    $("intro").textContent = "Nothing was recorded: no operation ran within the block.";
    document.querySelector("main").hidden = true;
    return;
  }
  [...$("legend").children].forEach((row, i) => row.append(element("span", { class: "soft" },
    ` ${counts[i]}`)));
  $("slider").max = calls.length;
  $("slider").addEventListener("input", () => go($("slider").value - 1));
  $("list").append(...parts.map((part) => element("li", {}, element("button", {
    type: "button", class: part.phase, click: () => go(part.start, true),
  }, element("b", {}, part.place || "model"),
  element("span", {}, `${part.phase}, ${many(part.count, "call")}: ${operationsOf(part)}`)))));
  $("bad").disabled = firstBad < 0;
  $("bad").textContent = firstBad < 0 ? "All finite" : "First not finite";
  $("bad").addEventListener("click", () => go(firstBad, true));
  $("back").addEventListener("click", () => go(at - 1, true));
  $("on").addEventListener("click", () => go(at + 1, true));
  $("back-part").addEventListener("click", () => goPart(-1));
  $("on-part").addEventListener("click", () => goPart(1));
  $("play").addEventListener("click", () => play(timer === null));
  $("find-next").addEventListener("click", find);
  $("find").addEventListener("keydown", (event) => event.key === "Enter" && find());
  $("forget").addEventListener("click", () => {
    follow(picked);
    $("slider").focus();
  });
  document.addEventListener("keydown", pressed);
  window.addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readColours();
    draw();
    show();
  });
  const asked = parseInt(location.hash.slice(1), 10);
  go(Number.isInteger(asked) ? asked - 1 : 0);
  draw();
}
begin();

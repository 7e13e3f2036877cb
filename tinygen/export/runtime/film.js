// Settings of a drawing, and the film of a model that draws in turns: from noise to the picture.

Object.assign(TEXT, {
  time: ["Time", "时间"],
  steps: ["Steps", "步数"],
  guidance: ["Guidance", "引导"],
  onTheWay: ["On the way from noise to a picture", "从噪声到图片的途中"],
  filmHelp: ["Choose one to see it large. Play shows how they condense out of noise. Dim ones are " +
    "on their way.", "选一个放大查看；“播放”会展示它们如何从噪声中凝结出来。较暗的仍在绘制中。"],
});
const QUICK = 2; // steps of a first film
const films = new Map(); // by code: { frames, whole: whether at the settings }
const painters = []; // { paint, job: what it draws now, or null }
const [WORK] = document.currentScript.textContent.split("// ==== the page ====");
let jobs = 0;

// The picture of a code at the time. Between two frames it goes straight, as the steps do.
function filmed(code) {
  const { frames } = films.get(code);
  const at = state.time * (frames.length - 1), k = Math.floor(at), part = at - k;
  if (!part) return frames[k];
  const data = frames[k].data.slice(), after = frames[k + 1].data;
  for (let i = 0; i < data.length; i++) data[i] += part * (after[i] - data[i]);
  return { ...frames[k], data };
}

const ready = (code) => films.get(code).whole;
const quick = () => state.settings.steps > QUICK + 1;
// What differs is nothing, where the picture of the self-test is the one that is drawn.
const asTested = () => state.seed === BigInt(model.test.seed) &&
  (state.label ?? model.test.label) === model.test.label &&
  model.settings.every(({ name, default: usual }) => state.settings[name] === usual);

// The most urgent film that nobody draws: a quick one of each code, the one shown first, then all at
// the settings; at last that of the self-test, if it was none of them.
function wanted() {
  const codes = [state.code, ...samples];
  const busy = (code, whole) => painters.some(
    ({ job }) => job && job.code === code && job.whole === whole);
  for (const whole of quick() ? [false, true] : [true]) {
    for (const code of codes) {
      const film = films.get(code);
      const done = whole ? film.whole : film.whole || film.drawn;
      if (!done && !busy(code, whole)) {
        const settings = whole ? state.settings : { ...state.settings, steps: QUICK };
        return { code, whole, label: state.label, settings, tests: whole && code === samples[0] &&
          asTested() };
      }
    }
  }
  if (tested || painters.some(({ job }) => job)) return null;
  const code = new Float32Array(bytesOf(model.test.code).buffer);
  const label = model.classes.length ? model.test.label : undefined;
  return { code, whole: true, label, settings: {}, tests: true };
}

function assign() {
  for (const each of painters) {
    if (each.job) continue;
    const job = wanted();
    if (!job) break;
    each.job = { ...job, id: ++jobs, frames: [] };
    each.paint({ id: jobs, code: job.code, label: job.label, settings: job.settings });
  }
}

// A picture of a film has come. It is seen at once, unless there is a better one.
function came(each, { id, picture: frame, ms, damaged }) {
  const { job } = each;
  if (job?.id !== id) return; // of what is no longer wanted
  if (damaged) {
    wrong = [damaged];
    speak(language);
    return; // it draws no more, until all are drawn anew
  }
  const film = films.get(job.code), done = ms !== undefined;
  if (done) job.frames[job.frames.length - 1] = frame;
  else job.frames.push(frame);
  if (film && (done || !film.drawn)) film.frames = job.frames;
  if (done) {
    if (film) Object.assign(film, { drawn: true, whole: job.whole });
    if (job.whole) milliseconds = Math.min(milliseconds, ms);
    if (job.tests && !tested) test(frame);
    each.job = null;
    assign();
  }
  changed({ picture: true, samples: SAMPLES });
}

// What is not at its settings yet is dim, and not saved.
function mark() {
  [$("picture"), ...Array.from($("samples").children, (each) => each.lastChild)].forEach(
    (canvas, i) => canvas.classList.toggle("dim", !ready(i ? samples[i - 1] : state.code)));
  $("save").disabled = !ready(state.code);
  $("save-grid").disabled = !samples.every(ready);
  if (!$("save").disabled && state.time === 1) icon();
}

// Films anew, of all codes.
function remake() {
  films.clear();
  for (const code of samples) {
    films.set(code, { frames: [net.filming(code).next().value], whole: false, drawn: false });
  }
  for (const each of painters) each.job = null;
}

function test(drawn) {
  tested = true;
  wrong = net.selfTest(drawn);
  if (wrong.length) speak(language);
}

// Workers, or the page itself where the browser lets none begin.
function hire() {
  const here = () => {
    if (painters.length) return;
    const me = { job: null };
    me.paint = painter(net, (said) => came(me, said), 12);
    painters.push(me);
  };
  try {
    const file = URL.createObjectURL(new Blob([WORK, "serve();"], { type: "text/javascript" }));
    const cores = navigator.hardwareConcurrency || 2;
    for (let k = 0; k < Math.min(Math.max(cores - 1, 1), 4); k++) {
      const worker = new Worker(file);
      const me = { worker, job: null, paint: (job) => worker.postMessage(job) };
      worker.onmessage = ({ data }) => came(me, data);
      worker.onerror = (event) => {
        event.preventDefault();
        worker.terminate();
        if (painters.includes(me)) painters.splice(painters.indexOf(me), 1);
        here();
        assign();
      };
      worker.postMessage({ model, weights: $("weights").textContent });
      painters.push(me);
    }
  } catch {
    // a browser without workers, or one that gives none to a page from a file
  }
  here();
}

function setTime(time) {
  state.time = time;
  $("time").value = time;
  $("time-value").textContent = time.toFixed(2);
  track($("time"), 0, time);
  changed({ picture: true, samples: SAMPLES });
}

// Two seconds, and one of rest at the end; it begins when each has a film.
function playFilm(now, t) {
  if (samples.some((code) => !films.get(code).drawn)) state.walk.since = now - 2000;
  else if (t > 1.5) state.walk.since = now;
  setTime(Math.min(calm.matches ? Math.floor(4 * t) / 4 : t, 1));
}

function filming() {
  state.settings = Object.fromEntries(model.settings.map((each) => [each.name, each.default]));
  for (const { name, whole: integer, default: usual, low, high } of model.settings) {
    const row = make("div", { className: "slider" }), id = `setting-${name}`;
    const label = make("label", { htmlFor: id, textContent: TEXT[name] ? say(name) : name });
    if (TEXT[name]) label.dataset.text = name;
    const most = Math.min(high ?? Infinity, Math.max(4 * usual, low ?? 0));
    const slider = make("input", { id, type: "range", autocomplete: "off" });
    Object.assign(slider, { min: low ?? -most, max: most, step: integer ? 1 : "any", value: usual });
    const output = make("output", { htmlFor: id });
    const shown = () => {
      const value = Number(slider.value);
      output.textContent = integer ? value : value.toFixed(2);
      track(slider, 0, (value - slider.min) / (slider.max - slider.min));
    };
    slider.oninput = shown;
    slider.onchange = () => {
      state.settings[name] = Number(slider.value);
      redraw();
    };
    row.append(label, slider, output);
    $("settings").append(row);
    shown();
  }
  if (!turning) return;
  const [hint] = all("#samples-card .hint");
  hint.dataset.text = "filmHelp";
  hint.textContent = say("filmHelp");
  $("film").hidden = false;
  $("time").oninput = () => {
    stop();
    setTime(Number($("time").value));
  };
  hire();
  setTime(1);
}

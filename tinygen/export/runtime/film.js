// Settings of a drawing, and the film of a model that draws in turns: from noise to the picture.

Object.assign(TEXT, {
  time: ["Time", "时间"],
  steps: ["Steps", "步数"],
  guidance: ["Guidance", "引导"],
  onTheWay: ["On the way from noise to a picture", "从噪声到图片的途中"],
  filmHelp: ["Choose one to see it large. Play shows how they condense out of noise.",
    "选一个放大查看；“播放”会展示它们如何从噪声中凝结出来。"],
});
const films = new Map(); // by code

// The picture of a code at the time; its film is drawn once.
function filmed(code) {
  if (!films.has(code)) {
    const begin = performance.now();
    const scaled = code.map((z) => z * state.truncation);
    films.set(code, net.film(scaled, state.label, state.settings));
    milliseconds = Math.min(milliseconds, performance.now() - begin);
  }
  const film = films.get(code);
  return film[Math.round(state.time * (film.length - 1))];
}

function setTime(time) {
  state.time = time;
  $("time").value = time;
  $("time-value").textContent = time.toFixed(2);
  track($("time"), 0, time);
  changed({ picture: true, samples: SAMPLES });
}

// Two seconds, and one of rest at the end; it begins when all are drawn.
function playFilm(now, t) {
  if (films.size < SAMPLES) state.walk.since = now - 2000;
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
  document.body.classList.add("turns");
  const [hint] = all("#samples-card .hint");
  hint.dataset.text = "filmHelp";
  hint.textContent = say("filmHelp");
  $("film").hidden = false;
  $("time").oninput = () => {
    stop();
    setTime(Number($("time").value));
  };
  setTime(1);
}

// The course: lessons with editors, and one Python that runs and checks what is in them.
"use strict";

const LIMIT = 10000; // milliseconds for a check
const at = (id) => document.getElementById(id);
const course = JSON.parse(at("course").textContent);
const work = JSON.parse(at("work").textContent); // code, passed and tried by name; lesson
let saved = true;

function note() {
  saved = false;
}

// ---- the parts of Python in this page -----------------------------------------------------------

function bytes(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

async function part(name) {
  const packed = new Blob([bytes(at(`part-${name}`).textContent)]);
  const stream = packed.stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function text(name) {
  return new TextDecoder().decode(await part(name));
}

let parts; // a promise of what a worker starts with; made once, since a stop starts a new worker
let numpy = null; // { name, bytes } of NumPy's wheel

async function gathered() {
  const module = await WebAssembly.compile(await part("pyodide.asm.wasm"));
  if (at("part-numpy")) numpy = { name: course.numpy.file, bytes: await part("numpy") };
  return {
    module,
    glue: await text("pyodide.asm.mjs"),
    loader: await text("pyodide.mjs"),
    library: await part("python_stdlib.zip"),
    sources: await part("sources"),
    lock: course.lock,
    needing: course.needing,
  };
}

// ---- Python -------------------------------------------------------------------------------------

const python = {
  worker: null,
  ready: false,
  numpy: false,
  job: null, // what runs, or waits for a Python that starts
  timer: 0,
  turn: 0, // counts starts: a later one makes an earlier one, still waiting, give up

  async begin() {
    const turn = ++this.turn;
    this.ready = false;
    try {
      parts ??= gathered();
      const start = { ...(await parts), numpy };
      if (turn !== this.turn) return;
      const code = new Blob([at("worker").textContent], { type: "text/javascript" });
      this.worker = new Worker(URL.createObjectURL(code));
      this.worker.onmessage = ({ data }) => this.heard(data);
      this.worker.onerror = (event) => this.broken(event.message ?? "it did not start");
      this.worker.postMessage({ start });
    } catch (error) {
      this.broken(error.message);
    }
  },

  do(job) {
    this.job = job;
    if (this.ready) this.send();
    show();
  },

  send() {
    const { seen, ...words } = this.job;
    this.worker.postMessage(words);
  },

  heard(data) {
    if (data.ready) {
      this.ready = true;
      this.numpy = data.numpy;
      say(`Python ${data.ready}${data.numpy ? " with NumPy" : ""} runs in this page.`);
      if (this.job) this.send();
    } else if (data.began) {
      this.timer = setTimeout(() => this.stop(true), LIMIT);
    } else if (data.failed) {
      this.broken(data.failed);
    } else {
      this.job?.seen(data);
      if (data.done) this.end();
    }
    show();
  },

  end() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.job = null;
  },

  stop(late = false) {
    const { job } = this;
    this.end();
    this.worker?.terminate();
    say("Python starts again ...");
    job?.seen({ stopped: true, late });
    this.begin();
    show();
  },

  broken(why) {
    const { job, ready } = this;
    this.end();
    this.worker?.terminate();
    job?.seen({ broken: why });
    if (ready) {
      say("Python ended and starts again ...");
      this.begin();
    } else {
      say(`Python could not start: ${why}`);
    }
    show();
  },
};

function say(words) {
  at("state").textContent = words;
}

// ---- a program and what becomes of it -----------------------------------------------------------

const shown = []; // what follows Python's state: each a function

function show() {
  for (const draw of shown) draw();
}

function button(words, click, className = "") {
  return make("button", { type: "button", textContent: words, onclick: click, className });
}

// A place for what a program prints and writes.
function results() {
  const output = make("pre", { className: "output", tabIndex: 0, hidden: true, label: "Output" });
  output.setAttribute("role", "region");
  const files = make("div");
  const said = make("p", { className: "soft" });
  said.setAttribute("role", "status");
  return {
    elements: [output, files],
    said,
    clear() {
      output.replaceChildren();
      output.hidden = true;
      for (const link of files.querySelectorAll("a")) URL.revokeObjectURL(link.href);
      files.replaceChildren();
      said.textContent = "";
    },
    print(text, error) {
      output.hidden = false;
      output.append(make("span", { className: error ? "error" : "" }, text));
      output.scrollTop = output.scrollHeight;
    },
    file(name, content) {
      const kinds = { png: "image/png", apng: "image/png", gif: "image/gif", svg: "image/svg+xml" };
      const type = kinds[name.split(".").pop()];
      const href = URL.createObjectURL(new Blob([content], { type: type ?? "text/plain" }));
      const link = make("a", { href, download: name }, name);
      const caption = make("figcaption", {}, link);
      const image = type ? [make("img", { src: href, alt: `The picture ${name}` })] : [];
      files.append(make("figure", {}, ...image, caption));
    },
  };
}

// An editor with its buttons. `task` is an exercise, or null for the program of a lesson.
function bench(name, original, needs, task) {
  const place = results();
  const verdict = make("div", { className: "verdict", hidden: true });
  const heard = make("div", {}, verdict); // is there before the words, so that they are read out
  heard.setAttribute("role", "status");
  let before = null;
  let running = false;
  const label = task ? `Your answer: ${task.title}` : `The program of lesson ${name.slice(0, 2)}`;
  const field = editor(work.code[name] ?? original, label, {
    changed(value) {
      if (value === original) delete work.code[name];
      else work.code[name] = value;
      note();
    },
    go: () => start(task ? "check" : "run"),
  });

  function start(what) {
    if (python.job || (needs && !python.numpy)) return;
    place.clear();
    verdict.hidden = true;
    field.mark(0);
    running = true;
    place.said.textContent = python.ready ? "It runs ..." : "It runs when Python is there ...";
    python.do({ [what]: true, name, source: field.text, seen });
  }

  function seen(data) {
    for (const { text: printed, error } of data.out ?? []) place.print(printed, error);
    if (data.file) place.file(data.file, data.bytes);
    if (data.done) {
      place.said.textContent = `Done in ${(data.milliseconds / 1000).toFixed(2)} s.`;
      if (data.done.line) field.mark(data.done.line);
      if ("passed" in data.done) judged(data.done);
    }
    if (data.stopped) {
      place.said.textContent = "Stopped.";
      const late = `${name}: not yet. Not done after ${LIMIT / 1000} seconds`;
      const text = `${late}; is there a loop without an end?`;
      if (data.late) judged({ passed: false, text });
    }
    if (data.broken) place.said.textContent = `Python ended: ${data.broken}`;
    if (data.done || data.stopped || data.broken) running = false;
  }

  function judged({ passed, text: words }) {
    work.tried[name] = true;
    if (passed) work.passed[name] = true;
    note();
    verdict.hidden = false;
    verdict.textContent = words;
    verdict.className = passed ? "verdict right" : "verdict";
    navigation();
  }

  const check = task && button("Check", () => start("check"), "main");
  const run = button("Run", () => start("run"), task ? "" : "main");
  const stop = button("Stop", () => python.stop(), "stop");
  const again = button("Start again", () => {
    before = field.text;
    field.set(original);
    back.hidden = false;
    place.said.textContent = "The text is as it was at first.";
  });
  const back = button("Take that back", () => {
    field.set(before);
    back.hidden = true;
    place.said.textContent = "";
  });
  back.hidden = true;
  const buttons = [...(check ? [check] : []), run, stop, again, back];
  shown.push(() => {
    const cannot = python.job !== null || (needs && !python.numpy);
    run.disabled = cannot;
    if (check) check.disabled = cannot;
    stop.hidden = !running;
  });
  const row = make("div", { className: "row" }, ...buttons, place.said);
  return [field.element, row, heard, ...place.elements];
}

// ---- pages --------------------------------------------------------------------------------------

// Words with `code` in them.
function words(line) {
  return line.split("`").map((piece, k) => (k % 2 ? make("code", {}, piece) : piece));
}

// Paragraphs; what is indented stays as it is.
function paragraphs(long) {
  return long.split(/\n\s*\n/).filter((one) => one.trim()).map((one) =>
    /^ {2,}/m.test(one)
      ? make("pre", { tabIndex: 0 }, one)
      : make("p", {}, ...words(one.replace(/\s*\n\s*/g, " "))),
  );
}

function headed(head, long) {
  const [first, ...rest] = paragraphs(long);
  first.prepend(make("b", {}, head), " ");
  return [first, ...rest];
}

function folded(head, ...inside) {
  return make("details", {}, make("summary", {}, head), ...inside);
}

function exercise(task) {
  const parts = [...paragraphs(task.task)];
  if (task.questions.length) {
    const items = task.questions.map(([question]) => make("li", {}, ...words(question)));
    parts.push(make("p", {}, "Before you run anything, guess:"), make("ul", {}, ...items));
  }
  const place = make("div");
  const reveal = button("Show one right answer", () => {
    if (!work.tried[task.name]) {
      place.replaceChildren(make("p", {}, "Try first: after one check the answer is yours."));
    } else if (python.job) {
      place.replaceChildren(make("p", {}, "Python is busy; wait for it, or stop it."));
    } else {
      const seen = ({ done }) => {
        const look = { className: "answer", tabIndex: 0 };
        if (done) place.replaceChildren(make("pre", look, done.text));
      };
      python.do({ answer: true, name: task.name, seen });
    }
  });
  place.setAttribute("role", "status");
  const about = make("span", { className: "tag" }, `${task.minutes} minutes`);
  const title = make("h3", {}, `${task.key} ${task.title}`, about);
  return make(
    "section", { id: `e-${task.name}` }, title, make("div", { className: "task" }, ...parts),
    ...bench(task.name, task.start, task.needs, task),
    folded("A hint", make("p", {}, ...words(task.hint))),
    folded("The answer", make("p", { className: "row" }, reveal), place),
  );
}

// What is said where NumPy is needed and is not there, with the way to get it.
function missing(needs) {
  if (!needs) return [];
  const state = make("p", { className: "soft" });
  state.setAttribute("role", "status");
  const get = button("Load NumPy from cdn.jsdelivr.net", async () => {
    get.disabled = true;
    state.textContent = "NumPy is on its way ...";
    try {
      const answer = await fetch(course.numpy.url, { integrity: course.numpy.integrity });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      numpy = { name: course.numpy.file, bytes: new Uint8Array(await answer.arrayBuffer()) };
      note();
      python.stop();
    } catch (error) {
      state.textContent = `NumPy did not come (${error.message}). Is this computer online?`;
      get.disabled = false;
    }
  }, "main");
  const box = make(
    "div", { className: "notice" },
    make("p", {}, "This lesson computes with NumPy, which is not in this file. To run it, " +
      "load NumPy once from the network, about 3 MB. A copy that you save afterwards has it " +
      "inside and needs no network."),
    make("div", { className: "row" }, get, state),
  );
  shown.push(() => {
    box.hidden = python.numpy || (!python.ready && numpy !== null);
  });
  return [box];
}

function lesson(one) {
  const k = course.lessons.indexOf(one);
  const after = course.lessons[k + 1];
  const keys = "Ctrl+Enter runs it. Tab indents; Escape, then Tab, leaves the text.";
  const parts = [
    make("section", {},
      make("h2", {}, `${one.number} ${one.title}`),
      ...one.text.flatMap(paragraphs),
      ...(one.look ? headed("Look at:", one.look) : []),
      ...missing(one.needs || one.exercises.some((task) => task.needs)),
      ...bench(one.name, one.code, one.needs, null),
      make("p", { className: "soft keys" }, keys),
      ...(one.exercise ? headed("To try:", one.exercise) : [])),
    ...one.exercises.map(exercise),
  ];
  if (after) {
    const next = make("a", { href: `#${after.number}` }, `Next: ${after.number} ${after.title}`);
    parts.push(make("p", {}, next));
  }
  return parts;
}

function navigation() {
  const items = course.lessons.map((one) => {
    const of = one.exercises.length;
    const done = one.exercises.filter((task) => work.passed[task.name]).length;
    const count = make("span", { className: done === of ? "count all" : "count" });
    if (of) count.textContent = done === of ? "\u2713 done" : `${done} of ${of}`;
    const link = make("a", { href: `#${one.number}` },
      make("span", {}, one.number), make("span", {}, one.short), count);
    if (one.number === work.lesson) link.setAttribute("aria-current", "page");
    return make("li", {}, link);
  });
  const select = make("select", {
    onchange: () => {
      location.hash = select.value;
    },
  });
  select.append(...course.lessons.map((one) =>
    make("option", { value: one.number, selected: one.number === work.lesson },
      `${one.number} ${one.short}`)));
  const choose = make("label", { id: "choose" }, "Lesson", select);
  at("nav").replaceChildren(make("ol", {}, ...items), choose);
  for (const task of course.lessons.flatMap((one) => one.exercises)) {
    at(`e-${task.name}`)?.classList.toggle("passed", Boolean(work.passed[task.name]));
  }
}

function visit() {
  const wanted = location.hash.slice(1) || work.lesson;
  if (wanted === "main") return; // the link to the lesson
  const one = course.lessons.find(({ number }) => number === wanted) ?? course.lessons[0];
  const moved = work.lesson !== one.number && at("main").firstChild;
  if (python.job) python.stop(); // it belongs to the lesson that is left
  work.lesson = one.number;
  shown.length = 0;
  at("main").replaceChildren(...lesson(one));
  navigation();
  show();
  if (moved) {
    at("main").focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

// ---- a copy with the work in it -----------------------------------------------------------------

function base64(array) {
  let out = "";
  for (let k = 0; k < array.length; k += 0x8000) {
    out += String.fromCharCode(...array.subarray(k, k + 0x8000));
  }
  return btoa(out);
}

async function copied() {
  const page = document.documentElement.cloneNode(true);
  for (const id of ["nav", "main", "state"]) page.querySelector(`#${id}`).replaceChildren();
  page.querySelector("#state").textContent = "Python starts ...";
  page.querySelector("#work").textContent = JSON.stringify(work).replace(/</g, "\\u003c");
  if (numpy && !page.querySelector("#part-numpy")) {
    const stream = new Blob([numpy.bytes]).stream().pipeThrough(new CompressionStream("gzip"));
    const packed = new Uint8Array(await new Response(stream).arrayBuffer());
    const kept = make("script", { type: "application/octet-stream", id: "part-numpy" });
    kept.textContent = base64(packed);
    page.querySelector("#part-sources").after(kept, "\n");
  }
  return `<!doctype html>\n${page.outerHTML}\n`;
}

at("save").onclick = async () => {
  const href = URL.createObjectURL(new Blob([await copied()], { type: "text/html" }));
  const name = decodeURIComponent(location.pathname.split("/").pop()).replace(/\.html?$/, "");
  make("a", { href, download: `${name.replace(/ \(my copy\)$/, "")} (my copy).html` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60000);
  saved = true;
};

addEventListener("beforeunload", (event) => {
  if (!saved) event.preventDefault();
});
addEventListener("hashchange", visit);
window.started = true;
visit();
python.begin();

// A text area for programs: coloured words, numbered lines, Tab and Enter as programs need them.
"use strict";

const WORDS = new Set(
  ("False None True and as assert async await break class continue def del elif else except " +
    "finally for from global if import in is lambda nonlocal not or pass raise return try while " +
    "with yield match case").split(" "),
);
const TOKENS = new RegExp(
  [
    "(#[^\\n]*)",
    "([rbfuRBFU]{0,2}(?:\"\"\"[\\s\\S]*?(?:\"\"\"|$)|'''[\\s\\S]*?(?:'''|$)" +
      "|\"(?:\\\\.|[^\"\\\\\\n])*\"?|'(?:\\\\.|[^'\\\\\\n])*'?))",
    "(\\b\\d[\\w.]*)",
    "([A-Za-z_]\\w*)",
  ].join("|"),
  "g",
);

function make(tag, settings = {}, ...inside) {
  const { label, ...rest } = settings;
  const element = Object.assign(document.createElement(tag), rest);
  if (label) element.setAttribute("aria-label", label);
  element.append(...inside);
  return element;
}

// The text of a program in pieces, the known ones in a span of their class.
function coloured(text) {
  const pieces = [];
  let last = 0;
  for (const found of text.matchAll(TOKENS)) {
    const kind = found[1] ? "r" : found[2] ? "t" : found[3] ? "n" : WORDS.has(found[4]) ? "k" : "";
    if (!kind) continue;
    pieces.push(text.slice(last, found.index), make("span", { className: kind }, found[0]));
    last = found.index + found[0].length;
  }
  return [...pieces, text.slice(last), "\n"];
}

function insert(area, text) {
  // execCommand keeps the browser's undo; where it is gone the text is put in without.
  if (!document.execCommand?.("insertText", false, text)) {
    area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
    area.dispatchEvent(new Event("input"));
  }
}

// An editor of a text: {element, text, set(text), mark(line)}; `changed` and `go` are called.
function editor(start, label, { changed, go }) {
  const numbers = make("pre", { className: "numbers" });
  const paint = make("pre", { className: "paint" });
  const area = make("textarea", { label, spellcheck: false, wrap: "off", value: start });
  area.autocapitalize = area.autocomplete = "off";
  for (const hidden of [numbers, paint]) hidden.setAttribute("aria-hidden", "true");
  let bad = 0;
  let leaving = false; // after Escape, Tab leaves

  function draw() {
    paint.replaceChildren(...coloured(area.value));
    const count = area.value.split("\n").length;
    const lines = Array.from({ length: count }, (_, k) =>
      make("span", { className: k + 1 === bad ? "bad" : "" }, `${k + 1}\n`),
    );
    numbers.replaceChildren(...lines);
  }

  area.addEventListener("input", () => {
    bad = 0;
    draw();
    changed(area.value);
  });
  area.addEventListener("keydown", (event) => {
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      go();
    } else if (event.key === "Tab" && plain && !leaving) {
      event.preventDefault();
      const column = area.value.slice(0, area.selectionStart).split("\n").pop().length;
      insert(area, " ".repeat(4 - (column % 4)));
    } else if (event.key === "Enter" && plain && !event.isComposing) {
      event.preventDefault();
      const line = area.value.slice(0, area.selectionStart).split("\n").pop();
      const deeper = /:\s*(#.*)?$/.test(line) ? "    " : "";
      insert(area, "\n" + line.match(/^ */)[0] + deeper);
    }
    leaving = event.key === "Escape";
  });
  draw();
  return {
    element: make("div", { className: "editor" }, numbers, paint, area),
    get text() {
      return area.value;
    },
    set(text) {
      area.value = text;
      bad = 0;
      draw();
      changed(text);
    },
    mark(line) {
      bad = line;
      draw();
    },
  };
}

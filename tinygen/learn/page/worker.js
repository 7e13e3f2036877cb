// Python in a worker, so that the page can stop it: what `start` brings is all that it gets.
//
// The page sends {start} once, then {run | check | answer, name, source}. The worker sends
// {ready}; {began} of a check, {out} while a program prints, {file, bytes} and {done}; or {failed}.
"use strict";

const MOST = 200000; // characters that one program may print here
const EVERY = 60; // milliseconds between two messages of what was printed
const ROOT = "/course";
let python, inside, printed, waiting, since;

// Pyodide takes only workers that are modules, since others cannot import everywhere. Here they
// can, and a module from a blob does not start in Chromium on a page that is a file.
self.importScripts = () => {
  throw new Error("not in this worker");
};

function address(content, type) {
  return URL.createObjectURL(new Blob([content], { type }));
}

function flush() {
  if (waiting.length) postMessage({ out: waiting });
  waiting = [];
  since = performance.now();
}

function print(text, error) {
  if (printed > MOST) return;
  printed += text.length;
  if (printed > MOST) text += "\n... more is not shown\n";
  const last = waiting[waiting.length - 1];
  if (last && last.error === error) last.text += text;
  else waiting.push({ text, error });
  if (performance.now() - since > EVERY || printed > MOST) flush();
}

function stream(error) {
  const decoder = new TextDecoder();
  return {
    write(bytes) {
      print(decoder.decode(bytes, { stream: true }), error);
      return bytes.length;
    },
  };
}

async function start({ module, glue, loader, library, lock, sources, needing, numpy }) {
  const net = self.fetch;
  const own = { "pyodide.asm.wasm": new Uint8Array() }; // it is compiled already: `module`
  if (numpy) own[numpy.name] = numpy.bytes;
  self.fetch = (what, ...more) => {
    const name = String(what.url ?? what).split("/").pop();
    return name in own ? Promise.resolve(new Response(own[name])) : net(what, ...more);
  };
  WebAssembly.instantiateStreaming = async (response, imports) => ({
    module,
    instance: await WebAssembly.instantiate(module, imports),
  });
  const { default: createPyodideModule } = await import(address(glue, "text/javascript"));
  const { loadPyodide } = await import(address(loader, "text/javascript"));
  const nowhere = "https://page.invalid/"; // answered above; nothing is asked of a network
  python = await loadPyodide({
    createPyodideModule,
    indexURL: nowhere,
    packageBaseUrl: nowhere,
    lockFileContents: lock,
    stdLibURL: address(library, "application/zip"),
  });
  WebAssembly.instantiateStreaming = undefined; // NumPy's own parts are instantiated from bytes
  if (numpy) await python.loadPackage("numpy", { messageCallback() {}, checkIntegrity: false });
  python.setStdout(stream(false));
  python.setStderr(stream(true));
  python.FS.mkdirTree(ROOT);
  python.unpackArchive(sources, "zip", { extractDir: ROOT });
  python.runPython(`import sys; sys.path.insert(0, "${ROOT}/tinygen/learn"); import inside`);
  python.runPython("sys.path.pop(0)");
  inside = python.pyimport("inside");
  const has = inside.start(ROOT);
  if (!has) for (const path of needing) python.FS.unlink(`${ROOT}/${path}`); // none can be read
  postMessage({ ready: python.runPython("sys.version.split()[0]"), numpy: has });
}

function work({ run, check, answer, name, source }) {
  printed = 0;
  waiting = [];
  since = performance.now();
  const began = performance.now();
  let done = {};
  if (run) done = JSON.parse(inside.run(name, source));
  if (check) {
    inside.prepare(name);
    postMessage({ began: true }); // from here on the time of a check counts
    done = JSON.parse(inside.check(name, source));
  }
  if (answer) done = JSON.parse(inside.answer(name));
  flush();
  for (const path of done.files ?? []) {
    const bytes = python.FS.readFile(path);
    postMessage({ file: path.split("/").pop(), bytes }, [bytes.buffer]);
  }
  postMessage({ done, milliseconds: performance.now() - began });
}

self.onmessage = async ({ data }) => {
  try {
    if (data.start) await start(data.start);
    else work(data);
  } catch (error) {
    postMessage({ failed: String(error?.message ?? error) });
  }
};

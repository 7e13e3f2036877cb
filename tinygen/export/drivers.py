"""What draws with an exported file where it is at home, for `verify`: Python, node, a browser.

Each is given the exported file and the question as JSON {"seeds", "labels", "seconds", "folder"}.
It leaves pixels.raw and trace.raw (float32) in the folder and prints {"start", "rate"}; the page
returns all of it. The trace of Python is empty where its first image took so long.
"""

PYTHON = """
import array, importlib.util, json, sys, time
path, ask = sys.argv[1], json.loads(sys.argv[2])
began = time.perf_counter()
spec = importlib.util.spec_from_file_location("exported", path)
exported = importlib.util.module_from_spec(spec)
spec.loader.exec_module(exported)
draw = lambda seed, label: exported.generate(1, seed, label)[0]
first = draw(ask["seeds"][0], ask["labels"][0])
start, began = time.perf_counter() - began, time.perf_counter()
images = [first]
for one in zip(ask["seeds"][1:], ask["labels"][1:]):
    if start + time.perf_counter() - began > ask["seconds"]:
        break
    images.append(draw(*one))
rate = (len(images) - 1) / (time.perf_counter() - began) if len(images) > 1 else None
with open(ask["folder"] + "/pixels.raw", "wb") as file:
    file.write(b"".join(bytes(x) for x in images))
code, label = exported.codes(1, ask["seeds"][0])[0], ask["labels"][0] or 0
with open(ask["folder"] + "/trace.raw", "wb") as file:
    for values in exported.trace("draw", code, label) if start <= ask["seconds"] else ():
        array.array("f", values).tofile(file)
print(json.dumps({"start": start, "rate": rate}))
"""

JAVASCRIPT = """
import { writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
const [path, text] = process.argv.slice(-2), ask = JSON.parse(text);
let began = performance.now();
const { codes, generate, trace } = await import(pathToFileURL(path));
const draw = (i) => generate({ seed: ask.seeds[i], label: ask.labels[i] })[0];
const images = [draw(0)], start = (performance.now() - began) / 1000;
began = performance.now();
const open = () => start + (performance.now() - began) / 1000 <= ask.seconds;
for (let i = 1; i < ask.seeds.length && open(); i += 1) images.push(draw(i));
const rate = images.length > 1 ? (images.length - 1) / (performance.now() - began) * 1000 : null;
const levels = images.map(({ channels, data }) => data.filter((_, i) => i % 4 < channels));
writeFileSync(ask.folder + "/pixels.raw", Buffer.concat(levels.map((x) => Buffer.from(x))));
const steps = trace("draw", codes(1, ask.seeds[0])[0], ask.labels[0]);
const floats = steps.map(({ values }) => Buffer.from(Float32Array.from(values).buffer));
writeFileSync(ask.folder + "/trace.raw", Buffer.concat(floats));
console.log(JSON.stringify({ start, rate }));
"""

PAGE = """
({ seeds, labels, seconds: most }) => {
  const began = performance.now(), levels = [];
  for (const [i, seed] of seeds.entries()) {
    if (i && performance.now() - began > 1000 * most) break;
    const [{ channels, data }] = tinygen.generate({ seed, label: labels[i] });
    levels.push(Array.from(data.filter((_, k) => k % 4 < channels)));
  }
  const seconds = (performance.now() - began) / 1000;
  const steps = tinygen.trace("draw", tinygen.codes(1, seeds[0])[0], labels[0]);
  return { levels, seconds, steps: steps.map(({ values }) => Array.from(values)) };
}
"""

// A trained model in plain JavaScript: random numbers, graphs of operations, pictures. No
// dependency; the same in a browser and in node. `model` describes the graphs, `base64` holds their
// weights; both are checked.
function generator(model, base64) {
  const [height, width, channels] = model.image;
  const [low, high] = model.range;
  const classes = model.classes.length;
  const parts = unpack(model, base64);

  // n pictures of a seed. Picture i does not depend on n. A model that has labels draws rows of ten
  // where none is given: picture i has label floor(i / 10) mod classes. `truncation` scales codes.
  function generate({ seed = 0, label, n = 1, truncation = 1, ...settings } = {}) {
    const all = codes(n, seed);
    if (!Number.isFinite(truncation)) {
      throw new RangeError(`truncation is ${truncation}; expected a number`);
    }
    return all.map((code, i) => {
      const rows = classes && label == null ? Math.floor(i / 10) % classes : label;
      return decode(code.map((z) => z * truncation), rows, settings);
    });
  }

  // The codes of a seed, Float32Array each: entries i latent and on of draw 0 of a stream of random
  // numbers whose key comes from the seed and the stream's name (`model.stream`, its hash).
  function codes(n = 1, seed = 0) {
    if (!Number.isInteger(n) || n < 1 || n > 65536) {
      throw new RangeError(`n is ${n}; expected a whole number, 1 to 65536`);
    }
    const root = seedOf(seed) ^ 0x74696e7967656e31n; // "tinygen1"
    const halves = [Number(root & 0xffffffffn), Number(root >> 32n)];
    const [k0, k1] = philox([...model.stream, 0, 0], ...halves);
    const all = new Float32Array(n * model.latent);
    for (let i = 0; i < all.length; i += 4) {
      const words = philox([i / 4, 0, 0, 0], k0, k1);
      for (let k = 0; k < 4 && i + k < all.length; k++) {
        const word = words[k];
        all[i + k] = model.prior === "normal" ? normal(word) : 2 * ((word >>> 8) / 2 ** 24) - 1;
      }
    }
    return Array.from({ length: n }, (_, i) => all.slice(i * model.latent, (i + 1) * model.latent));
  }

  // The picture that a code stands for: { width, height, channels, data }, RGBA as in ImageData.
  function decode(code, label, settings) {
    return picture(run("draw", code, label, settings).result.values);
  }

  // The code of a picture (as from `decode`; of a grey model its red is read): { mean, logvar }.
  function encode(image, label) {
    const ends = run("encode", image, label).result.values;
    return { mean: ends.slice(0, model.latent), logvar: ends.slice(model.latent) };
  }

  // What each operation gives: [{ name, shape, values }]. "draw" takes a code, "encode" a
  // picture.
  function trace(part, input, label, settings) {
    return run(part, input, label, settings).steps.map(({ name, shape, values }) => (
      { name, shape: shape.slice(1), values: Float64Array.from(values) }));
  }

  function run(...given) {
    return finished(running(...given));
  }

  function* running(part, input, label, settings = {}) {
    const graph = parts[part];
    if (!graph) {
      throw new Error(`this file has no part ${part}; it has: ${Object.keys(parts).join(", ")}`);
    }
    const x = part === "encode" ? levels(input) : Float64Array.from(input);
    const size = part === "encode" ? height * width * channels : model.latent;
    if (x.length !== size) throw new RangeError(`${part}: ${x.length} numbers; expected ${size}`);
    if (!classes && label != null) {
      throw new RangeError(`label is ${label}; this model has no labels`);
    }
    const numbers = part === "draw" && model.settings.length ? chosen(model, settings) : [];
    return yield* performing(graph, [x, ...(classes ? [[known(label)]] : []), ...numbers]);
  }

  // The number of a label. A text is the name of a class or, where none is called by a number, its
  // place from 0.
  function known(label) {
    let number = label;
    if (typeof label === "string") {
      number = model.classes.indexOf(label);
      if (number < 0 && model.counted && /^\d+$/.test(label)) number = Number(label);
    }
    if (!Number.isInteger(number) || number < 0 || number >= classes) {
      const names = model.classes.slice(0, 20).map((name) => JSON.stringify(name)).join(", ");
      throw new RangeError(`label is ${typeof label === "string" ? JSON.stringify(label) : label}; ` +
        (model.counted ? `expected a whole number, 0 to ${classes - 1}, or a name: ${names}`
          : `expected a name: ${names}`) +
        (classes > 20 ? ", ..." : ""));
    }
    return number;
  }

  function picture(values) {
    const data = new Uint8ClampedArray(4 * height * width).fill(255); // which rounds and clips
    for (let i = 0; i < height * width; i++) {
      for (let c = 0; c < 3; c++) {
        const value = values[i * channels + (channels === 3 ? c : 0)];
        if (!Number.isFinite(value)) throw new DamagedError("a pixel is no number");
        data[4 * i + c] = ((value - low) / (high - low)) * 255;
      }
    }
    return { width, height, channels, data };
  }

  function levels({ width: w, height: h, data }) {
    if (w !== width || h !== height || data.length !== 4 * width * height) {
      throw new RangeError(`a picture of ${w} x ${h}; expected ${width} x ${height}, RGBA`);
    }
    const level = (i) => data[4 * Math.floor(i / channels) + (i % channels)];
    return Float64Array.from({ length: width * height * channels },
      (_, i) => (level(i) / 255) * (high - low) + low);
  }

  // What differs from what the model gave when this file was made; nothing, if all is well. `drawn`
  // is the picture of its code, where that was drawn before.
  function selfTest(drawn) {
    const { seed, label, code, image, mean } = model.test;
    const wrong = [];
    const expect = (what, found, right, most) => {
      const worst = right.reduce((w, x, i) => Math.max(w, Math.abs(found[i] - x)), 0); // or NaN
      if (!(worst <= most)) wrong.push(`${what} is off by ${worst}, more than ${most}`);
    };
    const floats = (base64) => new Float32Array(bytesOf(base64).buffer);
    const hot = classes ? label : undefined;
    const levels = bytesOf(image);
    const right = picture(Array.from(levels, (v) => (v / 255) * (high - low) + low));
    try {
      expect("the code", codes(1, seed)[0], floats(code), 0);
      if (parts.draw) expect("the picture", (drawn ?? decode(floats(code), hot)).data, right.data, 1);
      if (parts.encode) expect("the mean code", encode(right, hot).mean, floats(mean), 1e-3);
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      wrong.push(error.message);
    }
    return wrong;
  }

  const filming = (...way) => framed(model, running, picture, ...way);
  return { about: model.about, generate, codes, decode, encode, trace, selfTest, filming,
    film: (...way) => framesOf(filming(...way)) };
}

// ---- the graph: a list of operations on arrays { shape, values }, which are numbered --------------

// What each operation of a graph gives for its inputs, and the result; all of one picture.
function* performing({ inputs, constants, operations, outputs }, given) {
  const known = [...inputs.map(({ shape }, i) => ({ shape: shape.map(sized), values: given[i] })),
    ...constants];
  yield* execute(operations, known);
  const steps = operations.map(({ op, outs }) => ({ name: op, ...known[outs[0]] }));
  return { steps, result: known[outputs[0]] };
}

// A size [a, b] is a n + b for n pictures.
function sized(size) {
  return typeof size === "number" ? size : size[0] + size[1];
}

// What an iterator returns in the end.
function finished(steps) {
  for (;;) {
    const { value, done } = steps.next();
    if (done) return value;
  }
}

// Comes back after each operation, and with the state of a loop after each turn.
function* execute(operations, known) {
  for (const op of operations) {
    const args = op.args.map((k) => (k === null ? null : known[k]));
    const shape = op.shape.map(sized);
    const made = op.body ? yield* turns(op, args, known)
      : [{ shape, values: computed(op, args, shape) }];
    op.outs.forEach((k, i) => { known[k] = made[i]; });
    yield;
  }
}

const product = (sizes) => sizes.reduce((a, b) => a * b, 1);

// How far apart the neighbours along each axis are.
function steps(shape) {
  return shape.map((_, axis) => product(shape.slice(axis + 1)));
}

// Where each element of a shape is in an array whose axes have the steps `along`.
const PLACES = new Map();
function places(shape, along, start = 0) {
  const name = `${shape}|${along}|${start}`, known = PLACES.get(name);
  if (known) return known;
  const found = new Int32Array(product(shape));
  PLACES.set(name, found);
  found[0] = start;
  for (let axis = shape.length - 1, filled = 1; axis >= 0; axis--) {
    for (let i = filled; i < filled * shape[axis]; i++) found[i] = found[i - filled] + along[axis];
    filled *= shape[axis];
  }
  return found;
}

// The numbers of x repeated to a shape, from the last axis on; of a constant they are kept.
function spread(x, shape) {
  const { shape: own, values, kept } = x, size = product(shape);
  if (values.length === size) return values;
  const name = shape.join();
  if (kept?.has(name)) return kept.get(name);
  const lead = shape.length - own.length, out = new Float64Array(size);
  const first = own.findIndex((n) => n !== 1);
  if (values.length === 1) out.fill(values[0]);
  else if (own.every((n, axis) => axis < first || n === shape[lead + axis])) {
    for (let i = 0; i < size; i += values.length) out.set(values, i);
  } else {
    const along = steps(own).map((step, axis) => (own[axis] === 1 ? 0 : step));
    places(shape, [...Array(lead).fill(0), ...along]).forEach((k, i) => { out[i] = values[k]; });
  }
  kept?.set(name, out);
  return out;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

// Rows of operations, by name; convolution.js and operations.js have more.
const POINTWISE = {
  add: (x, y) => x + y,
  sub: (x, y) => x - y,
  mul: (x, y) => x * y,
  div: (x, y) => x / y,
  sigmoid,
  tanh: Math.tanh,
  softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  relu: (x) => Math.max(x, 0),
  leaky_relu: (x, { slope }) => (x > 0 ? x : slope * x),
};

const TILES = {};
const OTHERS = {
  reshape: (_, [x]) => x.values,
  concat: ({ axis }, args, shape) => {
    const out = new Float64Array(product(shape));
    const ends = args.map((x) => product(x.shape.slice(axis)));
    for (let k = 0, to = 0; to < out.length; k++) {
      args.forEach(({ values }, i) => {
        for (let j = k * ends[i]; j < (k + 1) * ends[i]; j++) out[to++] = values[j];
      });
    }
    return out;
  },
  one_hot: ({ classes }, [labels]) => Float64Array.from(
    { length: labels.values.length * classes },
    (_, i) => +(labels.values[Math.floor(i / classes)] === i % classes)),
  matmul_nd: (_, [x, y], shape) => {
    const out = new Float64Array(product(shape)), lead = shape.slice(0, -2);
    const [n, m] = y.shape.slice(-2), count = x.shape.at(-2);
    const [first, second] = [x, y].map((v) => {
      const own = [...Array(shape.length - v.shape.length).fill(1), ...v.shape.slice(0, -2)];
      return places(lead, steps(own).map((step, a) => (own[a] === 1 ? 0 : step)));
    });
    first.forEach((i, k) => {
      if (count > 3 && TILES.rows) {
        TILES.rows(out, k * count, count, n, m, x, i, y, second[k]);
        return;
      }
      for (let row = 0; row < count; row++) {
        multiply(out, (k * count + row) * m, m, x.values, (i * count + row) * n, n, y.values,
          second[k] * n * m);
      }
    });
    return out;
  },
};

const LOOPS = {};

// The numbers that one operation gives.
function computed(op, args, shape) {
  if (op.op in OTHERS) return OTHERS[op.op](op, args, shape);
  const f = POINTWISE[op.op], out = new Float64Array(product(shape));
  const [x, y, z] = args.map((v) => spread(v, shape));
  if (op.op in LOOPS) LOOPS[op.op](out, x, y);
  else if (z) for (let i = 0; i < out.length; i++) out[i] = f(x[i], y[i], z[i]);
  else if (y) for (let i = 0; i < out.length; i++) out[i] = f(x[i], y[i]);
  else for (let i = 0; i < out.length; i++) out[i] = f(x[i], op);
  return out;
}

// y[to + j] += sum_i x[from + i] w[at + i m + j], i < n, j < m: a row vector times a matrix. Eight
// rows at a time, so that y is read and written an eighth as often.
function multiply(y, to, m, x, from, n, w, at) {
  const r1 = m, r2 = 2 * m, r3 = 3 * m, r4 = 4 * m, r5 = 5 * m, r6 = 6 * m, r7 = 7 * m;
  const end = to + m;
  let i = from;
  for (; i + 8 <= from + n; i += 8, at += 8 * m) {
    const x0 = x[i], x1 = x[i + 1], x2 = x[i + 2], x3 = x[i + 3];
    const x4 = x[i + 4], x5 = x[i + 5], x6 = x[i + 6], x7 = x[i + 7];
    for (let j = to, k = at; j < end; j++, k++) {
      y[j] += x0 * w[k] + x1 * w[k + r1] + x2 * w[k + r2] + x3 * w[k + r3] +
        x4 * w[k + r4] + x5 * w[k + r5] + x6 * w[k + r6] + x7 * w[k + r7];
    }
  }
  for (; i < from + n; i++, at += m) {
    for (let j = to, k = at; j < end; j++, k++) y[j] += x[i] * w[k];
  }
}

// ---- random numbers: Philox 4x32-10 (Salmon et al., SC'11) --------------------------------------

function seedOf(seed) {
  const known = Number.isSafeInteger(seed) || typeof seed === "bigint" || typeof seed === "string";
  if (!known || !/^\d{1,20}$/.test(`${seed}`) || BigInt(seed) >= 2n ** 64n) {
    throw new RangeError(`seed is ${String(seed)}; expected a whole number, 0 to 2^64 - 1 ` +
      "(from 2^53 on as a BigInt or a string)");
  }
  return BigInt(seed);
}

// The upper 32 bits of the product of two numbers of 32 bits, by parts of 16 bits.
function upper(x, y) {
  const xl = x & 0xffff, xh = x >>> 16, yl = y & 0xffff, yh = y >>> 16;
  const middle = xh * yl + ((xl * yl) >>> 16), lower = xl * yh + (middle & 0xffff);
  return xh * yh + Math.floor(middle / 65536) + Math.floor(lower / 65536);
}

// Four words of 32 random bits, a function of a counter of four words and a key of two.
function philox([x0, x1, x2, x3], k0, k1) {
  for (let round = 0; round < 10; round++) {
    const a = upper(x0, 0xd2511f53), al = Math.imul(x0, 0xd2511f53) >>> 0;
    const b = upper(x2, 0xcd9e8d57), bl = Math.imul(x2, 0xcd9e8d57) >>> 0;
    [x0, x1, x2, x3] = [(b ^ x1 ^ k0) >>> 0, bl, (a ^ x3 ^ k1) >>> 0, al];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [x0, x1, x2, x3];
}

const polynomial = (x, coefficients) => coefficients.reduce((sum, c) => sum * x + c);

// The number below which a share (w + 1/2) / 2^32 of the normal distribution lies, from + - * / and
// sqrt alone, in this order: the same bits on every machine.
function normal(w) {
  const h = w < 2 ** 31 ? -0.5 - w : 2 ** 32 - 1 - w + 0.5; // distance from the nearer end
  let m = Math.abs(h), e = 0;
  for (; m >= 1; m /= 2) e += 1;
  const r = (m - 1) / (m + 1);
  const u = 31 - e - r * polynomial(r * r, [0.3611495316534145, 0.30590518673588324,
    0.4132137396269725, 0.5770443396136213, 0.9617971700865757, 2.885390079858712]);
  const x = u * Math.sqrt(polynomial(u, [1.3833917855877442, 156.64337416248748,
    3763.276714618121, 27508.63775501264, 67892.86931321931, 49651.33027078408]) /
    polynomial(u, [1, 117.74493470721416, 3111.28304757976, 27450.89148835632,
      95427.78760206971, 135562.6931563642, 65790.04814907639]));
  return h < 0 ? -x : x;
}

// ---- weights -----------------------------------------------------------------------------------

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

// What the text of a description says, whose SHA-256 is `digits`.
function described(text, digits) {
  check("description", text, digits);
  return JSON.parse(text);
}

class DamagedError extends Error {}

// Throws DamagedError if a text has another SHA-256 than when the file was made.
function check(what, text, expected) {
  const found = sha256(new TextEncoder().encode(text));
  if (found !== expected) {
    throw new DamagedError(`this file is damaged: the SHA-256 of its ${what} is ${found.slice(0, 12)}..., ` +
      `expected ${`${expected}`.slice(0, 12)}...; take another copy of the file`);
  }
}

// SHA-256 (FIPS 180-4) in hexadecimal digits. Its constants are the first 32 bits behind the point
// of the square and cube roots of the first primes. Browsers have it too, but not at once.
function sha256(bytes) {
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((p) => n % p)) primes.push(n);
  const fraction = (x) => ((x % 1) * 2 ** 32) | 0;
  const constants = Int32Array.from(primes, (p) => fraction(Math.cbrt(p)));
  const hash = Int32Array.from(primes.slice(0, 8), (p) => fraction(Math.sqrt(p)));
  const length = bytes.length, whole = length & ~63;
  const end = new Uint8Array(length - whole < 56 ? 64 : 128); // the rest, 1 bit, the length in bits
  end.set(bytes.subarray(whole));
  end[length - whole] = 128;
  new DataView(end.buffer).setUint32(end.length - 8, Math.floor(length / 2 ** 29));
  new DataView(end.buffer).setUint32(end.length - 4, length << 3);
  const w = new Int32Array(64);
  const turn = (x, n) => (x >>> n) | (x << (32 - n));
  const blocks = (data, count) => {
    for (let at = 0; at < count; at += 64) {
      for (let i = 0, k = at; i < 16; i++, k += 4) {
        w[i] = (data[k] << 24) | (data[k + 1] << 16) | (data[k + 2] << 8) | data[k + 3];
      }
      for (let i = 16; i < 64; i++) {
        const x = w[i - 15], y = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (turn(x, 7) ^ turn(x, 18) ^ (x >>> 3)) +
          (turn(y, 17) ^ turn(y, 19) ^ (y >>> 10));
      }
      let a = hash[0], b = hash[1], c = hash[2], d = hash[3];
      let e = hash[4], f = hash[5], g = hash[6], h = hash[7];
      for (let i = 0; i < 64; i++) {
        const t = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + (g ^ (e & (f ^ g))) +
          constants[i] + w[i]) | 0;
        const u = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) | (c & (a | b)));
        h = g; g = f; f = e; e = (d + t) | 0; d = c; c = b; b = a; a = (t + u) | 0;
      }
      hash[0] += a; hash[1] += b; hash[2] += c; hash[3] += d;
      hash[4] += e; hash[5] += f; hash[6] += g; hash[7] += h;
    }
  };
  blocks(bytes, whole);
  blocks(end, end.length);
  return Array.from(hash, (x) => (x >>> 0).toString(16).padStart(8, "0")).join("");
}

// The graph of each part, its constants with their numbers: these come one after the other, those
// of int8 with the scale of each output. Little endian, as is every machine that runs JavaScript.
// Of a page, graphs and numbers are compressed; `unpacked` are their bytes.
function unpack({ parts, sha256: digits, unpacked: size }, base64) {
  check("weights", base64, digits);
  let bytes = bytesOf(base64);
  if (size) [parts, bytes] = unpacked(bytes, size);
  let from = 0;
  const take = (Type, count) => { // a copy, because numbers may not begin anywhere
    const part = bytes.slice(from, (from += count * Type.BYTES_PER_ELEMENT));
    return new Type(part.buffer);
  };
  const types = { float32: Float32Array, float16: Uint16Array, int8: Int8Array, int32: Int32Array };
  const constant = ({ shape, kind, value }) => {
    if (!kind) return { shape, values: [value] };
    const stored = take(types[kind], product(shape));
    if (kind === "float16") return { shape, values: Float32Array.from(stored, half) };
    if (kind !== "int8") return { shape, values: stored };
    const scale = take(Float32Array, shape.at(-1));
    return { shape, values: Float32Array.from(stored, (v, i) => v * scale[i % scale.length]) };
  };
  const read = {};
  for (const [name, graph] of Object.entries(parts)) {
    const constants = graph.constants.map((each) => ({ ...constant(each), kept: new Map() }));
    read[name] = { ...graph, constants };
  }
  return read;
}

// A number of 16 bits: sign, 5 bits of exponent, 10 of fraction.
function half(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
  return bits >> 15 ? -size : size;
}

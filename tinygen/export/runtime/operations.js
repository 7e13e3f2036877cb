
// ---- rows of more operations, for a model that has one of them ----------------------------------

// The last state of a loop.
function* turns({ n, body }, state, known) {
  // [k, a, b] is a m + b for the number m of array k.
  const count = typeof n === "number" ? n : n[1] * known[n[0]].values[0] + n[2];
  for (let i = 0; i < count; i++) {
    const heads = [{ shape: [], values: [i] }, ...state];
    body.inputs.forEach((k, j) => { known[k] = heads[j]; });
    for (const _ of execute(body.operations, known)) yield; // loops within it say nothing
    state = body.outputs.map((k) => known[k]);
    yield state[0].values;
  }
  return state;
}

// 2 / sqrt(pi) e^(-x x) (x + 2 x^3 / 3 + 4 x^5 / 15 + ...), whose terms have one sign.
function erf(x) {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x, sum = x;
  for (let k = 1; Math.abs(term) > 1e-17 * Math.abs(sum); k++) {
    term *= (2 * x * x) / (2 * k + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

// The nearest whole number; halves go to the even one.
function round(x) {
  const below = Math.floor(x), rest = x - below;
  return below + +(rest > 0.5 || (rest === 0.5 && below % 2 !== 0));
}

// The rest of a division, of the sign of y.
function remainder(x, y) {
  const rest = x % y;
  return rest && (rest < 0) !== (y < 0) ? rest + y : rest;
}

Object.assign(POINTWISE, {
  floor: Math.floor,
  remainder,
  floor_divide: (x, y) => Math.round((x - remainder(x, y)) / y),
  round,
  mask_and: (x, y) => +(x && y),
  mask_or: (x, y) => +(x || y),
  maximum: (x, y) => Math.max(x, y),
  minimum: (x, y) => Math.min(x, y),
  abs: Math.abs,
  sqrt: Math.sqrt,
  exp: Math.exp,
  log: Math.log,
  sin: Math.sin,
  cos: Math.cos,
  erf,
  clip: (x, { low, high }) => Math.min(Math.max(x, low ?? -Infinity), high ?? Infinity),
  where: (condition, x, y) => (condition ? x : y),
  equal: (x, y) => +(x === y),
  not_equal: (x, y) => +(x !== y),
  less: (x, y) => +(x < y),
  less_equal: (x, y) => +(x <= y),
  greater: (x, y) => +(x > y),
  greater_equal: (x, y) => +(x >= y),
  broadcast_to: (x) => x,
  cast: (x, { dtype }) => (dtype.startsWith("int") ? Math.trunc(x)
    : dtype === "bool" ? +(x !== 0) : x),
});

// Of the numbers from one place up to another.
function total(x, from, to) {
  let sum = 0;
  for (let i = from; i < to; i++) sum += x[i];
  return sum;
}
function most(x, from, to) {
  let max = x[from];
  for (let i = from; i < to; i++) max = Math.max(max, x[i]);
  return max;
}
const REDUCED = {
  sum: total,
  mean: (x, from, to) => total(x, from, to) / (to - from),
  max: most,
  min: (x, from, to) => x.subarray(from, to).reduce((a, b) => Math.min(a, b)),
  argmax: (x, from, to) => x.subarray(from, to).indexOf(most(x, from, to)),
  any: (x, from, to) => +x.subarray(from, to).some((v) => v !== 0),
  all: (x, from, to) => +x.subarray(from, to).every((v) => v !== 0),
};
// These change the numbers where they are.
const IN_ROWS = {
  softmax: (x, from, to) => {
    const max = most(x, from, to);
    for (let i = from; i < to; i++) x[i] = Math.exp(x[i] - max);
    const all = total(x, from, to);
    for (let i = from; i < to; i++) x[i] /= all;
  },
  log_softmax: (x, from, to) => {
    const max = most(x, from, to);
    let all = 0;
    for (let i = from; i < to; i++) all += Math.exp(x[i] - max);
    for (let i = from; i < to; i++) x[i] -= max + Math.log(all);
  },
  cumsum: (x, from, to) => { for (let i = from + 1; i < to; i++) x[i] += x[i - 1]; },
};

// The places of the numbers of x, those along the axes of an operation in a row, and its length.
function rows({ axis }, { shape }) {
  const axes = axis === null ? shape.map((_, a) => a) : [axis].flat();
  const turned = [...shape.keys()].filter((a) => !axes.includes(a)).concat(axes);
  const along = steps(shape);
  return [places(turned.map((a) => shape[a]), turned.map((a) => along[a])),
    product(axes.map((a) => shape[a]))];
}

function gathered({ values }, found) {
  const out = new Float64Array(found.length);
  for (let i = 0; i < out.length; i++) out[i] = values[found[i]];
  return out;
}

function inRows(op, [x], shape) {
  const [found, size] = rows(op, x), values = gathered(x, found);
  const out = new Float64Array(product(shape)), f = REDUCED[op.op] ?? IN_ROWS[op.op];
  for (let k = 0; k < found.length; k += size) {
    const made = f(values, k, k + size);
    if (op.op in REDUCED) out[k / size] = made;
    else for (let i = k; i < k + size; i++) out[found[i]] = values[i];
  }
  return out;
}

for (const name of Object.keys({ ...REDUCED, ...IN_ROWS })) OTHERS[name] = inRows;

Object.assign(OTHERS, {
  argsort: (op, [x], shape) => {
    const [found, size] = rows(op, x), values = gathered(x, found), sign = op.descending ? -1 : 1;
    const out = new Float64Array(product(shape));
    for (let k = 0; k < found.length; k += size) { // equal numbers stay in their order
      const turned = [...Array(size).keys()].sort((i, j) => sign * (values[k + i] - values[k + j]));
      turned.forEach((v, i) => { out[found[k + i]] = v; });
    }
    return out;
  },
  take_along_axis: (op, [x, indices], shape) => {
    const [from, n] = rows(op, x), [to, m] = rows(op, { shape });
    const out = new Float64Array(product(shape));
    to.forEach((place, k) => {
      const i = indices.values[place];
      out[place] = x.values[from[Math.floor(k / m) * n + (i < 0 ? i + n : i)]];
    });
    return out;
  },
  transpose: ({ axes }, [x], shape) => {
    const along = steps(x.shape);
    return gathered(x, places(shape, axes.map((a) => along[a])));
  },
  slice: ({ parts }, [x], shape) => {
    const along = steps(x.shape);
    const start = parts.reduce((sum, [first], a) => sum + sized(first) * along[a], 0);
    return gathered(x, places(shape, parts.map(([, , step], a) => step * along[a]), start));
  },
  put: ({ axis }, [x, value, { values: [i] }], shape) => {
    const out = Float64Array.from(x.values), inner = product(shape.slice(axis + 1));
    spread(value, shape.filter((_, a) => a !== axis)).forEach((v, k) => {
      out[(Math.floor(k / inner) * shape[axis] + i) * inner + (k % inner)] = v;
    });
    return out;
  },
  take: ({ axis }, [x, indices], shape) => {
    const out = new Float64Array(product(shape)), inner = product(x.shape.slice(axis + 1));
    for (let k = 0, to = 0; to < out.length; k += x.shape[axis] * inner) {
      for (const i of indices.values) {
        for (let j = k + i * inner; j < k + (i + 1) * inner; j++) out[to++] = x.values[j];
      }
    }
    return out;
  },
});

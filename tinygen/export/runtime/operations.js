
// ---- rows of more operations, for a model that has one of them ----------------------------------

// The last state of a loop.
function turns({ n, body }, state, known) {
  for (let i = 0; i < n; i++) {
    const heads = [{ shape: [], values: [i] }, ...state];
    body.inputs.forEach((k, j) => { known[k] = heads[j]; });
    execute(body.operations, known);
    state = body.outputs.map((k) => known[k]);
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

const total = (row) => row.reduce((a, b) => a + b, 0);
const REDUCED = {
  sum: total,
  mean: (row) => total(row) / row.length,
  max: (row) => row.reduce((a, b) => Math.max(a, b)),
  min: (row) => row.reduce((a, b) => Math.min(a, b)),
  argmax: (row) => row.indexOf(row.reduce((a, b) => Math.max(a, b))),
  any: (row) => +row.some((x) => x !== 0),
  all: (row) => +row.every((x) => x !== 0),
};
const IN_ROWS = {
  softmax: (row) => {
    const powers = row.map((x) => Math.exp(x - REDUCED.max(row))), all = total(powers);
    return powers.map((x) => x / all);
  },
  log_softmax: (row) => {
    const most = REDUCED.max(row), all = Math.log(total(row.map((x) => Math.exp(x - most))));
    return row.map((x) => x - most - all);
  },
  cumsum: (row) => { let sum = 0; return row.map((x) => (sum += x)); },
};

// The places of the numbers of x, those along the axes of an operation in a row, and its length.
function rows({ axis }, { shape }) {
  const axes = axis === null ? shape.map((_, a) => a) : [axis].flat();
  const turned = [...shape.keys()].filter((a) => !axes.includes(a)).concat(axes);
  const along = steps(shape);
  return [places(turned.map((a) => shape[a]), turned.map((a) => along[a])),
    product(axes.map((a) => shape[a]))];
}

const gathered = ({ values }, found) => Float64Array.from(found, (k) => values[k]);

function inRows(op, [x], shape) {
  const [found, size] = rows(op, x), values = gathered(x, found);
  const out = new Float64Array(product(shape));
  for (let k = 0; k < found.length; k += size) {
    const row = values.slice(k, k + size);
    if (op.op in REDUCED) out[k / size] = REDUCED[op.op](row);
    else IN_ROWS[op.op](row).forEach((v, i) => { out[found[k + i]] = v; });
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

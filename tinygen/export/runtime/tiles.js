
// ---- products of many rows, for a model that has some --------------------------------------------

// A matrix (n, m) in panels of four columns, whose rows follow each other, zeros beside the last
// ones; of a constant it is kept.
function inPanels({ values, kept }, at, n, m) {
  const name = `panels ${at} ${n}`;
  if (kept?.has(name)) return kept.get(name);
  const panels = new Float64Array(n * 4 * Math.ceil(m / 4));
  for (let j = 0, to = 0; j < m; j += 4) {
    for (let k = 0; k < n; k++, to += 4) {
      for (let c = 0; c < 4 && j + c < m; c++) panels[to + c] = values[at + k * m + j + c];
    }
  }
  kept?.set(name, panels);
  return panels;
}

// out[to + i m + j] = sum_k X[i, k] W[k, j] for so many rows i, k < n, j < m, four rows and four
// columns at a time. `fill` puts a row of X into a tile: number k of row 4 t + c at 4 k + c.
function gemm(out, to, count, n, m, panels, fill) {
  const tile = new Float64Array(4 * n), sums = new Float64Array(16);
  for (let row = 0; row < count; row += 4) {
    const some = Math.min(4, count - row);
    for (let c = 0; c < some; c++) fill(tile, row + c, c);
    for (let j = 0; j < m; j += 4) {
      sixteen(tile, panels, j * n, n, sums);
      const wide = Math.min(4, m - j);
      for (let r = 0, at = to + row * m + j; r < some; r++, at += m) {
        for (let c = 0; c < wide; c++) out[at + c] = sums[4 * r + c];
      }
    }
  }
}

function sixteen(x, w, at, n, sums) {
  let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
  let c0 = 0, c1 = 0, c2 = 0, c3 = 0, d0 = 0, d1 = 0, d2 = 0, d3 = 0;
  for (let k = 0; k < 4 * n; k += 4, at += 4) {
    const w0 = w[at], w1 = w[at + 1], w2 = w[at + 2], w3 = w[at + 3];
    const a = x[k], b = x[k + 1], c = x[k + 2], d = x[k + 3];
    a0 += a * w0, a1 += a * w1, a2 += a * w2, a3 += a * w3;
    b0 += b * w0, b1 += b * w1, b2 += b * w2, b3 += b * w3;
    c0 += c * w0, c1 += c * w1, c2 += c * w2, c3 += c * w3;
    d0 += d * w0, d1 += d * w1, d2 += d * w2, d3 += d * w3;
  }
  sums[0] = a0, sums[1] = a1, sums[2] = a2, sums[3] = a3;
  sums[4] = b0, sums[5] = b1, sums[6] = b2, sums[7] = b3;
  sums[8] = c0, sums[9] = c1, sums[10] = c2, sums[11] = c3;
  sums[12] = d0, sums[13] = d1, sums[14] = d2, sums[15] = d3;
}

// Rows of a product of matrices: `count` of matrix i of x with matrix j of y.
TILES.rows = (out, first, count, n, m, x, i, y, j) => {
  gemm(out, first * m, count, n, m, inPanels(y, j * n * m, n, m), (tile, row, to) => {
    const from = (i * count + row) * n;
    for (let c = from; c < from + n; c++, to += 4) tile[to] = x.values[c];
  });
};

// What is most frequent has a loop of its own, in which nothing is called.
Object.assign(LOOPS, {
  add: (out, x, y) => { for (let i = 0; i < out.length; i++) out[i] = x[i] + y[i]; },
  sub: (out, x, y) => { for (let i = 0; i < out.length; i++) out[i] = x[i] - y[i]; },
  mul: (out, x, y) => { for (let i = 0; i < out.length; i++) out[i] = x[i] * y[i]; },
  sigmoid: (out, x) => { for (let i = 0; i < out.length; i++) out[i] = 1 / (1 + Math.exp(-x[i])); },
});

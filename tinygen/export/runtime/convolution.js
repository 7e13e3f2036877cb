
// ---- convolutions, for a model that has one ------------------------------------------------------

// A window of a x b pixels of the larger image belongs to each pixel of the smaller one. A
// convolution sums the window up into the pixel, a transposed one spreads the pixel over it. Pixels
// have their channels side by side; weights are (rows, columns, channels in of a group, channels
// out).
function convolve({ op, stride, before, dilation, groups }, [x, w], shape) {
  if (op === "conv2d_nd" && groups === 1) return summed(stride, before, dilation, x, w, shape);
  const out = new Float64Array(product(shape)), forward = op === "conv2d_nd";
  const [small, large] = (forward ? [shape, x.shape] : [x.shape, shape]).map((s) => s.slice(1, 3));
  const n = x.shape[3], m = shape[3], kernel = w.shape;
  for (let i = 0; i < x.shape[0] * small[0]; i++) {
    const image = Math.floor(i / small[0]) * large[0];
    for (let j = 0; j < small[1]; j++) {
      const pixel = i * small[1] + j;
      for (let a = 0; a < kernel[0]; a++) {
        const row = (i % small[0]) * stride[0] + a * dilation[0] - before[0];
        if (row < 0 || row >= large[0]) continue; // zeros around the image
        for (let b = 0; b < kernel[1]; b++) {
          const column = j * stride[1] + b * dilation[1] - before[1];
          if (column < 0 || column >= large[1]) continue;
          const other = (image + row) * large[1] + column;
          const to = (forward ? pixel : other) * m, from = (forward ? other : pixel) * n;
          const tap = (a * kernel[1] + b) * (n / groups) * m;
          if (groups === 1) multiply(out, to, m, x.values, from, n, w.values, tap);
          else grouped(out, to, m, x.values, from, n / groups, w.values, tap, m / groups);
        }
      }
    }
  }
  return out;
}

// A convolution as a product of the pixels' windows, zeros beside the image, and the weights.
function summed(stride, before, dilation, x, w, shape) {
  const out = new Float64Array(product(shape)), [, rows, columns, m] = shape;
  const [, high, wide, n] = x.shape, [down, across] = w.shape, values = x.values;
  const size = down * across * n;
  const fill = (tile, pixel, to) => {
    const image = Math.floor(pixel / (rows * columns)) * high, place = pixel % (rows * columns);
    const top = Math.floor(place / columns) * stride[0] - before[0];
    const left = (place % columns) * stride[1] - before[1];
    for (let a = 0; a < down; a++) {
      const row = top + a * dilation[0];
      for (let b = 0; b < across; b++) {
        const column = left + b * dilation[1];
        if (row < 0 || row >= high || column < 0 || column >= wide) {
          for (let c = 0; c < n; c++, to += 4) tile[to] = 0;
        } else {
          let from = ((image + row) * wide + column) * n;
          for (let c = 0; c < n; c++, to += 4) tile[to] = values[from++];
        }
      }
    }
  };
  gemm(out, 0, shape[0] * rows * columns, size, m, inPanels(w, 0, size, m), fill);
  return out;
}

// As multiply; output j sees the n inputs of its group of `each` outputs.
function grouped(y, to, m, x, from, n, w, at, each) {
  for (let j = 0; j < m; j++) {
    const first = from + Math.floor(j / each) * n;
    for (let i = 0; i < n; i++) y[to + j] += x[first + i] * w[at + i * m + j];
  }
}

Object.assign(OTHERS, {
  conv2d_nd: convolve,
  conv2d_dx: convolve,
});

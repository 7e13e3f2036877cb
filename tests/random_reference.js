// The random numbers of tinygen in JavaScript, written from their definition and not from the
// Python.
//
//     node random_reference.js KEY DRAW COUNT > values
//
// writes COUNT uniforms (float32), normals (float32) and normals (float64), raw bytes, of the
// draw number DRAW of the stream with this key.
"use strict";

function high(x, y) {  // the upper 32 bits of a product of 32-bit numbers, by 16-bit parts
  const xl = x & 0xffff, xh = x >>> 16, yl = y & 0xffff, yh = y >>> 16;
  const mid = xh * yl + ((xl * yl) >>> 16), low = xl * yh + (mid & 0xffff);
  return xh * yh + Math.floor(mid / 65536) + Math.floor(low / 65536);
}

function block(b, draw, key) {  // all are [low, high] pairs
  let [x0, x1, x2, x3, k0, k1] = [...b, ...draw, ...key];
  for (let round = 0; round < 10; round++) {
    const ah = high(x0, 0xd2511f53), al = Math.imul(x0, 0xd2511f53) >>> 0;
    const bh = high(x2, 0xcd9e8d57), bl = Math.imul(x2, 0xcd9e8d57) >>> 0;
    [x0, x1, x2, x3] = [(bh ^ x1 ^ k0) >>> 0, bl, (ah ^ x3 ^ k1) >>> 0, al];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [x0, x1, x2, x3];
}

function polynomial(x, coefficients) {  // highest power first
  return coefficients.reduce((total, c) => total * x + c);
}

function normal(w) {
  const h = w < 2 ** 31 ? -0.5 - w : 2 ** 32 - 1 - w + 0.5;
  let m = Math.abs(h), e = 0;
  while (m >= 1) { m /= 2; e += 1; }
  const r = (m - 1) / (m + 1);
  const u = 31 - e - r * polynomial(r * r, [0.3611495316534145, 0.30590518673588324,
    0.4132137396269725, 0.5770443396136213, 0.9617971700865757, 2.885390079858712]);
  const x = u * Math.sqrt(polynomial(u, [1.3833917855877442, 156.64337416248748,
    3763.276714618121, 27508.63775501264, 67892.86931321931, 49651.33027078408]) /
    polynomial(u, [1, 117.74493470721416, 3111.28304757976, 27450.89148835632,
      95427.78760206971, 135562.6931563642, 65790.04814907639]));
  return h < 0 ? -x : x;
}

const [key, draw, count] = process.argv.slice(2).map(BigInt);
const pair = (n) => [Number(n & 0xffffffffn), Number(n >> 32n)];
const n = Number(count), words = new Uint32Array(n + 4);
for (let i = 0; i < n; i += 4) words.set(block(pair(BigInt(i / 4)), pair(draw), pair(key)), i);
const wide = Float64Array.from(words.subarray(0, n), normal);
const parts = [Float32Array.from(words.subarray(0, n), (w) => (w >>> 8) / 2 ** 24),
  Float32Array.from(wide), wide];
for (const p of parts) require("fs").writeFileSync(1, Buffer.from(p.buffer, 0, p.byteLength));

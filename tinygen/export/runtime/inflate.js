
// ---- a page's graphs and weights are compressed (RFC 1950 and 1951) -------------------------------

// The parts of the description and the bytes of the weights: JSON, a line feed, the weights.
function unpacked(bytes, size) {
  const all = inflate(bytes, size), end = all.indexOf(10);
  return [JSON.parse(new TextDecoder().decode(all.subarray(0, end))), all.subarray(end + 1)];
}

// The `size` bytes that were compressed; whether they are whole, their SHA-256 says.
function inflate(bytes, size) {
  const out = new Uint8Array(size);
  let from = 2, to = 0, next = 0, held = 0; // behind two bytes of header; bits of the next bytes
  const fill = (n) => {
    for (; held < n; held += 8) next |= (bytes[from++] ?? 0) << held;
  };
  const drop = (n) => {
    next >>>= n;
    held -= n;
  };
  const bits = (n) => {
    fill(n);
    const value = next & ((1 << n) - 1);
    drop(n);
    return value;
  };
  // For all that 15 bits can be: the symbol whose code they begin with, times 16, and its length.
  const table = (lengths) => {
    const found = new Uint16Array(1 << 15);
    let code = 0;
    for (let n = 1; n < 16; n++, code <<= 1) {
      lengths.forEach((length, symbol) => {
        if (length !== n) return;
        let turned = 0; // codes come with their first bit first
        for (let k = 0; k < n; k++) turned |= ((code >> k) & 1) << (n - 1 - k);
        for (let k = turned; k < found.length; k += 1 << n) found[k] = symbol * 16 + n;
        code++;
      });
    }
    return found;
  };
  const symbol = (found) => {
    fill(15);
    const entry = found[next & 0x7fff];
    drop(entry & 15);
    return entry >> 4;
  };
  // Lengths and distances: the first of each symbol, and the bits that say which of them it is.
  const ranges = (count, first, extra) => Array.from({ length: count }, (_, k) => {
    const each = [first, extra(k)];
    first += 1 << each[1];
    return each;
  });
  const lengths = ranges(28, 3, (k) => Math.max(0, (k >> 2) - 1)).concat([[258, 0]]);
  const distances = ranges(30, 1, (k) => Math.max(0, (k >> 1) - 1));
  const one = ([first, extra]) => first + bits(extra);
  const read = () => { // the tables of a block
    const counts = [257 + bits(5), 1 + bits(5), 4 + bits(4)];
    const order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    const own = Array(19).fill(0), both = [];
    for (let k = 0; k < counts[2]; k++) own[order[k]] = bits(3);
    const found = table(own);
    while (both.length < counts[0] + counts[1]) {
      const n = symbol(found);
      if (n < 16) both.push(n);
      else {
        const [value, times] = n === 16 ? [both.at(-1), 3 + bits(2)]
          : [0, n === 17 ? 3 + bits(3) : 11 + bits(7)];
        for (let k = 0; k < times; k++) both.push(value);
      }
    }
    return [both.slice(0, counts[0]), both.slice(counts[0])];
  };
  for (let last = 0; !last;) {
    last = bits(1);
    const kind = bits(2);
    if (!kind) {
      drop(held & 7);
      const count = bits(16);
      bits(16);
      for (let k = 0; k < count; k++) out[to++] = bits(8);
      continue;
    }
    const usual = [[8, 144], [9, 112], [7, 24], [8, 8]].flatMap(([n, many]) => Array(many).fill(n));
    const [literals, backs] = (kind === 1 ? [usual, Array(30).fill(5)] : read()).map(table);
    for (let n = symbol(literals); n !== 256; n = symbol(literals)) {
      if (n < 256) out[to++] = n;
      else {
        const length = one(lengths[n - 257]), back = one(distances[symbol(backs)]);
        for (let k = 0; k < length; k++, to++) out[to] = out[to - back];
      }
    }
  }
  return out;
}


// ---- settings and films, for a model that has settings of its drawings, or draws in turns ----------

// The settings in turn, a number each; those not given by their defaults.
function chosen({ settings: known }, settings) {
  const names = known.map(({ name }) => name);
  const unknown = Object.keys(settings).find((name) => !names.includes(name));
  if (unknown) {
    throw new RangeError(`${unknown} is no setting of this model's drawings; it has ` +
      (names.join(", ") || "none"));
  }
  return known.map(({ name, whole, default: usual, low, high, expected }) => {
    const value = settings[name] ?? usual;
    const fits = whole ? Number.isSafeInteger(value) : Number.isFinite(value);
    if (!fits || value < (low ?? -Infinity) || value > (high ?? Infinity)) {
      throw new RangeError(`${name} is ${value}; expected ${expected}`);
    }
    return [value];
  });
}

// The way from a code to its picture: the code itself, what it is after each turn of a loop, and
// the picture at last.
function framed({ image: [height, width, channels] }, run, code, label, settings) {
  const states = [Float64Array.from(code)];
  const { result } = run("draw", code, label, settings, (state) => {
    if (state.length === height * width * channels) states.push(state);
  });
  return [...states.slice(0, -1), result.values];
}

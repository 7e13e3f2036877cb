
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

// The pictures on the way from a code to its own: of the code itself, of what it is after each turn
// of a loop, and in the end what is drawn, which stands for the last one. Between two operations it
// gives undefined.
function* framed({ image: [height, width, channels] }, running, picture, code, ...way) {
  yield picture(code);
  const steps = running("draw", code, ...way);
  for (;;) {
    const { value, done } = steps.next();
    if (done) return picture(value.result.values);
    yield value?.length === height * width * channels ? picture(value) : undefined;
  }
}

function framesOf(steps) {
  const frames = [];
  for (;;) {
    const { value, done } = steps.next();
    if (done) return [...frames.slice(0, -1), value];
    if (value) frames.push(value);
  }
}

/** A picture; `new ImageData(data, width, height)` takes it as it is. */
export interface Picture {
  width: number;
  height: number;
  /** 1 (grey: red, green and blue are equal) or 3. */
  channels: number;
  /** Grey levels 0 to 255 as red, green, blue, 255, row by row. */
  data: Uint8ClampedArray;
}

/** A whole number, 0 to 2^64 - 1; from 2^53 on as a bigint or as decimal digits. */
export type Seed = number | bigint | string;

/** A number, 0 and on, or a name (of `about.classes`); a text that is no name is a number, unless names are. */
export type Label = number | string;

export interface Options {
  /** 0 unless given. The same seed gives the same pictures in every exported form. */
  seed?: Seed;
  /** A class, of a model that has labels; rows of ten of each unless given. */
  label?: Label | null;
  /** How many pictures; 1 unless given. Picture i does not depend on n. */
  n?: number;
  /** What codes are multiplied with; 1 unless given. Below 1: more alike, often cleaner. */
  truncation?: number;
  /** A setting of the drawings, such as steps or guidance, of a model that has some. */
  [setting: string]: unknown;
}

/** Settings of a drawing by name: `about.settings` says which there are, with their defaults. */
export interface Settings {
  [setting: string]: number;
}

export interface Activation {
  name: string;
  /** Sizes of the array, without the one for the picture. */
  shape: number[];
  values: Float64Array;
}

/** What the model is: version, architecture, hash of the weights, licences, and more. */
export const about: { readonly [name: string]: unknown };

/** n pictures of a seed. Throws RangeError for a seed, label or count out of range. */
export function generate(options?: Options): Picture[];

/** n codes of a seed, each `latent` numbers long. */
export function codes(n?: number, seed?: Seed): Float32Array[];

/** The picture that a code stands for; a model with labels needs one. */
export function decode(
  code: ArrayLike<number>,
  label?: Label | null,
  settings?: Settings,
): Picture;

/** The pictures on the way from a code to its picture, of a model that draws in turns. */
export function film(
  code: ArrayLike<number>,
  label?: Label | null,
  settings?: Settings,
): Picture[];

/** Mean and log-variance of the code of a picture; throws Error where the file has no part encode. */
export function encode(
  image: { width: number; height: number; data: ArrayLike<number> },
  label?: Label | null,
): { mean: Float64Array; logvar: Float64Array };

/** What each operation gives for a code. */
export function trace(
  part: "draw",
  code: ArrayLike<number>,
  label?: Label | null,
  settings?: Settings,
): Activation[];
/** What each operation gives for a picture. */
export function trace(
  part: "encode",
  image: { width: number; height: number; data: ArrayLike<number> },
  label?: Label | null,
): Activation[];

/** What differs from what the model gave when the file was made: nothing, if all is well. */
export function selfTest(): string[];


// ---- films one after the other, in a worker or, in slices, beside the page ------------------------

// A function that takes jobs: { id, code, label, settings }. A new one takes the place of the one
// before. Posts { id, picture } as they come, the last with `ms`, what the film took; or { id,
// damaged }, why there is none. It hears of other jobs after `slice` ms at work.
function painter(net, post, slice) {
  let id, way, ms, timer;
  const plan = () => { timer ??= setTimeout(on); };
  function on() {
    timer = undefined;
    const begin = performance.now();
    try {
      for (;;) {
        const { value, done } = way.next(), spent = performance.now() - begin;
        if (done) return post({ id, picture: value, ms: ms + spent });
        if (value) post({ id, picture: value });
        if (spent > slice) {
          ms += spent;
          return plan();
        }
      }
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      return post({ id, damaged: error.message });
    }
  }
  return (job) => {
    id = job.id;
    ms = 0;
    way = net.filming(job.code, job.label, job.settings);
    plan();
  };
}

// In a worker: the first message holds the model, all others are jobs.
function serve() {
  let paint;
  globalThis.onmessage = ({ data }) => {
    if (paint) paint(data);
    else paint = painter(generator(data.model, data.weights), (said) => postMessage(said), 100);
  };
}

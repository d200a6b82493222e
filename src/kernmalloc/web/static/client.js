// The kernel as the page has it: each ask is answered by the worker, and whoever watches is told what it came to.

export class Client {
  constructor(data, source) {
    this.data = data;
    this.state = null;
    this.changed = false; // whether it was booted with other settings than the profile's
    this.watchers = [];
    this.waiting = new Map();
    this.asked = 0;
    this.worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    this.worker.onmessage = ({ data: { id, answer, failed } }) => {
      const { resolve, reject } = this.waiting.get(id);
      this.waiting.delete(id);
      if (failed !== undefined) return reject(new Error(failed));
      if (answer?.kern) {
        this.state = answer;
        for (const watcher of this.watchers) watcher(answer);
      }
      resolve(answer);
    };
    this.worker.onerror = (event) => {
      for (const { reject } of this.waiting.values()) reject(new Error(event.message));
    };
    this.ready = this.ask("start", data);
  }

  ask(ask, about) {
    return new Promise((resolve, reject) => {
      const id = this.asked++;
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, ask, about });
    });
  }

  // Whether the bootstrap is over.
  get up() {
    return this.state.kern.stage === BigInt(this.data.up);
  }

  // Step until the kernel is up, or refuses: the last status.
  async boot() {
    let status = 0n;
    while (status >= 0n && !this.up) status = (await this.ask("step")).status;
    return status;
  }

  // Call `watcher(state)` now, if there is a state, and after each change.
  watch(watcher) {
    this.watchers.push(watcher);
    if (this.state) watcher(this.state);
  }

  // What a status says, as the command line says it; null: it is no refusal.
  refusal(result) {
    const [name, meaning] = (result < 0n && result >= -4095n && this.data.status[result]) || [];
    return name ? `${meaning} (${name})` : null;
  }
}

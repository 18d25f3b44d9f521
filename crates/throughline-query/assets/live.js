// Growth: a trace that is still arriving fills itself; the search says that more has come.
import { copying } from "./copy.js";
import { localTimes } from "./time.js";

const DELAY = 400;

// Fetches this page again and puts its main part in place, with folds, open rows and focus as they were.
async function refresh() {
  const answer = await fetch(location.href);
  // A server that is busy now has more to say in a moment.
  if (answer.status === 503) return;
  const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
  if (!next) return;
  const main = document.querySelector("main");
  const kept = (selector) => [...main.querySelectorAll(selector)].map((details) => details.closest("li")?.id).filter(Boolean);
  const opened = kept("details.span[open]");
  const folded = kept("details.sub:not([open])");
  const focused = document.activeElement?.closest("li.n")?.id;
  const find = main.querySelector("#find")?.value;
  // The box and what is typed in it stay: only what follows it is new.
  main.replaceChildren(...next.childNodes);
  const set = (ids, kind, open) => {
    for (const id of ids) {
      const details = document.getElementById(id)?.querySelector(`:scope > details.${kind}`);
      if (details) details.open = open;
    }
  };
  set(opened, "span", true);
  set(folded, "sub", false);
  if (focused) document.getElementById(focused)?.querySelector("summary")?.focus({ preventScroll: true });
  if (find) main.querySelector("#find").value = find;
  copying(main);
  localTimes(main);
  mark();
}

let stream = null;
let timer = 0;

function mark() {
  const button = document.querySelector("#follow");
  if (!button) return;
  button.textContent = stream ? "following" : "follow";
  button.setAttribute("aria-pressed", String(stream !== null));
}

function stop() {
  stream?.close();
  stream = null;
  mark();
}

function start(id) {
  stream = new EventSource(`/tl/v1/trace/${id}/follow`);
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(refresh, DELAY);
  };
  stream.addEventListener("span", soon);
  stream.addEventListener("log", soon);
  stream.addEventListener("quiet", () => {
    stop();
    soon();
  });
  // The browser would ask again and again for a server that has gone.
  stream.addEventListener("error", stop);
  mark();
}

export function following() {
  const trace = document.querySelector("[data-trace]");
  if (!trace) return;
  const { trace: id, state } = trace.dataset;
  document.addEventListener("click", (event) => {
    if (!event.target.closest("#follow")) return;
    event.preventDefault();
    if (stream) stop();
    else start(id);
  });
  if (state === "arriving") start(id);
  addEventListener("pagehide", stop);
}

export function arriving() {
  const chip = document.querySelector("#arrived");
  const waiting = document.querySelector("[data-waiting]");
  const source = new EventSource("/tl/v1/arrivals");
  let traces = 0;
  source.addEventListener("open", () => (document.documentElement.dataset.live = "on"));
  source.addEventListener("arrived", (event) => {
    if (waiting) {
      location.reload();
      return;
    }
    traces += JSON.parse(event.data).traces;
    chip.textContent = `something arrived for ${traces} ${traces === 1 ? "trace" : "traces"}: show`;
    chip.hidden = false;
  });
  source.addEventListener("error", () => source.close());
  addEventListener("pagehide", () => source.close());
}

// The rows of the waterfall: details fetched when they are opened, rows brought into view, find.
import { copying } from "./copy.js";

// Opens every fold around an element and puts the focus on its row.
export function reveal(item) {
  for (let fold = item.parentElement?.closest("details"); fold; fold = fold.parentElement?.closest("details")) {
    fold.open = true;
  }
  const row = item.querySelector(":scope > details.span > summary");
  (row ?? item).focus({ preventScroll: true });
  item.scrollIntoView({ block: "nearest" });
}

async function fill(details) {
  const source = details.dataset.src;
  if (!source) return;
  delete details.dataset.src;
  const body = details.querySelector(":scope > .body");
  try {
    const answer = await fetch(source);
    if (!answer.ok) throw new Error(String(answer.status));
    // Our own server's markup, in which everything foreign is escaped.
    body.innerHTML = await answer.text();
    copying(body);
  } catch (error) {
    details.dataset.src = source;
    body.textContent = `The details could not be fetched (${error}). Close and open the row to try again.`;
  }
}

// The address names the span that was opened last, so that it can be passed on.
function remember(details) {
  const url = new URL(location.href);
  const span = details.closest("li.n").id.slice(2).split(".")[0];
  if (details.open) url.searchParams.set("span", span);
  else if (url.searchParams.get("span") === span) url.searchParams.delete("span");
  url.hash = "";
  history.replaceState(null, "", url);
}

function toHash() {
  const item = location.hash.startsWith("#s-") && document.getElementById(location.hash.slice(1));
  if (!item) return;
  // The browser goes to the address's fragment itself, at any time until the page has loaded, and takes the focus away
  // from the row unless the fragment can have it.
  item.tabIndex = -1;
  reveal(item);
}

function find() {
  const form = document.querySelector("form.find");
  if (!form) return;
  const input = form.querySelector("input");
  const output = form.querySelector("output");
  // Rows whose details are not here cannot be searched here: the server does it then.
  const whole = () => !document.querySelector("details.span[data-src]");
  let hits = [];
  input.addEventListener("input", () => {
    const text = input.value.trim().toLowerCase();
    hits = [];
    for (const item of document.querySelectorAll("li.n")) {
      const row = item.querySelector(":scope > details.span");
      const hit = text !== "" && row !== null && row.textContent.toLowerCase().includes(text);
      item.classList.toggle("hit", hit);
      if (hit) hits.push(item);
    }
    output.textContent = text === "" ? "" : `${hits.length} ${hits.length === 1 ? "span matches" : "spans match"}`;
  });
  form.addEventListener("submit", (event) => {
    if (!whole() && input.value.trim() !== "") return;
    event.preventDefault();
    if (hits.length === 0) return;
    hits.push(hits.shift());
    reveal(hits[hits.length - 1]);
  });
}

export function rows() {
  // `toggle` does not bubble, it can only be caught on the way down.
  document.addEventListener(
    "toggle",
    (event) => {
      const details = event.target;
      if (!details.matches?.("details.span")) return;
      if (details.open) fill(details);
      if (document.documentElement.dataset.ready) remember(details);
    },
    true,
  );
  addEventListener("hashchange", toHash);
  find();
  toHash();
}

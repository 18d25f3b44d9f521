// The sampler's picture, as it changes: the server sends the main part of the page once a second.

export function sampling() {
  const source = new EventSource("/sampler/follow");
  source.addEventListener("open", () => (document.documentElement.dataset.live = "on"));
  source.addEventListener("sampler", (event) => {
    const next = new DOMParser().parseFromString(event.data, "text/html").body;
    document.querySelector("main").replaceChildren(...next.childNodes);
    document.documentElement.dataset.beat = String(1 + Number(document.documentElement.dataset.beat ?? 0));
  });
  // The browser asks again by itself after a moment; a server that has gone is not asked for ever.
  let failures = 0;
  source.addEventListener("open", () => (failures = 0));
  source.addEventListener("error", () => {
    delete document.documentElement.dataset.live;
    failures += 1;
    if (failures > 20) source.close();
  });
  addEventListener("pagehide", () => source.close());
}

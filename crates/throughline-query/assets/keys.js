// Keys. They never act while something is being typed, nor together with a modifier.
import { reveal } from "./rows.js";

function listen(actions, box) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input, select, textarea");
    if (typing) {
      if (event.key === "Escape") typing.blur();
      return;
    }
    if (event.key === "/") {
      event.preventDefault();
      document.querySelector(box)?.select();
      document.querySelector(box)?.focus();
      return;
    }
    const action = actions[event.key];
    if (action && action() !== false) event.preventDefault();
  });
}

// The next element after `from` in `direction` that can be seen, from the near end if there is no `from`.
function beside(elements, from, direction) {
  let at = elements.indexOf(from);
  if (at < 0) at = direction > 0 ? -1 : elements.length;
  for (at += direction; at >= 0 && at < elements.length; at += direction) {
    if (elements[at].checkVisibility()) return elements[at];
  }
  return null;
}

function focus(element) {
  element?.focus({ preventScroll: true });
  element?.scrollIntoView({ block: "nearest" });
}

export function traceKeys() {
  const summaries = () => [...document.querySelectorAll("details.span > summary, .gather > a")];
  const current = () => document.activeElement?.closest("li.n, li.gather");
  const row = () => current()?.querySelector(":scope > details > summary, :scope > a:not(.below)");
  const fold = () => current()?.querySelector(":scope > details.sub");

  const error = (direction) => {
    // In a folded trace also the links to errors that are not on this page, where those would be.
    const errors = [...document.querySelectorAll("li.n:has(> details.error), a.errors[data-last]")];
    if (errors.length === 0) return;
    const here = current();
    // Errors before and after the row with the focus, in the order of the page.
    const after = (item) => !here || here.compareDocumentPosition(item) & Node.DOCUMENT_POSITION_FOLLOWING;
    const before = (item) => !here || here.compareDocumentPosition(item) & Node.DOCUMENT_POSITION_PRECEDING;
    const next = direction > 0 ? errors.find(after) ?? errors[0] : errors.findLast(before) ?? errors.at(-1);
    if (next.dataset.last) location.assign(direction > 0 ? next.href : next.dataset.last);
    else reveal(next);
  };

  listen(
    {
      ArrowDown: () => focus(beside(summaries(), row(), 1)),
      ArrowUp: () => focus(beside(summaries(), row(), -1)),
      ArrowRight: () => {
        const inner = fold();
        if (inner && !inner.open) inner.open = true;
        else focus(beside(summaries(), row(), 1));
      },
      ArrowLeft: () => {
        const inner = fold();
        if (inner?.open) inner.open = false;
        else focus(current()?.parentElement?.closest("li.n, li.gather")?.querySelector(":scope > details > summary"));
      },
      n: () => error(1),
      p: () => error(-1),
      j: () => focus(beside(summaries(), row(), 1)),
      k: () => focus(beside(summaries(), row(), -1)),
    },
    "#find",
  );
}

export function searchKeys() {
  const links = () => [...document.querySelectorAll(".results a.to")];
  const move = (direction) => () => focus(beside(links(), document.activeElement, direction));
  listen({ ArrowDown: move(1), ArrowUp: move(-1), j: move(1), k: move(-1) }, "#q");
}

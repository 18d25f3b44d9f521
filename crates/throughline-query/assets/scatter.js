// Dragging over the scatter narrows the search to that time and duration.

// As in geometry/scatter.rs.
const MARGIN = 15;

export function scatter() {
  const figure = document.querySelector("figure.scatter");
  if (!figure) return;
  const svg = figure.querySelector("svg");
  const from = Number(figure.dataset.from) / 1e6;
  const until = Number(figure.dataset.until) / 1e6;
  const low = Number(figure.dataset.low);
  const high = Number(figure.dataset.high);
  let begun = null;
  let box = null;

  const at = (event) => {
    const frame = svg.getBoundingClientRect();
    const clamp = (value, most) => Math.min(Math.max(value, 0), most);
    return { x: clamp(event.clientX - frame.left, frame.width), y: clamp(event.clientY - frame.top, frame.height), frame };
  };
  const draw = (a, b) => {
    box.setAttribute("x", Math.min(a.x, b.x));
    box.setAttribute("y", Math.min(a.y, b.y));
    box.setAttribute("width", Math.abs(a.x - b.x));
    box.setAttribute("height", Math.abs(a.y - b.y));
  };
  const millis = ({ x, frame }) => from + ((x / frame.width) * 100 - 1) / 98 * (until - from);
  const micros = ({ y, frame }) => 10 ** (low + ((frame.height - MARGIN - y) / (frame.height - 2 * MARGIN)) * (high - low)) / 1e3;

  svg.addEventListener("pointerdown", (event) => {
    if (event.button === 0) begun = at(event);
  });
  // A drag that begins on a point must not drag its link.
  svg.addEventListener("dragstart", (event) => event.preventDefault());
  addEventListener("pointermove", (event) => {
    if (!begun) return;
    const now = at(event);
    if (!box && Math.hypot(now.x - begun.x, now.y - begun.y) < 6) return;
    if (!box) {
      box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      box.classList.add("chosen");
      svg.append(box);
    }
    draw(begun, now);
  });
  addEventListener("pointerup", (event) => {
    if (!begun) return;
    const [a, b] = [begun, at(event)];
    begun = null;
    if (!box) return;
    box.remove();
    box = null;
    event.preventDefault();
    const [left, right] = [a, b].sort((one, other) => one.x - other.x);
    const [top, bottom] = [a, b].sort((one, other) => one.y - other.y);
    const terms = [
      figure.dataset.query,
      `duration>${Math.floor(micros(bottom))}us`,
      `duration<${Math.ceil(micros(top))}us`,
      `after=${new Date(Math.floor(millis(left))).toISOString()}`,
      `before=${new Date(Math.ceil(millis(right))).toISOString()}`,
    ];
    location.assign(`/?q=${encodeURIComponent(terms.filter(Boolean).join(" "))}`);
  });
}

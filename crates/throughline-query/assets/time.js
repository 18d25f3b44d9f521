// Times of day in the reader's own zone; the UTC time stays in the title.

const two = (number) => String(number).padStart(2, "0");

function clock(date) {
  const millis = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${millis}`;
}

export function localTimes(root) {
  for (const time of root.querySelectorAll("time[data-local]")) {
    const date = new Date(time.dateTime);
    if (Number.isNaN(date.getTime())) continue;
    time.title = time.dateTime;
    const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
    const near = time.dataset.local === "near" && date.toDateString() === new Date().toDateString();
    time.textContent = near ? clock(date) : `${day} ${clock(date)}`;
  }
}

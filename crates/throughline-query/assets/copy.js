// Buttons that copy: an id or JSON that is on the page, or a text form that is fetched.

// Shows the copy buttons below `root`. Without a clipboard (plain HTTP from another machine) they stay hidden.
export function copying(root) {
  if (!navigator.clipboard) return;
  for (const button of root.querySelectorAll("button.copy")) button.hidden = false;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  event.preventDefault();
  const said = button.textContent;
  try {
    const url = button.dataset.copyUrl;
    const text = url ? await fetched(url) : button.dataset.copy;
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
  } catch (error) {
    button.textContent = "not copied";
    button.title = String(error);
  }
  setTimeout(() => (button.textContent = said), 1200);
});

async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return answer.text();
}

const form = document.querySelector("#filter"), dialog = document.querySelector("dialog");
const large = document.querySelector("#large"), shots = [...document.querySelectorAll(".shot")];
let current = null;

function filter() {
  const { low, high, outlines } = form.elements, choices = [...form.querySelectorAll("select")];
  const least = low ? +low.value : 0, most = high ? +(high.value || 1) : 1, all = least <= 0 && most >= 1;
  for (const shot of shots) {
    const { score } = shot.dataset;
    shot.hidden = choices.some(c => c.value && !shot.dataset[c.name].split(" ").includes(c.value))
      || (!all && (score === "" || score < least || score > most));
  }
  document.body.classList.toggle("bare", !outlines.checked);
  form.querySelector("output").textContent = shots.filter(s => !s.hidden).length + " of " + shots.length + " pictures";
}

function enlarge(shot) {
  current = shot;
  large.replaceChildren(...shot.cloneNode(true).children);
  large.firstChild.replaceWith(Object.assign(document.createElement("div"),
    { className: "picture", innerHTML: shot.querySelector(".picture").innerHTML }));
  if (!dialog.open) dialog.showModal();
}

function step(by) {
  const visible = shots.filter(s => !s.hidden);
  const next = visible[visible.indexOf(current) + by];
  if (next) enlarge(next);
}

function act(what) {
  if (what === "close") dialog.close();
  else if (what === "bare") form.elements.outlines.click();
  else step(+what);
}

form.addEventListener("input", filter);
form.addEventListener("submit", event => event.preventDefault());
document.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (event.target === dialog) dialog.close();
  else if (button && dialog.contains(button)) act(button.value);
  else if (button) enlarge(button.closest(".shot"));
});
dialog.addEventListener("keydown", event => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
filter();

/** The page: what the user does, and what is shown for it. */

import { $, el, number, say } from "./dom.js";
import { dropped, sorted } from "./files.js";
import { Film } from "./film.js";
import { Findings, summary } from "./findings.js";
import { Moving } from "./moving.js";
import { Reader } from "./reader.js";
import { agreement, thresholdOf } from "./regions.js";
import * as save from "./save.js";
import * as service from "./service.js";
import { Stage, asHeat, painted } from "./stage.js";

const COLORS = { a: "#ffdd00", b: "#56b4e9" };
const narrow = matchMedia("(max-width: 40rem)");

const bundles = new Map(); // name -> as /v1/bundles tells it
const cards = new Map(); // tone "a", "b" -> Findings
const stage = new Stage($("#panes"));
let current = null; // the frame on the stage
let shown = null; // { frame, image, maps: tone -> map } as it is drawn
let turn = 0; // of `show`: an answer that comes late is not drawn

const level = (name) => [...cards.values()].find((card) => card.bundle.name === name).level;
const reader = new Reader({
  bundle: () => cards.get("a").bundle.name,
  level,
  changed: (frame) => film.tell(frame),
  failed,
});
const film = new Film($("#film"), reader, {
  chosen: (frame) => (moves() ? mode("frames", frame) : show(frame)),
  changed: saves,
});
const moving = new Moving($("#moving"), $("#readings"), {
  bundle: () => cards.get("a").bundle.name,
  kept: (file) => take([{ file, path: file.name }], true),
  failed,
  closed: () => mode(reader.frames.length ? "frames" : "empty"),
});

/* ---- what is seen ---- */

const moves = () => ["clip", "live"].includes(document.documentElement.dataset.mode);

function mode(name, frame = current) {
  if (moves()) moving.close();
  document.documentElement.dataset.mode = name;
  $("#moving").hidden = !["clip", "live"].includes(name);
  $("#panes").hidden = $("#views").hidden = name !== "frames";
  $("#welcome").hidden = name !== "empty";
  if (name === "frames") {
    $("#readings").replaceChildren(...[...cards.values()].map((card) => card.root), agreed);
    if (frame) show(frame);
  }
  saves();
}

const agreed = el("p", { className: "agreed" });

function alarm(words, again = null) {
  $("#alert").hidden = !words;
  $("#alert span").textContent = words ?? "";
  $("#again").hidden = !again;
  $("#again").onclick = () => (alarm(null), again());
}

function failed(error) {
  alarm(error.message, error.gone && !moves() ? resume : null);
}

function resume() {
  reader.start(current);
  if (current) show(current);
}

/** Puts a frame on the stage: its picture, and what each bundle found in it. */
async function show(frame) {
  const mine = ++turn,
    late = () => mine !== turn;
  const before = current;
  current = frame;
  shown = null;
  film.mark(frame, before);
  heading();
  for (const card of cards.values()) card.waiting("Looking …");
  agreed.textContent = "";
  $("#stage").ariaBusy = "true";
  try {
    const tones = [...cards.keys()];
    const asked = tones.map((tone) => reader.map(frame, cards.get(tone).bundle.name));
    const [image, ...maps] = await Promise.all([reader.picture(frame), ...asked]);
    if (late()) return;
    shown = { frame, image, maps: Object.fromEntries(tones.map((tone, at) => [tone, maps[at]])) };
    draw();
    ahead(frame);
  } catch (error) {
    if (late()) return;
    stage.explain(error.message);
    for (const card of cards.values()) card.waiting("Not read");
    if (error.gone) failed(error);
    say(`${frame.name}: ${error.message}`);
  } finally {
    if (!late()) $("#stage").ariaBusy = "false";
    saves();
  }
}

/** The next frame's picture is read while this one is looked at; its map is asked for when nothing else is. */
function ahead(frame) {
  const next = reader.frames[reader.frames.indexOf(frame) + 1];
  if (!next || reader.running) return;
  reader.picture(next).catch(() => {});
  if (next.state === "read") reader.map(next, cards.get("a").bundle.name).catch(() => {});
}

function draw() {
  if (!shown) return;
  const { frame, image, maps } = shown,
    kind = $("[name=view]:checked").value,
    views = [];
  if ($("#original").checked)
    views.push({ title: "Original", tone: "", kind: "original", description: `${frame.name}, as it came` });
  for (const [tone, card] of cards) {
    if (!maps[tone]) continue;
    const { name } = card.bundle,
      reading = reader.at(frame, name, maps[tone]);
    card.show(reading, maps[tone]);
    const found = { map: maps[tone], level: card.level, polyps: reading.polyps };
    views.push({
      title: name,
      tone,
      kind,
      found,
      description: `${words[kind]} of ${name}: ${summary(reading.polyps)}`,
    });
  }
  stage.show(image, views);
  if (maps.b) {
    const dice = agreement(maps.a, cards.get("a").level, maps.b, cards.get("b").level);
    agreed.replaceChildren("Agreement of the two masks ", el("b", {}, dice.toFixed(3)), el("small", {}, " Dice"));
  }
  const told = [...cards.values()].map(
    (card) => `${summary(frame.readings.get(card.bundle.name).polyps)} at ${thresholdOf(card.level).toFixed(3)}`,
  );
  say(`Frame ${reader.frames.indexOf(frame) + 1} of ${reader.frames.length}, ${frame.name}: ${told.join("; ")}`);
  film.tell(frame);
}

const words = { contour: "Contour", heat: "Heat map", mask: "Mask" };

function heading() {
  const at = reader.frames.indexOf(current);
  $("#title").replaceChildren(
    el("span", {}, current.name),
    el("small", {}, ` ${number(at + 1)} of ${number(reader.frames.length)}`),
  );
  $("#previous").disabled = at <= 0;
  $("#next").disabled = at >= reader.frames.length - 1;
  $(".steps").hidden = reader.frames.length < 2;
}

function step(by, wanted = () => true) {
  const { frames } = reader;
  let at = frames.indexOf(current) + by;
  while (frames[at] && !wanted(frames[at])) at += Math.sign(by);
  if (frames[at]) show(frames[at]);
}

/* ---- what comes in ---- */

function take(files, named) {
  const { frames, clips } = sorted(files, named);
  if (!frames.length && !clips.length) return alarm("Nothing there that looks like a frame or a clip.");
  const alone = clips.length > 1 || (clips.length && frames.length);
  alarm(
    alone ? `A clip is looked at alone; ${frames.length ? "these are the frames" : `this is ${clips[0].name}`}.` : null,
  );
  if (!frames.length) {
    mode("clip");
    moving.open(clips[0]);
    return saves();
  }
  const added = reader.add(frames);
  film.add(added);
  if (moves())
    current ??= added[0]; // frames that were kept are seen when the clip is closed
  else mode("frames", added[0]);
  reader.start(current);
}

async function act(name) {
  alarm(null);
  if (name === "add") return $("#files").click();
  if (name === "folder") return $("#folders").click();
  mode("live");
  try {
    const opened = name === "camera" ? moving.camera() : moving.source();
    saves();
    await opened;
  } catch (error) {
    mode(reader.frames.length ? "frames" : "empty");
    failed(error);
  }
}

for (const [id, named] of [
  ["#files", true],
  ["#folders", false],
])
  $(id).onchange = ({ target }) => {
    const files = [...target.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
    target.value = "";
    if (files.length) take(files, named);
  };

for (const name of ["add", "folder", "camera", "source"]) $(`#${name}`).onclick = () => act(name);
for (const button of document.querySelectorAll("[data-act]")) button.onclick = () => act(button.dataset.act);

let over = 0; // dragenter and dragleave come for each child
const drag = (on) => $("#stage").classList.toggle("dropping", on);
addEventListener("dragenter", (event) => event.dataTransfer?.types.includes("Files") && drag(++over > 0));
addEventListener("dragleave", () => (over = Math.max(0, over - 1)) || drag(false));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", async (event) => {
  event.preventDefault();
  drag(Boolean((over = 0)));
  const { files, named } = await dropped(event.dataTransfer);
  if (files.length) take(files, named);
});
addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length)
    take(
      files.map((file) => ({ file, path: file.name })),
      true,
    );
});

async function offer() {
  const samples = await service.samples();
  const images = samples.map(({ name, url }) => {
    const image = el("img", { alt: "", width: 112, height: 84 });
    const blob = service.picture(url).then((got) => ((image.src = URL.createObjectURL(got)), got));
    blob.catch(() => {});
    const open = async () =>
      take([{ file: new File([await blob], name, { type: (await blob).type }), path: name }], true);
    return el(
      "li",
      {},
      el("button", { type: "button", ariaLabel: `Drawn frame ${name}`, onclick: () => open().catch(failed) }, image),
    );
  });
  $("#samples ul").replaceChildren(...images);
  $("#samples").hidden = !images.length;
}

/* ---- bundles, side by side ---- */

function choose() {
  const [a, b] = [$("#bundle").value, $("#beside").value];
  const wanted = { a, b: b && b !== a ? b : null };
  for (const [tone, name] of Object.entries(wanted)) {
    if (cards.get(tone)?.bundle.name === name) continue;
    cards.delete(tone);
    if (name)
      cards.set(
        tone,
        new Findings(bundles.get(name), tone, { moved: () => slid(), pointed: (polyp) => stage.light(polyp, tone) }),
      );
  }
  for (const option of $("#beside").options) option.disabled = option.value === a;
  if (!wanted.b) $("#beside").value = "";
}

function rechosen({ target }) {
  const first = cards.get("a").bundle.name;
  choose();
  if (moves())
    return failed(
      new service.ServiceError(
        "The clip goes on with the bundle it began with; close it and open it again for another.",
      ),
    );
  if (target.id === "beside" && target.value) $("#original").checked = false; // two panes are larger than three
  mode(document.documentElement.dataset.mode);
  if (target.id === "bundle" && cards.get("a").bundle.name !== first && reader.frames.length) {
    reader.cancel().then(() => {
      reader.again();
      reader.start(current);
    });
  }
}

let painting = 0;

function slid() {
  cancelAnimationFrame(painting);
  painting = requestAnimationFrame(draw);
}

/* ---- what goes out ---- */

function saves() {
  const all = reader.frames.filter((frame) => frame.readings.size).length;
  const possible = moves()
    ? { overlay: moving.mode !== "source", json: moving.clip, csv: moving.clip }
    : { mask: shown, overlay: shown, json: all, csv: all };
  for (const button of document.querySelectorAll("[data-save]")) {
    button.disabled = !possible[button.dataset.save];
    button.hidden = button.disabled && moves();
  }
  $("#saves").textContent = moves()
    ? ""
    : all > 1
      ? `Mask and overlay of this frame; JSON and CSV of ${number(all)}.`
      : "At native size.";
}

async function saved(what) {
  if (moves()) return moving.save(what);
  const read = reader.frames.filter((frame) => frame.readings.size || frame.error);
  const name = read.length > 1 ? "frames" : save.stem(read[0].name);
  if (what === "json") return save.download(save.json(read), `${name}.json`);
  if (what === "csv") return save.download(save.csv(read), `${name}.csv`);
  const { frame, image, maps } = shown,
    stem = save.stem(frame.name);
  for (const [tone, card] of cards) {
    const suffix = cards.size > 1 ? `-${card.bundle.name}` : "";
    if (what === "mask") save.download(await save.mask(maps[tone], card.level), `${stem}${suffix}.png`);
  }
  if (what !== "overlay") return;
  if ($("[name=view]:checked").value === "heat") {
    const canvas = new OffscreenCanvas(image.width, image.height),
      context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    context.drawImage(painted(maps.a, asHeat), 0, 0);
    return save.download(await canvas.convertToBlob({ type: "image/png" }), `${stem}-heat.png`);
  }
  const drawn = [...cards].map(([tone, card]) => ({
    polyps: frame.readings.get(card.bundle.name).polyps,
    color: COLORS[tone],
  }));
  save.download(await save.overlay(image, drawn), `${stem}-overlay.png`);
}

for (const button of document.querySelectorAll("[data-save]"))
  button.onclick = () => saved(button.dataset.save).catch(failed);

/* ---- keys, theme, dialogs ---- */

const view = (name) => {
  $(`[name=view][value=${name}]`).checked = true;
  draw();
};

const KEYS = {
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  Home: () => show(reader.frames[0]),
  End: () => show(reader.frames.at(-1)),
  n: () => step(1, (frame) => film.positive(frame)),
  p: () => step(-1, (frame) => film.positive(frame)),
  c: () => view("contour"),
  h: () => view("heat"),
  m: () => view("mask"),
  o: () => $("#original").click(),
  "[": () => cards.get("a").step(-5),
  "]": () => cards.get("a").step(5),
  t: () => cards.get("a").nextMark(),
};

addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (target.closest("select") || (key.length > 1 && target.closest("input:not([type=checkbox])"))) return; // its own keys
  if (key.length === 1 && !$("#letters").checked) return;
  const mode = document.documentElement.dataset.mode;
  if (key === "?") $("#keys").showModal();
  else if (key === " " && mode === "clip" && !target.closest("button")) moving.toggle();
  else if (mode === "frames" && KEYS[key]) KEYS[key]();
  else return;
  event.preventDefault();
});

$("#previous").onclick = () => step(-1);
$("#next").onclick = () => step(1);
$("#cancel").onclick = () => reader.cancel();
$("#reread").onclick = () => {
  if (!reader.waiting) reader.again();
  reader.start(current);
};
$("#dismiss").onclick = () => alarm(null);
$("#help").onclick = () => $("#keys").showModal();
$("#bundle").onchange = $("#beside").onchange = rechosen;
$("#original").onchange = draw;
for (const input of document.querySelectorAll("[name=view]")) {
  input.onchange = draw;
  input.onclick = ({ detail }) => detail && input.blur(); // after the mouse, the arrows step through frames again
}

$("#letters").checked = localStorage.getItem("letters") !== "off";
$("#letters").onchange = ({ target }) => localStorage.setItem("letters", target.checked ? "on" : "off");

const dark = matchMedia("(prefers-color-scheme: dark)");
const scheme = (name) => {
  if (name) document.documentElement.dataset.theme = name;
  $("#theme").ariaLabel = `Switch to ${(name ?? (dark.matches ? "dark" : "light")) === "dark" ? "light" : "dark"}`;
};
scheme(localStorage.getItem("theme"));
$("#theme").onclick = () => {
  const now = document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  localStorage.setItem("theme", next);
  scheme(next);
};

service.ask.waiting = (seconds) =>
  alarm(seconds ? `The service is busy: trying again in ${Math.ceil(seconds)} s.` : null);
service.ask.token = (wrong) =>
  new Promise((resolve) => {
    const dialog = $("#token");
    $("#token-wrong").hidden = !wrong;
    $("#token-value").value = "";
    dialog.returnValue = "";
    dialog.onclose = () => resolve(dialog.returnValue === "given" ? $("#token-value").value.trim() : null);
    dialog.showModal();
  });

/* ---- begin ---- */

async function begin() {
  try {
    const answer = await service.bundles();
    for (const bundle of answer.bundles) bundles.set(bundle.name, { ...bundle, calibrated: bundle.calibrated ?? [] });
    const names = [...bundles.keys()];
    $("#bundle").replaceChildren(...names.map((name) => el("option", { value: name }, name)));
    $("#beside").replaceChildren(
      el("option", { value: "" }, "none"),
      ...names.map((name) => el("option", { value: name }, name)),
    );
    $("#bundle").value = answer.default;
    $("#beside").parentElement.hidden = names.length < 2;
    for (const button of document.querySelectorAll("#source, [data-act=source]")) button.hidden = !answer.source;
    const first = bundles.get(answer.default);
    const size = first.parameters ? `${(first.parameters / 1e6).toFixed(1)} M parameters` : null;
    $("#about").textContent = [`${first.name} ${first.version}`, size, `image size ${first.image_size}`]
      .filter(Boolean)
      .join(" · ");
    if (narrow.matches) $("#original").checked = false;
    choose();
    document.documentElement.dataset.ready = "true";
    await offer();
  } catch (error) {
    alarm(error.message, () => location.reload());
  }
}

mode("empty");
begin();

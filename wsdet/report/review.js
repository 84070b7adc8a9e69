"use strict";
// One image at a time. In "correct" every change is saved at once; in "judge" one key answers and goes on.
const $ = id => document.getElementById(id);
const COLORS = ["#ff9a3c", "#58a6ff", "#3ddc6a", "#dd93f2", "#5fd0df", "#ecc551", "#ff7285", "#b0e57c", "#c0b8ff"];
const KEYS = {
  correct: [["Enter", "accept, next image"], ["Backspace", "back"], ["Tab", "next box"], ["arrows", "move the box"],
    ["Shift arrows", "resize it"], ["Delete", "delete it"], ["1 to 9", "its class"], ["drag", "draw, move, resize"]],
  judge: [["y", "correct: IoU above 0.5"], ["n", "wrong"], ["Backspace", "back"]],
};
let data, at = 0, boxes = [], chosen = -1, label = 0, size = [1, 1], drag = null, sending = Promise.resolve(), waiting = 0;

const color = of => COLORS[of % COLORS.length];
const svg = (name, attributes) => {
  const one = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  return one;
};

function send(place, body) {  // one after the other, so that the last state is the one that is kept
  $("state").textContent = "saving ...";
  waiting += 1;
  sending = sending.then(async () => {
    const answer = await fetch(place, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
    if (!answer.ok) throw new Error(await answer.text());
    const {said} = await answer.json();
    waiting -= 1;
    if (!waiting) $("state").textContent = "saved";
    if (said) $("said").textContent = said;
  }).catch(error => { waiting -= 1; $("state").textContent = `not saved: ${error.message}`; });
  return sending;
}

function save() {
  data.entries[at].boxes = boxes.map(box => [...box]);
  data.entries[at].done = true;
  progress();
  return send("answer", {number: at, boxes});
}

function progress() {
  const done = data.entries.filter(one => one.done).length;
  $("progress").textContent = `${at + 1} of ${data.entries.length}, ${done} done`;
}

function show(number) {
  at = Math.max(0, Math.min(number, data.entries.length - 1));
  boxes = data.entries[at].boxes.map(box => [...box]);
  chosen = boxes.length ? 0 : -1;
  if (chosen === 0) label = boxes[0][4];
  $("name").textContent = data.entries[at].id;
  $("image").src = `image/${at}`;
  if (data.mode === "judge") $("question").textContent = `Is this a good box of one ${data.classes[label]}?`;
  progress();
}

function draw() {
  const area = $("boxes");
  area.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
  area.replaceChildren();
  const unit = Math.max(size[0] / area.clientWidth, size[1] / area.clientHeight);
  boxes.forEach(([x1, y1, x2, y2, of], row) => {
    const mine = svg("rect", {x: x1, y: y1, width: x2 - x1, height: y2 - y1, stroke: color(of), "data-row": row,
      class: row === chosen ? "box selected" : "box"});
    const text = svg("text", {x: x1 + 4 * unit, y: y1 + 16 * unit, "font-size": 14 * unit});
    text.textContent = data.classes[of];
    area.append(mine, text);
  });
  if (data.mode === "correct" && chosen >= 0) {
    const box = boxes[chosen];
    for (const [i, j] of [[0, 1], [2, 1], [0, 3], [2, 3]]) {
      area.append(svg("rect", {x: box[i] - 6 * unit, y: box[j] - 6 * unit, width: 12 * unit, height: 12 * unit,
        class: "handle", "data-x": i, "data-y": j}));
    }
  }
  for (const one of $("classes").children) one.classList.toggle("now", Number(one.dataset.label) === label);
}

function choose(row) {
  chosen = row;
  if (row >= 0) label = boxes[row][4];
  draw();
}

function setLabel(of) {
  label = of;
  if (chosen >= 0 && boxes[chosen][4] !== of) { boxes[chosen][4] = of; save(); }
  draw();
}

function remove() {
  if (chosen < 0) return;
  boxes.splice(chosen, 1);
  choose(boxes.length ? Math.min(chosen, boxes.length - 1) : -1);
  save();
}

function shift(dx, dy, resize) {
  if (chosen < 0) return;
  const box = boxes[chosen], [w, h] = size;
  if (!resize) {
    dx = Math.max(-box[0], Math.min(dx, w - box[2]));
    dy = Math.max(-box[1], Math.min(dy, h - box[3]));
    box[0] += dx; box[1] += dy;
  }
  box[2] = Math.max(box[0] + 1, Math.min(box[2] + dx, w));
  box[3] = Math.max(box[1] + 1, Math.min(box[3] + dy, h));
  draw();
  save();
}

async function judge(correct) {
  data.entries[at].done = true;
  const next = data.entries.findIndex((one, n) => n > at && !one.done);
  const sent = send("answer", {number: at, correct});
  if (next >= 0) show(next); else progress();
  await sent;
}

function point(event) {
  const place = new DOMPoint(event.clientX, event.clientY).matrixTransform($("boxes").getScreenCTM().inverse());
  return [Math.max(0, Math.min(place.x, size[0])), Math.max(0, Math.min(place.y, size[1]))];
}

function grab(event) {
  if (data.mode !== "correct" || event.button) return;
  const [x, y] = point(event), on = event.target.dataset;
  $("boxes").setPointerCapture(event.pointerId);
  if (on.x) drag = {row: chosen, i: Number(on.x), j: Number(on.y)};
  else if (on.row) { choose(Number(on.row)); drag = {row: chosen, from: [x, y], was: [...boxes[chosen]]}; }
  else { boxes.push([x, y, x, y, label]); choose(boxes.length - 1); drag = {row: chosen, i: 2, j: 3, fresh: true}; }
}

function pull(event) {
  if (!drag) return;
  const [x, y] = point(event), box = boxes[drag.row];
  if (drag.was) {
    const [x1, y1, x2, y2] = drag.was;
    const dx = Math.max(-x1, Math.min(x - drag.from[0], size[0] - x2)), dy = Math.max(-y1, Math.min(y - drag.from[1], size[1] - y2));
    boxes[drag.row] = [x1 + dx, y1 + dy, x2 + dx, y2 + dy, box[4]];
  } else { box[drag.i] = x; box[drag.j] = y; }
  drag.moved = true;
  draw();
}

function drop() {
  if (!drag) return;
  const {row, moved, fresh} = drag, box = boxes[row];
  drag = null;
  boxes[row] = [Math.min(box[0], box[2]), Math.min(box[1], box[3]), Math.max(box[0], box[2]), Math.max(box[1], box[3]), box[4]];
  const small = boxes[row][2] - boxes[row][0] < 2 || boxes[row][3] - boxes[row][1] < 2;
  if (small && fresh) { boxes.splice(row, 1); choose(-1); return; }
  draw();
  if (moved) save();
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = Math.max(1, Math.max(...size) / 200);
  const arrows = {ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step]};
  if (event.key === "Backspace") show(at - 1);
  else if (data.mode === "judge") {
    if (event.key === "y") judge(true); else if (event.key === "n") judge(false); else return;
  } else if (event.key === "Enter") accept();
  else if (event.key === "Tab" && boxes.length) choose((chosen + (event.shiftKey ? boxes.length - 1 : 1)) % boxes.length);
  else if (event.key === "Delete") remove();
  else if (event.key in arrows) shift(...arrows[event.key], event.shiftKey);
  else if (/^[1-9]$/.test(event.key) && event.key <= data.classes.length) setLabel(Number(event.key) - 1);
  else return;
  event.preventDefault();
}

async function accept() {
  save();
  if (at + 1 < data.entries.length) show(at + 1);
}

async function start() {
  data = await (await fetch("data.json")).json();
  document.body.dataset.mode = data.mode;
  $("judge").hidden = $("next").hidden = false;
  $(data.mode === "judge" ? "next" : "judge").hidden = true;
  if (data.mode === "correct") {
    $("question").textContent = "Correct every box";
    data.classes.forEach((name, of) => {
      const button = document.createElement("button");
      button.textContent = of < 9 ? `${of + 1} ${name}` : name;
      button.style.borderLeftColor = color(of);
      button.dataset.label = of;
      button.addEventListener("click", () => { setLabel(of); button.blur(); });
      $("classes").append(button);
    });
  }
  for (const [name, what] of KEYS[data.mode]) {
    const term = document.createElement("dt"), key = document.createElement("kbd"), text = document.createElement("dd");
    key.textContent = name; text.textContent = what;
    term.append(key);
    $("keys").append(term, text);
  }
  $("image").addEventListener("load", () => { size = [$("image").naturalWidth, $("image").naturalHeight]; draw(); });
  $("boxes").addEventListener("pointerdown", grab);
  $("boxes").addEventListener("pointermove", pull);
  $("boxes").addEventListener("pointerup", drop);
  document.addEventListener("keydown", key);
  window.addEventListener("resize", draw);
  $("previous").addEventListener("click", event => { event.target.blur(); show(at - 1); });
  $("next").addEventListener("click", event => { event.target.blur(); accept(); });
  $("correct").addEventListener("click", event => { event.currentTarget.blur(); judge(true); });
  $("wrong").addEventListener("click", event => { event.currentTarget.blur(); judge(false); });
  $("end").addEventListener("click", async () => {
    await sending;
    await send("end", {});
    $("state").textContent = "finished: this page can be closed";
  });
  show(Math.max(0, data.entries.findIndex(one => !one.done)));
}
start();

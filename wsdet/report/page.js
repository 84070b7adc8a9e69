"use strict";
(() => {
  const { classes, views, images } = JSON.parse(document.getElementById("gallery-data").textContent);
  const [LABEL, SCORE, KIND, IOU] = [4, 5, 6, 7];
  const PAGE = 36;
  const field = (name) => document.getElementById("filter-" + name);
  const grid = document.getElementById("images"), count = document.getElementById("count");
  let chosen = [], shown = 0;

  const add = (parent, tag, className = "", text = "") => {
    const element = parent.appendChild(document.createElement(tag));
    if (className) element.className = className;
    if (text) element.textContent = text;
    return element;
  };
  const option = (select, value, text) => { add(select, "option", "", text).value = value; };
  const nameOf = (label) => (label < 0 ? "any class" : classes[label]);

  const end = document.getElementById("more");
  const observer = new IntersectionObserver((seen) => {
    if (!seen.at(-1).isIntersecting || shown >= chosen.length) return;
    more();
    watch();
  }, { rootMargin: "600px" });
  const watch = () => { observer.unobserve(end); observer.observe(end); };  // it reports changes; this asks anew

  function wanted() {
    const label = field("class").value, kind = field("kind").value;
    const low = parseFloat(field("low").value), high = parseFloat(field("high").value);
    return (box) => (label === "" || box[LABEL] === Number(label) || box[LABEL] < 0) && (kind === "" || box[KIND] === kind) &&
      !(box[IOU] < low) && !(box[IOU] > high);
  }

  function place(frame, box, className) {
    const mark = add(frame, "i", className);
    mark.style.left = box[0] / 10 + "%";
    mark.style.top = box[1] / 10 + "%";
    mark.style.width = (box[2] - box[0]) / 10 + "%";
    mark.style.height = (box[3] - box[1]) / 10 + "%";
  }

  function figure(image, view, matches) {
    const card = add(grid, "figure"), frame = add(card, "div", "frame");
    frame.style.aspectRatio = image.wh[0] + " / " + image.wh[1];
    const img = add(frame, "img");
    img.loading = "lazy";
    img.decoding = "async";
    img.alt = image.id;
    img.src = "data:image/jpeg;base64," + image.jpeg;
    for (const box of image.truth) place(frame, box, "truth");
    for (const box of image.boxes[view] || []) {
      const look = box[KIND] === "missed" ? "missed" : box[KIND] === "correct" ? "good" : "";
      place(frame, box, look + (matches.includes(box) ? "" : " dim"));
    }
    const caption = add(card, "figcaption");
    add(caption, "div", "", image.id);
    for (const box of matches.slice(0, 3)) {
      const line = add(caption, "div");
      add(line, "b", "", nameOf(box[LABEL]));
      const score = box[KIND] === "missed" ? "" : " · score " + box[SCORE].toFixed(2);
      const overlap = box[KIND] === "missed" || !image.truth.length ? "" : " · IoU " + box[IOU].toFixed(2);
      line.append((box[KIND] ? " " + box[KIND] : "") + overlap + score);
    }
    if (matches.length > 3) add(caption, "div", "", "and " + (matches.length - 3) + " more");
  }

  function more() {
    const view = field("view").value;
    for (const [image, matches] of chosen.slice(shown, shown + PAGE)) figure(image, view, matches);
    shown = Math.min(shown + PAGE, chosen.length);
  }

  function filter() {
    const view = field("view").value, fits = wanted();
    const open = field("class").value === "" && field("kind").value === "" && field("low").value === "" && field("high").value === "";
    chosen = images.filter((image) => view in image.boxes)
      .map((image) => [image, image.boxes[view].filter(fits)])
      .filter(([, matches]) => open || matches.length);
    grid.replaceChildren();
    shown = 0;
    watch();
    count.textContent = chosen.length + (chosen.length === 1 ? " image" : " images");
    more();
  }

  function kinds() {
    const select = field("kind"), before = select.value;
    select.replaceChildren();
    option(select, "", "all");
    const there = new Set(images.flatMap((image) => (image.boxes[field("view").value] || []).map((box) => box[KIND])));
    for (const kind of [...there].filter(Boolean).sort()) option(select, kind, kind);
    select.value = there.has(before) ? before : "";
    filter();
  }

  for (const [value, text] of views) option(field("view"), value, text);
  option(field("class"), "", "all");
  classes.forEach((name, label) => option(field("class"), String(label), name));
  field("view").addEventListener("change", kinds);
  for (const name of ["class", "kind", "low", "high"]) field(name).addEventListener("input", filter);
  kinds();
})();

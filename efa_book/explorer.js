// The explorer of clips and answers: one module for JupyterLab (through anywidget) and for a page without a kernel.
// It reads one document, model.get("data"), asks no network, and text of the data only ever becomes text nodes.

const VERDICTS = ["standard", "non-standard"];
const NAMES = ["names the true fault", "names a fault that is not there"];
const OUTCOMES = ["verdict right", "verdict wrong", "action wrong"];
const FIELDS = { system: "System", beside: "Beside it", action: "Action", quality: "True verdict", view: "Seen from" };
FIELDS.outcome = "The system's answer";
const RATE = 8; // pictures a second
const FLAGS = { true: "✓", false: "✗" };

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== ""));
  return node;
}

const hidden = (text) => make("span", { class: "efax-hidden" }, text);
const verdict = (answer) => (answer.wrong >= 0.5 ? 1 : 0);

// [[part, mark]] -> words, each with the mark of its part; a full stop behind a part belongs to its last word.
function words(parts) {
  const found = [];
  parts.forEach(([text, mark], part) => {
    for (const [, blank, word] of text.matchAll(/(\s*)(\S+)/g)) {
      const key = word.toLowerCase().replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, "");
      const glue = found.length > 0 && !blank && !/\s$/.test(parts[part - 1][0]);
      if (glue && !key) found[found.length - 1].word += word;
      else found.push({ word, key, mark, part: mark ? part : -1, glue });
    }
  });
  return found;
}

// Which words of each are in their longest common subsequence.
function shared(a, b) {
  const length = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      length[i][j] =
        a[i].key === b[j].key ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
  const [inA, inB] = [new Array(a.length).fill(false), new Array(b.length).fill(false)];
  for (let i = 0, j = 0; i < a.length && j < b.length; )
    if (a[i].key === b[j].key) inA[i++] = inB[j++] = true;
    else if (length[i + 1][j] >= length[i][j + 1]) i++;
    else j++;
  return [inA, inB];
}

// Words as text; runs that only this text has in <ins> or <del>, named faults in <mark> with a sign before them.
function prose(list, common, tag) {
  const node = make("p", { class: "efax-prose", lang: "en" });
  let [run, kind, part] = [null, "", -2];
  list.forEach((one, i) => {
    const now = one.mark ? (one.mark > 0 ? "right" : "wrong") : common[i] ? "same" : "only";
    const gap = i && !one.glue ? " " : "";
    if (now !== kind || one.part !== part) {
      node.append(gap);
      [kind, part] = [now, one.part];
      if (now === "same") run = make("span");
      else if (now === "only") run = make(tag, { class: "efax-only" });
      else {
        const sign = make("span", { "aria-hidden": "true" }, `${FLAGS[now === "right"]} `);
        run = make("mark", { class: `efax-${now}` }, sign, hidden(`(${NAMES[now === "right" ? 0 : 1]}:) `));
      }
      node.append(run);
      run.append(one.word);
    } else run.append(gap + one.word);
  });
  return node;
}

function render({ model, el }) {
  const data = model.get("data");
  const known = Object.fromEntries(data.systems.map((system) => [system.id, system]));
  const own = () => model.get("own") || [];
  const actionOf = (answer) => data.names[answer.action] ?? answer.action; // by number, except in an answer given live
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const alone = Boolean(model.get("address")); // a page of its own: its address may name a clip
  const key = `efax${Math.random().toString(36).slice(2, 9)}`;
  const state = { action: "", quality: "", view: "", outcome: "", clip: "", frame: 0 };
  state.system = data.systems[0].id;
  state.beside = (data.systems.find((s) => s.writes && s.id !== state.system) || { id: "" }).id;
  let [timer, paused, strip, listed] = [0, false, null, []];

  // --- controls
  const selects = {};
  function choice(name, label) {
    const id = `${key}-${name}`;
    const select = make("select", { id, onchange: () => chosen(name, select.value) });
    selects[name] = select;
    return make("div", { class: "efax-field" }, make("label", { for: id }, label), select);
  }
  function fill(name, options) {
    const groups = new Map();
    for (const [value, text, group] of options) {
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(make("option", { value }, text));
    }
    const nodes = [...groups].flatMap(([label, items]) => (label ? [make("optgroup", { label }, ...items)] : items));
    selects[name].replaceChildren(...nodes);
    selects[name].value = state[name];
  }
  const systems = (empty) => [
    ...(empty ? [["", "nothing"]] : []),
    ...data.systems.map((system) => [system.id, system.id, system.group]),
  ];
  const plain = (items) => [["", "all"], ...items.map((item) => [item, item])];

  const previous = make("button", { type: "button", onclick: () => move(-1) }, "‹ Previous");
  const next = make("button", { type: "button", onclick: () => move(1) }, "Next ›");
  const controls = make(
    "fieldset",
    { class: "efax-controls" },
    make("legend", {}, "Choose clips and systems"),
    make("div", { class: "efax-fields" }, ...Object.entries(FIELDS).map(([name, label]) => choice(name, label))),
    make("div", { class: "efax-line" }, choice("clip", "Clip"), previous, next),
  );

  // --- player
  const canvas = make("canvas", { role: "img" });
  const button = make("button", { type: "button", onclick: () => (timer ? pause(true) : play(true)) });
  const slider = make("input", { type: "range", min: 1, step: 1, id: `${key}-frame`, oninput: () => (pause(true), step(slider.value - 1)) });
  const counter = make("span", { class: "efax-small" });
  const player = make(
    "div",
    { class: "efax-player", role: "group", "aria-label": "Player: the arrow keys step", onkeydown: keys },
    canvas,
    make("div", { class: "efax-buttons" }, button, make("label", { for: `${key}-frame`, class: "efax-hidden" }, "Picture"), slider, counter),
  );
  const truth = make("div", { class: "efax-truth" });
  const link = make("a", { class: "efax-link" }, "Link to this clip");
  const cards = make("div", { class: "efax-cards" });
  const looks = make("div", { class: "efax-looks" });
  const status = make("p", { class: "efax-status", role: "status", "aria-live": "polite" });

  function keys(event) {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way || event.target === slider) return; // the slider steps by itself
    event.preventDefault();
    pause(true);
    step(state.frame + way);
  }
  const label = (sign, text) => button.replaceChildren(make("span", { "aria-hidden": "true" }, `${sign} `), text);
  function play(asked) {
    if (asked) paused = false;
    if (timer || paused || !current()) return;
    let left = calm.matches ? current().pictures : Infinity; // who asks for less motion sees it once
    timer = setInterval(() => (left-- > 0 ? step(state.frame + 1) : pause(true)), 1000 / RATE);
    label("❚❚", "Pause");
  }
  function pause(asked) {
    if (asked) paused = true;
    clearInterval(timer);
    timer = 0;
    label("▶", "Play");
  }
  function step(to) {
    const clip = current();
    if (!clip) return;
    state.frame = (Number(to) + clip.pictures) % clip.pictures;
    slider.value = state.frame + 1;
    counter.textContent = `${state.frame + 1} of ${clip.pictures}`;
    slider.setAttribute("aria-valuetext", `picture ${counter.textContent}`);
    canvas.setAttribute("aria-label", `Picture ${counter.textContent} of clip ${clip.id}${clip.action ? `: ${clip.action}` : ""}`);
    draw();
    const nearest = clip.seen.reduce((best, at, i) => (Math.abs(at - state.frame) < Math.abs(clip.seen[best] - state.frame) ? i : best), 0);
    for (const cell of looks.querySelectorAll("[data-frame]"))
      cell.classList.toggle("efax-now", Number(cell.dataset.frame) === nearest);
  }
  function draw() {
    const clip = current();
    if (!strip || !strip.complete || !strip.naturalWidth || strip.dataset.clip !== clip.id) return;
    const side = strip.naturalHeight;
    if (canvas.width !== side) canvas.width = canvas.height = side;
    canvas.getContext("2d").drawImage(strip, state.frame * side, 0, side, side, 0, 0, side, side);
  }

  // --- which clip
  const clips = () => [...own(), ...data.clips];
  const current = () => clips().find((clip) => clip.id === state.clip);
  const answerOf = (clip, id) => (clip.own ? clip.answers.live : clip.answers[id]);
  function fits(clip) {
    const answer = answerOf(clip, state.system);
    const names = (answer && answer.names) || [];
    const outcome = {
      "": true,
      "verdict right": answer && clip.quality >= 0 && verdict(answer) === clip.quality,
      "verdict wrong": answer && clip.quality >= 0 && verdict(answer) !== clip.quality,
      "action wrong": answer && actionOf(answer) !== clip.action,
      [NAMES[0]]: names.some((one) => one.right),
      [NAMES[1]]: names.some((one) => !one.right),
    }[state.outcome];
    const same = (name, value) => state[name] === "" || value === state[name];
    return outcome && same("action", clip.action) && same("view", clip.view) && same("quality", VERDICTS[clip.quality]);
  }
  function chosen(name, value) {
    state[name] = value;
    refresh();
    if (!["system", "beside"].includes(name)) watch();
    address();
  }
  function move(by) {
    const at = listed.findIndex((clip) => clip.id === state.clip);
    chosen("clip", listed[(at + by + listed.length) % listed.length].id);
  }
  const watch = () => calm.matches || play(false);

  function refresh() {
    listed = [...own(), ...data.clips.filter(fits)];
    if (!listed.some((clip) => clip.id === state.clip)) state.clip = listed.length ? listed[0].id : "";
    fill("clip", listed.map((clip) => [clip.id, [clip.id, clip.action, clip.view].filter(Boolean).join(" · "), clip.own ? "Your videos" : "Test split"]));
    for (const name of Object.keys(FIELDS)) selects[name].value = state[name];
    previous.disabled = next.disabled = listed.length < 2;
    show();
  }
  function show() {
    const clip = current();
    for (const node of [player, truth, cards, looks, link]) node.hidden = !clip;
    if (!clip) {
      pause(false);
      const writes = known[state.system].writes || !NAMES.includes(state.outcome);
      status.textContent = writes ? "No clip fits these choices." : `No clip fits: ${state.system} writes no explanation.`;
      return;
    }
    if (!strip || strip.dataset.clip !== clip.id) {
      state.frame = 0;
      strip = new Image();
      strip.dataset.clip = clip.id;
      strip.onload = draw;
      strip.src = clip.sprite;
    }
    slider.max = clip.pictures;
    truth.replaceChildren(...truths(clip));
    const shown = clip.own ? [state.system] : [state.system, ...(state.beside && state.beside !== state.system ? [state.beside] : [])];
    cards.replaceChildren(...shown.map((id, i) => card(clip, id, `${key}-card-${i}`)));
    looks.replaceChildren(...attention(clip));
    step(Math.min(state.frame, clip.pictures - 1));
    link.href = fragment();
    link.hidden = !alone || Boolean(clip.own);
    const said = shown.map((id) => summary(clip, id)).join(" ");
    status.textContent = `${listed.length} of ${clips().length} clips fit. Clip ${clip.id}${clip.action ? `, ${clip.action}` : ""}. ${said}`;
  }
  function summary(clip, id) {
    const answer = answerOf(clip, id);
    if (!answer) return `${id} has no answer for it.`;
    if (answer.abstained) return `The model gives no answer: ${answer.abstained}.`;
    const right = clip.quality < 0 ? "" : verdict(answer) === clip.quality ? ", which is right" : ", which is wrong";
    return `${clip.own ? "The model" : id} says ${actionOf(answer)}, ${VERDICTS[verdict(answer)]}${right}.`;
  }

  // --- what is shown of a clip
  const facts = (rows) => make("dl", {}, ...rows.flatMap(([name, ...value]) => [make("dt", {}, name), make("dd", {}, ...value)]));
  function truths(clip) {
    const fault = clip.fault;
    const step = fault && fault.step ? `, step ${fault.step}` : "";
    const clause = fault && fault.clause ? `: ${fault.clause}` : "";
    const rows = [["Action", clip.action || "not known"], ["Verdict", VERDICTS[clip.quality] || "not known"]];
    if (clip.quality >= 0) rows.push(["Fault", fault ? `${fault.name}${step}${clause}` : clip.quality ? "not known" : "none"]);
    if (clip.view) rows.push(["Seen from", clip.view]);
    return [make("p", { class: "efax-title" }, clip.own ? "Your video" : "The truth"), facts(rows), make("p", { class: "efax-small" }, clip.note || "")];
  }
  function flag(right) {
    if (right === null) return "";
    return make("span", { class: `efax-flag efax-${right ? "right" : "wrong"}` }, ` ${FLAGS[right]} ${right ? "right" : "wrong"}`);
  }
  function card(clip, id, name) {
    const [system, answer] = [known[id], answerOf(clip, id)];
    const head = make("p", { class: "efax-title", id: name }, clip.own ? "What the model says" : id);
    const node = make("section", { class: "efax-card", "aria-labelledby": head.id }, head);
    if (!answer) {
      node.append(make("p", {}, "No answer for this clip."));
      return node;
    }
    if (answer.abstained) {
      node.append(facts([["No answer", answer.abstained]]));
      return node;
    }
    const bar = make("span", { class: "efax-bar", "aria-hidden": "true" }, make("span", { style: `width: ${100 * answer.wrong}%` }));
    const sure = make("span", { class: "efax-small" }, `probability of non-standard form ${answer.wrong.toFixed(2)}`);
    const top = answer.top5.map((one, i) => {
      const [name, hit] = [data.names[one] ?? one, (data.names[one] ?? one) === clip.action];
      const text = answer.sure ? `${name} ${Math.round(100 * answer.sure[i])} %` : name;
      return make("li", {}, hit ? make("strong", {}, text) : text, hit ? flag(true) : "");
    });
    const parts = (answer.repetitions || []).map((one, i) => {
      const told = i === answer.explained ? " (explained here)" : "";
      return make("li", {}, `${one.start.toFixed(1)} to ${one.end.toFixed(1)} s: ${one.quality} ${one.quality_probability.toFixed(2)}${told}`);
    });
    node.append(
      facts([
        ["Action", actionOf(answer), flag(clip.action ? actionOf(answer) === clip.action : null)],
        ["Verdict", VERDICTS[verdict(answer)], flag(clip.quality < 0 ? null : verdict(answer) === clip.quality), bar, sure],
        ...(parts.length > 1 ? [["Repetitions", make("ol", {}, ...parts)]] : []),
        ["Top five", make("ol", {}, ...top)],
      ]),
    );
    node.append(...(system.writes ? texts(clip, answer) : [make("p", { class: "efax-small" }, "Writes no explanation.")]));
    return node;
  }
  function texts(clip, answer) {
    if (!answer.text || !answer.text.length) return [make("p", { class: "efax-small" }, "Wrote an empty explanation.")];
    const [mine, theirs] = [words(answer.text), words(clip.reference)];
    if (!theirs.length) return [make("p", { class: "efax-label" }, "Explanation"), prose(mine, mine.map(() => true), "ins")];
    const [inMine, inTheirs] = shared(mine, theirs);
    const same = inMine.filter(Boolean).length;
    const names = answer.names.map((one) => `${one.name} (${one.right ? "the true fault" : "not there"})`);
    const blames = answer.step ? ` Blames step ${answer.step}.` : "";
    const facts = `${same} of its ${mine.length} words stand in the reference of ${theirs.length} in this order. ` +
      (data.about.faults ? `Names ${names.length ? names.join(", ") : "no fault"}.${blames}` : "");
    return [
      make("p", { class: "efax-label" }, "Explanation"),
      prose(mine, inMine, "ins"),
      make("p", { class: "efax-label" }, "Reference"),
      prose(theirs, inTheirs, "del"),
      make("p", { class: "efax-small" }, facts),
    ];
  }
  function attention(clip) {
    const weights = clip.attention;
    const answer = answerOf(clip, "EFA") || answerOf(clip, state.system);
    if (!weights || !answer) return clip.own || !data.about.attention ? [] : [make("p", { class: "efax-small" }, "Attention by frame is known of EFA only.")];
    const steps = clip.steps || data.steps[actionOf(answer)] || weights.map((_, i) => `step ${i + 1}`);
    const true_ = clip.fault && actionOf(answer) === clip.action ? clip.fault.step : 0;
    const head = weights[0].map((_, i) =>
      make("th", { scope: "col", "data-frame": i }, make("button", { type: "button", "aria-label": `Show frame ${i + 1}`, onclick: () => (pause(true), step(clip.seen[i])) }, `${i + 1}`)));
    const rows = weights.map((row, i) =>
      make(
        "tr",
        {},
        make("th", { scope: "row" }, `${i + 1}. ${steps[i]}`, i + 1 === true_ ? make("strong", {}, " ◆ the true fault is in this step") : ""),
        ...row.map((weight, j) => make("td", { "data-frame": j, style: `background-color: rgba(128, 128, 128, ${(weight * 0.5).toFixed(3)})` }, weight.toFixed(2))),
      ));
    const caption = `Where each step of ${clip.own ? "the model's" : "EFA's"} text (${actionOf(answer)}) looks: share of its attention by frame. Even shares are ${(1 / weights[0].length).toFixed(2)}.`;
    return [
      make("div", { class: "efax-scroll", tabindex: 0, role: "region", "aria-label": "Attention by frame" },
        make("table", {}, make("caption", {}, caption), make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "step"), ...head)), make("tbody", {}, ...rows))),
    ];
  }

  // --- one clip has one address
  function fragment() {
    const parts = new URLSearchParams({ clip: state.clip, system: state.system });
    if (state.beside) parts.set("beside", state.beside);
    return `#${parts}`;
  }
  function address() {
    if (alone && current() && !current().own) history.replaceState(null, "", fragment());
  }
  function follow() {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (!alone || !asked.has("clip")) return false;
    const found = data.clips.find((clip) => clip.id === asked.get("clip"));
    if (known[asked.get("system")]) state.system = asked.get("system");
    if (asked.has("system")) state.beside = known[asked.get("beside")] ? asked.get("beside") : "";
    if (found) Object.assign(state, { clip: found.id, action: "", quality: "", view: "", outcome: "" });
    refresh();
    if (!found) status.textContent = `There is no clip ${asked.get("clip")} here. ${status.textContent}`;
    el.scrollIntoView();
    if (found) watch();
    return true;
  }
  function added() {
    const mine = own();
    if (mine.length) state.clip = mine[mine.length - 1].id;
    refresh();
    if (mine.length) watch();
  }

  const legend = make(
    "p",
    { class: "efax-small" },
    make("ins", { class: "efax-only" }, "underlined"), ": only in the explanation; ",
    make("del", { class: "efax-only" }, "dashed"), ": only in the reference; ",
    make("mark", { class: "efax-right" }, "✓ framed"), ": names the true fault; ",
    make("mark", { class: "efax-wrong" }, "✗ dashed frame"), ": names a fault that is not there.",
  );
  const rest = [...el.childNodes];
  const table = rest.length ? make("details", { class: "efax-table" }, make("summary", {}, "All clips as a table")) : "";
  const body = make("div", { class: "efax" }, controls, status, make("div", { class: "efax-main" }, make("div", { class: "efax-left" }, player, truth, link), make("div", { class: "efax-right-side" }, cards, legend)), looks, table);

  fill("system", systems(false));
  fill("beside", systems(true));
  fill("action", plain(data.actions));
  fill("quality", plain(VERDICTS));
  fill("view", plain([...new Set(data.clips.map((clip) => clip.view))].filter(Boolean).sort()));
  fill("outcome", plain([...OUTCOMES, ...(data.about.faults ? NAMES : [])]));
  pause(false);
  if (!follow()) refresh();
  el.append(body);
  if (table) table.append(...rest);

  addEventListener("hashchange", follow);
  model.on("change:own", added);
  return () => {
    pause(false);
    removeEventListener("hashchange", follow);
    model.off("change:own", added);
  };
}

export default { render };

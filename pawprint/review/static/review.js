// Suspects one after the other; a key decides, and the next comes when the decision is on the disk.

const $ = (id) => document.getElementById(id);
const WORDS = { keep: "kept as it is", drop: "dropped" };
const DIGITS = "123456789";

let table; // what the server knows
let order = []; // places in table.suspects that are shown
let at = 0; // place in order
const done = []; // decisions of this visit: [place in table.suspects, the decision before]
let busy = false;

const suspect = () => table.suspects[order[at]];
const decisionOn = (one) => table.decisions[one.sha256];

async function start() {
  const answer = await fetch("suspects.json");
  if (!answer.ok) return fail(await answer.text());
  table = await answer.json();
  for (const remark of table.remarks) $("remarks").append(element("li", remark));
  $("remarks").hidden = table.remarks.length === 0;
  const reasons = new Set(table.suspects.map((one) => reasonOf(one)));
  for (const reason of [...reasons].sort()) $("reason").append(element("option", reason));
  drawKeys();
  choose();
}

// The first of the reasons; its details stand behind a colon
const reasonOf = (one) => one.why.split(/[;:(]/)[0].trim();

function choose() {
  const [shown, reason] = [$("shown").value, $("reason").value];
  order = table.suspects.flatMap((one, place) => {
    const decided = decisionOn(one) !== undefined;
    const wanted = shown === "all" || decided === (shown === "decided");
    return wanted && (!reason || reasonOf(one) === reason) ? [place] : [];
  });
  at = 0;
  draw();
}

function draw() {
  const decided = table.suspects.filter((one) => decisionOn(one)).length;
  $("done").value = table.suspects.length ? decided / table.suspects.length : 0;
  const over = at >= order.length;
  $("case").hidden = over;
  $("end").hidden = !over;
  const where = over ? "" : `${at + 1} of ${order.length} · `;
  $("place").textContent = `${where}${decided} of ${table.suspects.length} suspects decided`;
  if (over) {
    $("end-title").textContent = order.length ? "That was the last one." : "Nothing to look at here.";
    return;
  }
  const one = suspect();
  // A new element: in some browsers an old one shows the last picture until the next has come
  const picture = document.createElement("img");
  picture.id = "picture";
  picture.src = `pictures/${one.sha256}/720`;
  picture.alt = `the picture ${one.path}`;
  $("picture").replaceWith(picture);
  $("path").textContent = `${one.path} · ${one.split}`;
  $("copies").textContent = one.copies
    .map((copy) => `the same file, decided with it: ${copy.path} · ${copy.split} · ${copy.label}`)
    .join("\n");
  $("label").textContent = one.label;
  $("why").textContent = one.why + (one.suggested ? ` · suggested: ${one.suggested}` : "");
  const decision = decisionOn(one);
  $("decision").textContent = decision ? `decided: ${say(decision)}` : "";
  $("reasoning").value = decision ? decision.why : "";
  $("probabilities").replaceChildren(
    ...one.probabilities.map(([name, probability]) => {
      const row = document.createElement("tr");
      row.className = name === one.label ? "own" : "";
      row.append(element("th", name), element("td", `${(100 * probability).toFixed(1)} %`));
      return row;
    }),
  );
  $("neighbours").replaceChildren(
    ...one.neighbours.map((other) => {
      const item = document.createElement("li");
      const picture = document.createElement("img");
      picture.src = `pictures/${other.sha256}/160`;
      picture.alt = "";
      picture.title = `${other.path} · ${other.split}`;
      const label = element("span", other.label);
      label.className = other.label === one.label ? "" : "other";
      item.append(picture, label);
      return item;
    }),
  );
  for (const next of order.slice(at + 1, at + 3)) {
    new Image().src = `pictures/${table.suspects[next].sha256}/720`;
  }
}

function drawKeys() {
  const classes = table.classes.slice(0, DIGITS.length);
  const keys = [
    ["K", "keep", () => suspect() && label(suspect().label)],
    ...classes.map((name, i) => [DIGITS[i], name, () => label(name)]),
    ["R", "as suggested", () => suspect()?.suggested && label(suspect().suggested)],
    ["D", "drop", () => decide("drop")],
    ["→", "leave open", () => decide("open")],
    ["←", "back", back],
    ["U", "undo", undo],
  ];
  for (const [key, text, act] of keys) {
    const button = element("button", text);
    button.type = "button";
    button.prepend(element("kbd", key));
    button.addEventListener("click", act);
    $("keys").append(button);
    actions.set(key, act);
  }
  actions.set("ARROWRIGHT", actions.get("→"));
  actions.set(" ", actions.get("→"));
  actions.set("ARROWLEFT", back);
  actions.set("W", () => $("reasoning").focus());
  if (table.classes.length > DIGITS.length) drawClasses();
}

// More classes than digits: any of them from a list
function drawClasses() {
  const list = document.createElement("select");
  list.setAttribute("aria-label", "another class");
  list.append(element("option", "L: another class …"));
  for (const name of table.classes) list.append(element("option", name));
  let pointed = false; // by keyboard, what is chosen on the way changes with each letter
  list.addEventListener("pointerdown", () => { pointed = true; });
  list.addEventListener("keydown", (event) => {
    pointed = false;
    if (event.key === "Enter") take();
    if (event.key === "Escape") list.blur();
  });
  list.addEventListener("change", () => pointed && take());
  const take = () => {
    if (list.selectedIndex > 0) label(table.classes[list.selectedIndex - 1]);
    list.selectedIndex = 0;
    list.blur();
  };
  $("keys").append(list);
  actions.set("L", () => list.focus());
}

const actions = new Map();

// The label that it came with is no change, unless a copy of it came with another one
function label(name) {
  const one = suspect();
  if (!one) return;
  const asItCame = [one, ...one.copies].every((copy) => copy.source_label === name);
  return asItCame ? decide("keep") : decide("relabel", name);
}

function decide(decision, name = "") {
  if (busy || at >= order.length) return;
  const place = order[at];
  const one = suspect();
  if (decision === "open" && !decisionOn(one)) return step(1);
  const why = decision === "open" ? "" : $("reasoning").value;
  const known = decisionOn(one);
  return write(one, { decision, label: name, why }, (before) => {
    done.push([place, before]);
    if (order[at] === place) step(1);
    else draw();
    if (before && say(before) !== (known && say(known))) {
      const whose = before.who ? ` by ${before.who}` : "";
      fail(`${one.path} was ${say(before)}${whose} meanwhile; yours stands now, and U takes it back.`);
    }
  });
}

const say = (decision) => WORDS[decision.decision] || `relabelled as ${decision.label}`;

async function write(one, decision, then) {
  if (busy) return;
  busy = true;
  try {
    const answer = await fetch(`decisions/${one.sha256}`, {
      method: "PUT",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(decision),
    });
    if (!answer.ok) return fail(await answer.text());
    const { before } = await answer.json();
    if (decision.decision === "open") delete table.decisions[one.sha256];
    else table.decisions[one.sha256] = { ...decision };
    $("error").hidden = true;
    then(before);
  } catch {
    fail("The review no longer answers: this decision is not written. Start it again, and go on.");
  } finally {
    busy = false;
  }
}

function undo() {
  const last = done.at(-1);
  if (!last) return;
  const [place, earlier] = last;
  const values = earlier
    ? { decision: earlier.decision, label: earlier.label, why: earlier.why, who: earlier.who }
    : { decision: "open", label: "", why: "" };
  return write(table.suspects[place], values, () => {
    done.pop();
    if (!order.includes(place)) order.splice(at, 0, place); // by what is shown now, it was left out
    at = order.indexOf(place);
    draw();
  });
}

function back() {
  if (!busy && at > 0) step(-1);
}

function step(by) {
  at += by;
  document.activeElement?.blur();
  draw();
}

function fail(text) {
  $("error").textContent = text;
  $("error").hidden = false;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

document.addEventListener("keydown", (event) => {
  if (!table || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.id === "reasoning") {
    if (event.key === "Enter" || event.key === "Escape") event.target.blur();
    return;
  }
  if (event.target.tagName === "SELECT") return;
  if (event.key === " " && event.target.tagName === "BUTTON") return;
  const act = actions.get(event.key.toUpperCase());
  if (act) {
    event.preventDefault();
    act();
  }
});
for (const id of ["shown", "reason"]) $(id).addEventListener("change", () => { choose(); $(id).blur(); });
start();

// Suspects decided by one key each, as on the page of `python -m pawprint review`; what is decided
// is kept by this page until it is saved as a file.
"use strict";
{
  const $ = (id) => document.getElementById(id);
  const { classes, suspects, decisions } = JSON.parse($("values").textContent);
  const items = [...document.querySelectorAll(".suspect")];
  const rows = new Map(decisions.map((row) => [row.sha256, row]));
  const shownName = new Map(classes.map((one) => [one.name, one.shown]));
  const done = []; // [place, the row before]
  const actions = new Map();
  let at = 0;
  let unsaved = 0;

  const words = (row) => {
    if (!row) return "";
    if (row.decision === "relabel") return `relabelled as ${shownName.get(row.label)}`;
    return row.decision === "drop" ? "dropped" : "kept as it is";
  };

  function draw(place) {
    const row = rows.get(suspects[place].sha256);
    items[place].querySelector(".decision").textContent = words(row);
  }

  function tell(text) {
    const decided = suspects.filter((one) => rows.has(one.sha256)).length;
    const rest = unsaved ? ` · ${unsaved} not saved yet` : "";
    $("status").textContent = `${text}${decided} of ${suspects.length} decided${rest}`;
  }

  function choose(place, focus = true) {
    items[at].removeAttribute("aria-current");
    items[at].tabIndex = -1;
    at = Math.max(0, Math.min(items.length - 1, place));
    items[at].setAttribute("aria-current", "true");
    items[at].tabIndex = 0;
    $("why").value = rows.get(suspects[at].sha256)?.why ?? "";
    if (focus) items[at].focus({ preventScroll: true });
    if (focus) items[at].scrollIntoView({ block: "nearest" });
  }

  function set(place, row) {
    const { sha256 } = suspects[place];
    if (row) rows.set(sha256, row);
    else rows.delete(sha256);
    draw(place);
  }

  function decide(decision, label = "") {
    const { sha256 } = suspects[at];
    const [why, who] = [$("why").value, $("who").value].map((text) => text.split(/\s+/).filter(Boolean).join(" "));
    done.push([at, rows.get(sha256)]);
    set(at, { sha256, decision, label, who, why });
    unsaved += 1;
    const text = `${at + 1}: ${words(rows.get(sha256))} · `;
    choose(at + 1);
    tell(text);
  }

  // The label that it came with is no change
  const label = (name) => (name === suspects[at].source ? decide("keep") : decide("relabel", name));

  function leaveOpen() {
    const before = rows.get(suspects[at].sha256);
    if (before) {
      done.push([at, before]);
      set(at, undefined);
      unsaved += 1;
    }
    choose(at + 1);
    tell("");
  }

  function undo() {
    const last = done.pop();
    if (!last) return;
    set(...last);
    unsaved = Math.max(0, unsaved - 1);
    choose(last[0]);
    tell("taken back · ");
  }

  // As Python's csv module writes it
  const field = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  function save() {
    const header = ["sha256", "decision", "label", "who", "why"];
    const sorted = [...rows.values()].sort((a, b) => (a.sha256 < b.sha256 ? -1 : 1));
    const lines = [header, ...sorted.map((row) => header.map((name) => field(row[name])))];
    const text = lines.map((line) => `${line.join(",")}\n`).join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = "decisions.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    unsaved = 0;
    tell("saved as decisions.csv · ");
  }

  function button(key, text, act, name = "") {
    const made = document.createElement("button");
    const cap = document.createElement("kbd");
    made.type = "button";
    made.className = name;
    cap.textContent = key;
    made.append(cap, text);
    made.addEventListener("click", act);
    $("keys").append(made);
    actions.set(key, act);
  }

  button("K", "keep", () => decide("keep"));
  classes.slice(0, 9).forEach((one, i) => button(`${i + 1}`, one.shown, () => label(one.name)));
  button("R", "as suggested", () => suspects[at].suggested && label(suspects[at].suggested));
  button("D", "drop", () => decide("drop"));
  button("→", "leave open", leaveOpen);
  button("←", "back", () => choose(at - 1));
  button("U", "undo", undo);
  button("S", "save decisions.csv", save, "save");
  actions.set("ARROWRIGHT", leaveOpen);
  actions.set(" ", leaveOpen);
  actions.set("ARROWLEFT", actions.get("←"));
  actions.set("W", () => {
    $("why").focus();
    $("why").select();
  });
  if (classes.length > 9) {
    const list = document.createElement("select");
    list.setAttribute("aria-label", "another class");
    list.append(new Option("L: another class …"), ...classes.map((one) => new Option(one.shown)));
    const take = () => {
      const chosen = list.selectedIndex - 1;
      list.selectedIndex = 0;
      if (chosen >= 0) label(classes[chosen].name);
    };
    // A choice by arrow keys is no decision before Enter
    let typed = false;
    list.addEventListener("keydown", (event) => {
      typed = event.key !== "Enter";
      if (!typed) take();
    });
    list.addEventListener("pointerdown", () => (typed = false));
    list.addEventListener("change", () => typed || take());
    $("keys").insertBefore(list, $("keys").lastChild);
    actions.set("L", () => list.focus());
  }

  // Keys count only while a suspect has the focus: elsewhere they are the browser's
  $("list").addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = actions.get(event.key.toUpperCase());
    if (!act) return;
    event.preventDefault();
    act();
  });
  for (const id of ["why", "who"]) {
    $(id).addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === "Escape") items[at].focus({ preventScroll: true });
    });
  }
  items.forEach((item, place) => item.addEventListener("focus", () => place !== at && choose(place, false)));
  window.addEventListener("beforeunload", (event) => unsaved && event.preventDefault());

  items.forEach((_, place) => draw(place));
  const open = suspects.findIndex((one) => !rows.has(one.sha256));
  choose(open < 0 ? 0 : open, false);
  $("desk").hidden = false;
  tell("");
}

// Sends each picture by itself: the server batches them, and an error is that of one picture.

const AT_A_TIME = 4;
const TRIES = 5;
const LABELS = {
  accuracy: "Accuracy",
  f1: "F1",
  log_loss: "Log loss",
  roc_auc: "ROC AUC",
  average_precision: "Average precision",
  calibration_error: "Calibration error",
};
const PERCENT = ["accuracy", "f1"];

const $ = (id) => document.getElementById(id);
// The server may divide its clients between two models; one page must not mix them
const CLIENT = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16)).join("");
const entries = new Set();
const waiting = [];
let running = 0;
let key = "";
let counter = 0;
let maxBytes = Infinity;

// ---- talking to the server

async function request(path, options = {}) {
  const headers = { "X-Client-ID": CLIENT };
  if (key) headers.Authorization = `Bearer ${key}`;
  for (let attempt = 1; ; attempt++) {
    const response = await fetch(path, { ...options, headers });
    if (response.status === 401) askForKey();
    if (response.ok) return response;
    if ((response.status === 429 || response.status === 503) && attempt < TRIES) {
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      continue;
    }
    throw new Error(await readError(response));
  }
}

async function readError(response) {
  try {
    const content = await response.json();
    return content.results?.[0]?.error ?? content.error;
  } catch {
    return `The server answered ${response.status}.`;
  }
}

function form(file) {
  if (file.size > maxBytes) throw new Error(`larger than ${maxBytes / 1e6} MB`);
  const body = new FormData();
  body.append("files", file, file.name || "pasted picture");
  return body;
}

async function fetchPicture(file, query) {
  const path = `v1/gradcam?${new URLSearchParams(query)}`;
  const response = await request(path, { method: "POST", body: form(file) });
  return URL.createObjectURL(await response.blob());
}

// ---- pictures

function add(files) {
  const next = $("results").firstElementChild;
  for (const file of files) {
    const entry = createEntry(file);
    entries.add(entry);
    $("results").insertBefore(entry.item, next);
    waiting.push(entry);
  }
  announce();
  work();
}

function createEntry(file) {
  const item = $("result").content.firstElementChild.cloneNode(true);
  const find = (selector) => item.querySelector(selector);
  const entry = { file, item, find, number: ++counter, own: URL.createObjectURL(file) };
  const name = file.name || "Pasted picture";
  find("h2").textContent = name;
  find(".classes").setAttribute("aria-label", `Classes of ${name}: choose one to see its evidence`);
  const slider = find("input[type=range]");
  slider.setAttribute("aria-label", `Opacity of the heatmap on ${name}`);
  slider.addEventListener("input", () => { find(".heat").style.opacity = slider.value / 100; });
  find(".heat").style.opacity = slider.value / 100;
  const picture = find(".picture");
  picture.alt = name;
  // What this browser cannot show, such as TIFF, is shown as the server decodes it
  picture.addEventListener("error", () => showInput(entry), { once: true });
  picture.src = entry.own;
  return entry;
}

async function work() {
  while (waiting.length && running < AT_A_TIME) {
    running++;
    classify(waiting.shift()).finally(() => {
      running--;
      announce();
      work();
    });
  }
}

async function classify(entry) {
  try {
    const response = await request("v1/predict", { method: "POST", body: form(entry.file) });
    const answer = await response.json();
    showPredictions(entry, answer.results[0].predictions);
    if ($("square").checked) showInput(entry);
    await showHeat(entry, answer.results[0].predictions[0].class);
  } catch (error) {
    showError(entry, error);
  }
}

function showPredictions(entry, predictions) {
  const verdict = entry.find(".verdict");
  verdict.textContent = predictions[0].class;
  verdict.classList.remove("quiet");
  const rows = predictions.map((prediction, place) => {
    const row = $("class").content.firstElementChild.cloneNode(true);
    const radio = row.querySelector("input");
    radio.name = `class-${entry.number}`;
    radio.checked = place === 0;
    radio.addEventListener("change", () => showHeat(entry, prediction.class).catch(
      (error) => showError(entry, error)));
    row.querySelector(".name").textContent = prediction.class;
    row.querySelector(".share").textContent = percent(prediction.probability);
    row.querySelector(".fill").style.setProperty("--share", prediction.probability);
    return row;
  });
  entry.find(".classes").replaceChildren(...rows);
}

async function showHeat(entry, className) {
  entry.wanted = className;
  const url = await fetchPicture(entry.file, { class: className });
  if (entry.wanted !== className) { // another class was chosen meanwhile
    URL.revokeObjectURL(url);
    return;
  }
  const heat = entry.find(".heat");
  URL.revokeObjectURL(heat.src);
  heat.src = url;
  heat.hidden = false;
  entry.find("input[type=range]").disabled = false;
}

async function showInput(entry) {
  try {
    entry.input ??= await fetchPicture(entry.file, { view: "input" });
    entry.find(".picture").src = entry.input;
  } catch {
    entry.item.classList.add("unseen"); // the reason stands beside it
  }
}

function showError(entry, error) {
  entry.failed = true;
  const verdict = entry.find(".verdict");
  if (verdict.classList.contains("quiet")) verdict.textContent = "No answer";
  const line = entry.find(".error");
  line.textContent = error.message;
  line.hidden = false;
  entry.find(".slider").hidden = entry.find(".heat").hidden;
}

function announce() {
  const all = [...entries.values()];
  $("tools").hidden = !all.length;
  const failed = all.filter((entry) => entry.failed).length;
  const left = waiting.length + running;
  const parts = [];
  if (left) parts.push(`${left} to go`);
  else if (all.length) parts.push(`${all.length - failed} classified`);
  if (failed) parts.push(`${failed} with an error`);
  $("status").textContent = parts.join(", ");
}

function percent(share) {
  if (share >= 0.9995) return "> 99.9 %";
  if (share < 0.0005) return "< 0.1 %";
  return `${(share * 100).toFixed(1)} %`;
}

// ---- the models' cards

async function showModels() {
  const response = await request("v1/model");
  const answer = await response.json();
  $("key-form").hidden = true;
  maxBytes = answer.limits.max_body_bytes;
  $("cards").replaceChildren(...answer.models.map((model) => createCard(model, answer)));
}

function createCard(model, answer) {
  const card = $("card").content.firstElementChild.cloneNode(true);
  card.querySelector("h2").textContent = model.name;
  const rows = Object.entries(model.metrics)
    .filter(([name, value]) => typeof value === "number" && !/_(low|high)$/.test(name))
    .map(([name]) => createMetric(name, model.metrics));
  card.querySelector("tbody").replaceChildren(...rows);
  card.querySelector("table").hidden = !rows.length;
  const facts = [
    ["Classes", shorten(model.class_names)],
    ["Sees pictures at", `${model.image_size} × ${model.image_size} pixels`],
    ["Hash", model.hash],
  ];
  if (answer.models.length > 1) facts.unshift(["Role", describeRole(model, answer)]);
  for (const [term, text] of facts) {
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = term;
    dd.append(term === "Hash" ? Object.assign(document.createElement("code"), { textContent: text }) : text);
    card.querySelector("dl").append(dt, dd);
  }
  return card;
}

function createMetric(name, metrics) {
  const write = (value) => PERCENT.includes(name) ? `${(value * 100).toFixed(1)} %` : value.toFixed(4);
  const row = document.createElement("tr");
  const head = document.createElement("th");
  const cell = document.createElement("td");
  head.scope = "row";
  head.textContent = LABELS[name] ?? name.replaceAll("_", " ");
  cell.textContent = write(metrics[name]);
  const [low, high] = [metrics[`${name}_low`], metrics[`${name}_high`]];
  if (typeof low === "number" && typeof high === "number") {
    const interval = document.createElement("span");
    interval.className = "interval";
    interval.textContent = `${write(low)} to ${write(high)}`;
    cell.append(interval);
  }
  row.append(head, cell);
  return row;
}

function shorten(names) {
  return names.length > 12 ? `${names.slice(0, 10).join(", ")} and ${names.length - 10} more` : names.join(", ");
}

function describeRole(model, answer) {
  if (model.role === "primary") return "answers";
  return answer.shadow ? "sees every picture, answers none" : `answers ${percent(answer.candidate_share)} of the requests`;
}

// ---- what the user does

function askForKey() {
  $("key-error").textContent = key ? "The server does not accept this key." : "";
  $("key-form").hidden = false;
}

$("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  key = $("key").value.trim();
  await start();
});

$("files").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = "";
});

document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) add(event.clipboardData.files);
});

for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
}

document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});

document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  add(event.dataTransfer.files);
});

$("square").addEventListener("change", (event) => {
  for (const entry of entries.values()) {
    if (event.target.checked) showInput(entry);
    else entry.find(".picture").src = entry.own;
  }
});

$("clear").addEventListener("click", () => {
  waiting.length = 0;
  for (const { own, input, find } of entries.values()) {
    for (const url of [own, input, find(".heat").src]) if (url) URL.revokeObjectURL(url);
  }
  entries.clear();
  $("results").replaceChildren();
  announce();
  $("files").focus();
});

async function start() {
  try {
    await showModels();
  } catch (error) {
    if ($("key-form").hidden) $("status").textContent = error.message;
    else $("key").focus();
  }
}

start();

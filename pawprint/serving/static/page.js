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
const SEEN = { stretch: "", letterbox: ", with bars at two sides", crop: ", the central square" };

const $ = (id) => document.getElementById(id);
// The server may divide its clients between two models; one page must not mix them
const CLIENT = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16)).join("");
const entries = new Set();
const waiting = [];
const locked = []; // wait for a key that the server accepts
let running = 0;
let key = "";
let counter = 0;
let maxBytes = Infinity;

// ---- talking to the server

class Locked extends Error {}

async function request(path, options = {}) {
  for (let attempt = 1; ; attempt++) {
    const sent = key;
    const headers = { "X-Client-ID": CLIENT };
    if (sent) headers.Authorization = `Bearer ${sent}`;
    const response = await fetch(path, { ...options, headers });
    if (response.ok) return response;
    if (response.status === 401) {
      if (sent !== key) continue; // another one was entered meanwhile
      askForKey();
      throw new Locked("needs the key of this server");
    }
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

function post(path, entry) {
  return request(path, { method: "POST", body: form(entry.file), signal: entry.removal.signal });
}

async function fetchPicture(entry, query) {
  const response = await post(`v1/gradcam?${new URLSearchParams(query)}`, entry);
  const url = keep(entry, URL.createObjectURL(await response.blob()));
  return { url, resize: response.headers.get("X-Model-Resize") };
}

function keep(entry, url) {
  entry.urls.add(url);
  return url;
}

function release(entry, url) {
  if (entry.urls.delete(url)) URL.revokeObjectURL(url);
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
  const entry = { file, item, find, number: ++counter, urls: new Set(), removal: new AbortController() };
  entry.own = keep(entry, URL.createObjectURL(file));
  const name = file.name || "Pasted picture";
  find("h2").textContent = name;
  find(".classes").setAttribute("aria-label", `Classes of ${name}: choose one to see its evidence`);
  const slider = find("input[type=range]");
  slider.setAttribute("aria-label", `Opacity of the heatmap on ${name}`);
  slider.addEventListener("input", () => { find(".heat").style.opacity = slider.value / 100; });
  find(".heat").style.opacity = slider.value / 100;
  const picture = find(".picture");
  picture.alt = name;
  // What this browser cannot show, such as TIFF, is always shown as the server decodes it
  picture.addEventListener("error", () => {
    entry.foreign = true;
    showPicture(entry);
  }, { once: true });
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
    const response = await post("v1/predict", entry);
    const answer = await response.json();
    showPredictions(entry, answer.results[0].predictions);
    showUnlikeness(entry, answer.results[0]);
    showDecision(entry, answer.results[0].decided);
    showPicture(entry);
    await showHeat(entry, answer.results[0].predictions[0].class);
  } catch (error) {
    if (error instanceof Locked) locked.push(entry);
    else showError(entry, error);
  }
}

function unlock() {
  waiting.push(...locked.splice(0));
  announce();
  work();
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
    radio.addEventListener("change", () => showHeat(entry, prediction.class));
    row.querySelector(".name").textContent = prediction.class;
    row.querySelector(".share").textContent = percent(prediction.probability);
    row.querySelector(".fill").style.setProperty("--share", prediction.probability);
    return row;
  });
  entry.find(".classes").replaceChildren(...rows);
  entry.classified = true;
  entry.item.classList.remove("unseen");
}

function showUnlikeness(entry, result) {
  const line = entry.find(".unlike");
  line.hidden = !result.unlike;
  if (!result.unlike) return;
  const shown = Math.ceil(100 * result.unlikeness - 1e-9) / 100; // up, or 1.003 would be shown as 1
  line.textContent = `Unlike the training pictures (${shown}): its class should not be trusted.`;
}

function showDecision(entry, decided) {
  const line = entry.find(".decision");
  line.hidden = decided === null;
  line.textContent = decided ? "Sure enough to be decided without a person." : "A person should decide.";
}

async function showHeat(entry, className) {
  entry.wanted = className;
  const heat = entry.find(".heat");
  try {
    const { url, resize } = await fetchPicture(entry, { class: className });
    if (entry.wanted !== className) { // another class was chosen meanwhile
      release(entry, url);
      return;
    }
    release(entry, heat.src);
    heat.src = url;
    entry.find(".stage").dataset.resize = resize;
  } catch (error) {
    if (entry.wanted === className) showError(entry, error);
    return;
  }
  heat.hidden = false;
  entry.find("input[type=range]").disabled = false;
  hideError(entry);
}

async function showPicture(entry) {
  const wanted = () => (entry.foreign || $("square").checked ? "input" : "own");
  try {
    if (wanted() === "input" && !entry.input) await loadInput(entry);
    entry.find(".picture").src = entry[wanted()]; // another one may be wanted by now
  } catch {
    // The reason stands beside it
    entry.item.classList.toggle("unseen", Boolean(entry.foreign && !entry.classified));
  }
}

function loadInput(entry) {
  entry.loading ??= fetchPicture(entry, { view: "input" })
    .then(({ url }) => { entry.input = url; })
    .finally(() => { entry.loading = null; });
  return entry.loading;
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

function hideError(entry) {
  entry.failed = false;
  entry.find(".error").hidden = true;
  entry.find(".slider").hidden = false;
  announce();
}

function announce() {
  const all = [...entries.values()];
  $("tools").hidden = !all.length;
  const failed = all.filter((entry) => entry.failed).length;
  const left = waiting.length + running + locked.length;
  const parts = [];
  if (left && all.length) parts.push(`${left} to go`);
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

function describeDeciding(deciding) {
  if (deciding === null) return "not told by this model";
  const share = `${Number((100 * deciding.precision).toPrecision(5))} % of such pictures are right`;
  if (deciding.threshold === null) return `nothing: it cannot promise that ${share}`;
  return `from a probability of ${(100 * deciding.threshold).toFixed(2)} % on: ${share}`;
}

function createCard(model, answer) {
  const card = $("card").content.firstElementChild.cloneNode(true);
  card.querySelector("h2").textContent = model.title;
  const name = card.querySelector(".quiet");
  name.textContent = model.name;
  name.hidden = model.name === model.title;
  card.querySelector(".stale").hidden = !model.stale;
  const rows = Object.entries(model.metrics)
    .filter(([name, value]) => typeof value === "number" && !/_(low|high)$/.test(name))
    .map(([name]) => createMetric(name, model.metrics));
  card.querySelector("tbody").replaceChildren(...rows);
  card.querySelector("table").hidden = !rows.length;
  const facts = [
    ["Classes", shorten(model.class_names)],
    ["Sees pictures at", `${model.image_size} × ${model.image_size} pixels${SEEN[model.resize]}`],
    ["Hash", model.hash],
  ];
  if (model.tta === 2) {
    facts.splice(2, 0, ["Answers", "means for a picture and its mirror image; heatmaps of the picture alone"]);
  }
  const above = model.unlike_above;
  facts.splice(2, 0, ["Unlike the training pictures", above === null ? "not told by this model" : `said above ${above}`]);
  facts.splice(3, 0, ["Decides alone", describeDeciding(model.deciding)]);
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
    showPicture(entry);
  }
});

$("clear").addEventListener("click", () => {
  waiting.length = locked.length = 0;
  for (const entry of entries) {
    entry.removal.abort();
    for (const url of entry.urls) release(entry, url);
  }
  entries.clear();
  $("results").replaceChildren();
  announce();
  $("files").focus();
});

async function start() {
  try {
    await showModels();
    unlock();
  } catch (error) {
    if ($("key-form").hidden) $("status").textContent = error.message;
    else $("key").focus();
  }
}

start();

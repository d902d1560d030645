// The page of `layerwise serve`: it shows what `/layerwise/events` tells and lets one invoke. No framework, no build step.
"use strict";

const $ = (id) => document.getElementById(id);
const MOST_INVOCATIONS = 50;
const MOST_LOG_LINES = 1000;

const state = { functions: [], invocations: new Map(), broken: new Map(), chosen: null };

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

async function loadFunctions() {
  const listed = await (await fetch("/2015-03-31/functions/")).json();
  state.functions = listed.Functions;
  if (!state.functions.some((one) => one.FunctionName === state.chosen)) {
    state.chosen = state.functions[0]?.FunctionName ?? null;
  }
  showFunctions();
}

function showFunctions() {
  $("functions").replaceChildren(...state.functions.map((one) => {
    const name = one.FunctionName;
    const card = element("button", undefined, "card");
    card.type = "button";
    card.setAttribute("aria-pressed", String(name === state.chosen));
    card.append(element("div", name, "name"));
    const facts = [one.Handler, `${one.Runtime} ${one.Architectures.join(" ")}`, `${one.MemorySize} MB`, `${one.Timeout} s`];
    card.append(element("div", facts.join(" · "), "soft"));
    for (const layer of one.Layers ?? []) card.append(element("div", `layer ${layer.Arn.split(":").at(-2)}`, "soft"));
    const running = [...state.invocations.values()].filter((call) => call.function === name && call.running).length;
    card.append(running > 0 ? element("div", `${running} running`, "busy") : element("div", "idle", "soft"));
    if (state.broken.has(name)) card.append(element("div", `not reloaded: ${state.broken.get(name)}`, "bad"));
    card.addEventListener("click", () => { state.chosen = name; showFunctions(); });
    return card;
  }));
  $("chosen").textContent = state.chosen ?? "";
  $("invoke").disabled = state.chosen === null;
}

function showInvocations() {
  const newest = [...state.invocations.values()].reverse();
  $("invocations").replaceChildren(...newest.map((one) => {
    const row = element("tr");
    row.append(element("td", new Date(one.at).toLocaleTimeString()), element("td", one.function));
    const outcome = element("td");
    if (one.running) outcome.append(element("span", "running", "busy"));
    else if (one.error) outcome.append(element("span", one.error.join(": "), "bad"));
    else outcome.append(element("span", one.init === null ? "ok" : `ok, after a start of ${one.init.toFixed(0)} ms`, "good"));
    row.append(outcome);
    row.append(element("td", one.running ? "" : `${one.milliseconds.toFixed(1)} ms`, "number"));
    row.append(element("td", one.running ? "" : `${one.memory} MB`, "number"));
    return row;
  }));
}

function addLog(event) {
  const logs = $("logs");
  const atEnd = logs.scrollTop + logs.clientHeight >= logs.scrollHeight - 8;
  const time = new Date(event.at).toISOString().slice(11, 23);
  logs.append(element("div", `${time}  ${event.message.trimEnd()}`));
  while (logs.childElementCount > MOST_LOG_LINES) logs.firstElementChild.remove();
  if (atEnd) logs.scrollTop = logs.scrollHeight;
}

// What has to be drawn anew, at most once a frame however many events come.
let drawing = false;
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; showFunctions(); showInvocations(); });
}

function take(event) {
  switch (event.type) {
    case "function":
      state.broken.delete(event.function);
      loadFunctions();
      break;
    case "reloadFailed":
      state.broken.set(event.function, event.error);
      draw();
      break;
    case "started":
      state.invocations.set(event.request, { at: Date.now(), function: event.function, running: true });
      while (state.invocations.size > MOST_INVOCATIONS) state.invocations.delete(state.invocations.keys().next().value);
      draw();
      break;
    case "finished": {
      const began = state.invocations.get(event.request)?.at ?? Date.now() - event.milliseconds;
      state.invocations.set(event.request, {
        at: began, function: event.function, running: false, milliseconds: event.milliseconds,
        init: event.initMilliseconds, memory: event.memory, error: event.error,
      });
      draw();
      break;
    }
    case "log":
      addLog(event);
      break;
  }
}

function connect() {
  const source = new EventSource("/layerwise/events");
  const link = $("link");
  source.onopen = () => { link.textContent = "live"; link.classList.remove("lost"); loadFunctions(); };
  source.onerror = () => { link.textContent = "not connected"; link.classList.add("lost"); };
  source.onmessage = (message) => take(JSON.parse(message.data));
}

async function invoke() {
  const button = $("invoke");
  const outcome = $("outcome");
  button.disabled = true;
  outcome.className = "soft";
  outcome.textContent = "running";
  const started = performance.now();
  try {
    const answer = await fetch(`/2015-03-31/functions/${encodeURIComponent(state.chosen)}/invocations`, {
      method: "POST", body: $("payload").value,
    });
    const text = await answer.text();
    const failed = !answer.ok || answer.headers.has("x-amz-function-error");
    outcome.className = failed ? "bad" : "good";
    outcome.textContent = `${failed ? "failed" : "succeeded"} after ${(performance.now() - started).toFixed(0)} ms`;
    $("answer").hidden = false;
    try { $("answer").textContent = JSON.stringify(JSON.parse(text), null, 2); } catch { $("answer").textContent = text; }
  } catch (error) {
    outcome.className = "bad";
    outcome.textContent = String(error);
  } finally {
    button.disabled = state.chosen === null;
  }
}

async function samples() {
  const events = await (await fetch("/layerwise/samples")).json();
  for (const name of Object.keys(events)) $("sample").append(new Option(name, name));
  $("sample").addEventListener("change", () => {
    if (events[$("sample").value]) $("payload").value = JSON.stringify(events[$("sample").value], null, 2);
  });
}

$("endpoint").textContent = location.origin;
$("invoke").addEventListener("click", invoke);
$("payload").addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) invoke(); });
connect();
samples().catch(() => {});

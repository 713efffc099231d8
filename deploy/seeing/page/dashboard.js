// Ask for the run's state again and again, and draw what is new.
import { byId, make } from "./dom.js";
import { drawAll, drawClock, drawEvents } from "./sections.js";

const LOOK = 1000, LOOK_RUNS = 5000;
let run = null, tag = "", seen = 0;

const chosen = () => byId("runs").value;

async function look() {
  try {
    const name = chosen();
    const headers = tag ? { "If-None-Match": tag } : {};
    const answer = await fetch(`api/state?run=${encodeURIComponent(name)}`, { headers, cache: "no-store" });
    if (name !== chosen()) return;
    if (answer.status !== 304) {
      const told = await answer.json();
      if (!answer.ok) throw new Error(told.detail || answer.statusText);
      run = told;
      tag = answer.headers.get("ETag") || "";
      seen = performance.now();
      drawAll(run);
      byId("report").hidden = !run.has_report;
      byId("report").href = `report?run=${encodeURIComponent(name)}`;
    }
    trouble("");
  } catch (error) {
    trouble(error instanceof TypeError ? "The dashboard does not answer; what is shown is from before. Trying again." : error.message);
  }
  tick();
}

function tick() {
  if (run) drawClock(run, (performance.now() - seen) / 1000);
}

function trouble(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}

async function lookForRuns() {
  try {
    const answer = await fetch("api/runs", { cache: "no-store" });
    if (!answer.ok) return;
    const runs = await answer.json(), select = byId("runs"), before = chosen() || new URLSearchParams(location.search).get("run");
    const label = (one) => `${one.run} (${one.status_text})`;
    if (runs.map(label).join() === [...select.options].map((one) => one.textContent).join()) return;
    select.replaceChildren(...runs.map((one) => make("option", { value: one.run }, label(one))));
    if (runs.some((one) => one.run === before)) select.value = before;
  } catch {
    trouble("The dashboard does not answer; what is shown is from before. Trying again.");
  }
}

function showTheme(theme) {
  byId("theme").value = theme;
  document.documentElement.dataset.theme = theme;
}

byId("runs").addEventListener("change", () => {
  tag = "";
  history.replaceState(null, "", `?run=${encodeURIComponent(chosen())}`);
  look();
});
byId("theme").addEventListener("change", (event) => {
  localStorage.setItem("theme", event.target.value);
  showTheme(event.target.value);
});
byId("serious").addEventListener("change", () => run && drawEvents(run));
byId("tail-box").addEventListener("toggle", () => { byId("tail").scrollTop = byId("tail").scrollHeight; });
window.addEventListener("resize", () => {
  if (run) drawAll(run);
  tick();
});

showTheme(new URLSearchParams(location.search).get("theme") || localStorage.getItem("theme") || "");
await lookForRuns();
await look();
setInterval(() => document.hidden || look(), LOOK);
setInterval(() => document.hidden || lookForRuns(), LOOK_RUNS);

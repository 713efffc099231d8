// The parts of the page, each drawn anew from the run's state.
import { lineChart } from "./charts.js";
import { byId, clock, duration, make, number, table } from "./dom.js";

const PHASES = ["offer", "agree", "blocks", "merge", "fuse", "evaluate"];
const METHODS = { block: "block", ensemble: "ensemble", merge: "merge", fuse: "fuse" };
const last = (list) => list[list.length - 1];
const names = (object) => Object.keys(object).sort();

export function drawAll(run) {
  drawHead(run);
  drawPhases(run);
  drawSites(run);
  drawCurves(run);
  drawNumbers(run);
  drawSubsets(run);
  drawSpent(run);
  drawEvents(run);
}

function drawHead(run) {
  document.title = `${run.plan || "run"}: ${run.status_text}`;
  byId("plan").textContent = run.plan || "no plan yet";
  byId("status").textContent = run.status_text;
  byId("status").className = `status ${run.status}`;
  byId("task").textContent = run.task;
  byId("privacy-kind").textContent = run.privacy && `privacy plan: ${run.privacy}`;
  byId("kind").textContent = run.status === "running" ? "live from the run log" : "from the run log";
  byId("outcome").textContent = [run.reason, run.recommendation].filter(Boolean).join(" ");
  byId("claim").textContent = run.claim;
  byId("faults").replaceChildren(...run.faults.map((fault) =>
    make("p", { class: "box bad", role: "alert" }, `The run log does not hold: line ${fault.line}. ${fault.sentence}`)));
}

function drawPhases(run) {
  const reached = run.phases.map((one) => one.phase);
  const planned = PHASES.filter((one) => one !== "fuse" || run.fuse_rounds || reached.includes("fuse"));
  byId("phases").replaceChildren(...planned.map((phase) => {
    const spans = run.phases.filter((one) => one.phase === phase), span = last(spans);
    const going = span && !span.ended, failed = run.status === "failed" && phase === run.phase;
    const state = failed ? "broken" : going ? "going" : span ? "done" : "";
    const took = span && span.ended ? duration((new Date(span.ended) - new Date(span.began)) / 1000) : going ? "now" : "";
    const item = make("li", { class: state }, make("b", {}, phase), took || "to come");
    if (going) item.setAttribute("aria-current", "step");
    return item;
  }));
}

// What moves with the clock alone; called every second, also while nothing new is written.
export function drawClock(run, passed) {
  const ended = run.silent_seconds === null;
  byId("elapsed").textContent = run.began ? duration(run.elapsed_seconds + (ended ? 0 : passed)) : "";
  const inRounds = ["blocks", "fuse"].includes(run.phase) && run.rounds;
  byId("round").hidden = ended;
  byId("round-bar").hidden = !inRounds;
  byId("round-bar").value = inRounds ? finishedRounds(run) / run.rounds : 0;
  const rest = run.rest_seconds === null ? "" : `; rounds for about ${duration(run.rest_seconds - passed)} more at most`;
  byId("round-text").textContent = ended ? "" : inRounds
    ? `${run.phase_text}, round ${run.round} of ${run.rounds}${rest}` : run.phase_text;
  const limit = run.limit_seconds ? ` of at most ${duration(run.limit_seconds)}` : "";
  byId("waiting").textContent = run.waiting.length
    ? `Waiting for ${run.waiting.join(", ")}: ${duration(run.waited_seconds + passed)}${limit}` : "";
  if (run.status === "stalled") {
    byId("waiting").textContent = `Nothing was written for ${duration(run.silent_seconds + passed)}: `
      + "look whether the coordinator still runs.";
  }
  const now = new Date(run.now).getTime() + passed * 1000;
  for (const cell of document.querySelectorAll("[data-since]")) {
    cell.textContent = `${cell.dataset.word} ${duration((now - new Date(cell.dataset.since)) / 1000)}`;
  }
}

function finishedRounds(run) {
  return run.round_spans.filter((one) => one.phase === run.phase && one.ended).length;
}

function drawSites(run) {
  const held = [...new Set([...run.modalities, ...Object.values(run.sites).flatMap((site) => Object.keys(site.patients))])];
  byId("sites-title").textContent = names(run.sites).length
    ? `Sites: ${run.sites_online} of ${names(run.sites).length} online` : "Sites";
  const heads = [{ text: "site" }, { text: "standing" }, ...held.map((text) => ({ text, n: true })),
    { text: "last answer", n: true }, { text: "answers", n: true }, { text: "absences", n: true },
    ...(anyReason(run) ? [{ text: "its last reason" }] : [])];
  table(byId("sites"), heads, names(run.sites).map((name) => siteRow(run, run.sites[name], held)));
}

function siteRow(run, site, held) {
  const word = site.waiting_since && run.silent_seconds !== null
    ? make("span", { "data-since": site.waiting_since, "data-word": site.standing }) : site.standing;
  const reason = site.absences.length ? last(site.absences).reason : "";
  return make("tr", {},
    make("th", { scope: "row" }, site.site),
    make("td", {}, make("span", { class: `dot ${site.standing.split(" ")[0]}` }), word),
    ...held.map((name) => make("td", { class: "n" }, site.patients[name] === undefined ? "–" : String(site.patients[name]))),
    make("td", { class: "n" }, site.last_answer ? clock(site.last_answer) : "–"),
    make("td", { class: "n" }, String(site.answers)),
    make("td", { class: "n" }, String(site.absences.length)),
    ...(anyReason(run) ? [make("td", { class: "why" }, reason)] : []));
}

const anyReason = (run) => Object.values(run.sites).some((site) => site.absences.length);

function drawCurves(run) {
  const blocks = Object.values(run.blocks), grid = byId("curves");
  const wanted = [...blocks.map((one) => one.modality), ...(blocks.some(hasScores) ? ["scores"] : [])];
  const figures = new Map([...grid.children].map((one) => [one.dataset.name, one]));
  grid.replaceChildren(...wanted.map((name) => figures.get(name) || make("figure", { "data-name": name })));
  const everybody = [...new Set(blocks.flatMap((one) => one.points.map((point) => point.site)))].sort();
  for (const figure of grid.children) {
    if (figure.dataset.name === "scores") drawScores(figure, run, blocks);
    else drawCurve(figure, run.blocks[figure.dataset.name], everybody);
  }
}

const hasScores = (block) => block.curve.some((one) => one.validation_score !== null);

function drawCurve(figure, block, everybody) {
  const series = [...new Set(block.points.map((one) => one.site))].sort().flatMap((site) => {
    const own = block.points.filter((one) => one.site === site), colour = everybody.indexOf(site) % 10;
    return [
      { name: site, kind: "train", colour, points: own.filter((one) => one.train_loss !== null).map((one) => [one.round, one.train_loss]) },
      { name: site, kind: "validation", colour, points: own.filter((one) => one.validation_loss !== null).map((one) => [one.round - 1, one.validation_loss]) },
    ];
  });
  const all = block.curve.filter((one) => one.validation_loss !== null).map((one) => [one.round - 1, one.validation_loss]);
  series.push({ name: "all sites, validation", kind: "all", colour: 0, points: all });
  lineChart(figure, { title: block.modality, series, yTitle: "mean loss", xMax: block.rounds || 1, kept: block.done ? block.best_round : null });
}

function drawScores(figure, run, blocks) {
  const series = blocks.map((block, place) => ({
    name: block.modality, kind: "score", colour: place % 10,
    points: block.curve.filter((one) => one.validation_score !== null).map((one) => [one.round - 1, one.validation_score]),
  }));
  lineChart(figure, { title: "Validation scores", series, yTitle: run.metric || "score, all sites", xMax: Math.max(1, ...blocks.map((one) => one.rounds)) });
}

function drawNumbers(run) {
  const heads = [{ text: "model" }, ...["round", "sites", "validation loss", "score"].map((text) => ({ text, n: true }))];
  const rows = Object.values(run.blocks).flatMap((block) => block.curve.map((one) => make("tr", {},
    make("th", { scope: "row" }, block.modality), ...[String(one.round), `${one.answered} of ${one.asked}`,
      number(one.validation_loss), number(one.validation_score)].map((text) => make("td", { class: "n" }, text)))));
  table(byId("numbers"), heads, rows);
}

function drawSubsets(run) {
  const place = byId("subsets");
  byId("subsets-card").hidden = !run.scores.length;
  byId("events-card").classList.toggle("half", run.scores.length > 0);
  const kinds = [["complete", "patients with every modality"], ["holding", "patients with at least these"]];
  place.replaceChildren(...kinds.flatMap(([patients, text]) => {
    const scores = run.scores.filter((one) => one.patients === patients);
    return scores.length ? [heatMap(scores, `${run.metric} on test: ${text}`)] : [];
  }));
  if (run.withheld) place.append(make("p", { class: "note" }, `${run.withheld} scores of too few patients are withheld.`));
}

function heatMap(scores, caption) {
  const subsets = [...new Map(scores.map((one) => [one.modalities.join(" + "), one.modalities])).entries()]
    .sort(([a, x], [b, y]) => x.length - y.length || a.localeCompare(b)).map(([name]) => name);
  const methods = Object.keys(METHODS).filter((method) => scores.some((one) => one.method === method));
  const values = scores.map((one) => one.value), low = Math.min(...values), high = Math.max(...values);
  const element = make("table", { class: "heat" });
  table(element, [{ text: "modalities" }, ...methods.map((text) => ({ text }))], subsets.map((subset) =>
    make("tr", {}, make("th", { scope: "row" }, subset), ...methods.map((method) => {
      const score = scores.find((one) => one.method === method && one.modalities.join(" + ") === subset);
      if (!score) return make("td", { class: "none" }, "–");
      const cell = make("td", { title: `${number(score.low)} to ${number(score.high)}` }, number(score.value), make("small", {}, `n = ${score.count}`));
      const share = high > low ? (score.value - low) / (high - low) : 0.5;
      cell.style.background = `color-mix(in srgb, var(--heat) ${Math.round(12 + 88 * share)}%, transparent)`;
      return cell;
    }))));
  return make("div", { class: "wide" }, make("h3", {}, caption), element);
}

function drawSpent(run) {
  const charged = names(run.sites).filter((name) => run.sites[name].epsilon !== null).map((name) => run.sites[name]);
  if (!charged.length) {
    const text = run.epsilon === null ? "This plan trains without noise, so no epsilon is counted." : `Nothing is spent yet; the plan's budget of a site is ${run.epsilon}.`;
    byId("spent").replaceChildren(make("p", {}, text));
    return;
  }
  const element = make("table", {}), budget = run.epsilon ? ` of ${run.epsilon}` : "";
  table(element, [{ text: "site" }, { text: "epsilon, over all runs" }, { text: `spent${budget}`, n: true }], charged.map((site) => {
    const share = run.epsilon ? Math.min(1, site.epsilon / run.epsilon) : 0;
    const full = make("div", share > 0.9 ? { class: "much" } : {});
    full.style.width = `${100 * share}%`;
    return make("tr", {}, make("th", { scope: "row" }, site.site), make("td", {}, make("div", { class: "bar" }, full)),
      make("td", { class: "n", title: `delta ${site.delta.toExponential(0)}` }, site.epsilon.toFixed(2)));
  }));
  byId("spent").replaceChildren(make("div", { class: "wide" }, element));
}

export function drawEvents(run) {
  const told = run.told.filter((one) => one.serious || !byId("serious").checked).reverse();
  const items = told.map((one) => make("li", {}, make("time", { datetime: one.time }, clock(one.time)),
    make("span", one.serious ? { class: "serious" } : {}, one.sentence)));
  byId("events").replaceChildren(...(items.length ? items : [make("li", {}, "None.")]));
  const tail = byId("tail"), atEnd = tail.scrollTop + tail.clientHeight >= tail.scrollHeight - 4;
  tail.textContent = run.tail.join("\n");
  if (atEnd) tail.scrollTop = tail.scrollHeight;
}

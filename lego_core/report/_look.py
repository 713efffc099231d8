"""The stylesheet of the page, and the script that draws its charts."""

STYLE = """
:root { --ink: #1d2a35; --muted: #5b6b78; --line: #dfe6ea; --soft: #f5f8f9; --accent: #0b6e99; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 40px 28px 64px; max-width: 1080px; background: #fff; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
h1 { margin: 0; font-size: 34px; line-height: 1.15; letter-spacing: -0.015em; }
h2 { margin: 0 0 14px; font-size: 21px; line-height: 1.3; letter-spacing: -0.005em; }
h3 { margin: 0 0 4px; font-size: 15px; font-weight: 600; }
p { margin: 0 0 10px; max-width: 78ch; }
section { margin-top: 44px; }
.kicker { margin: 0 0 6px; color: var(--accent); font-size: 13px; font-weight: 600; }
.description { margin: 8px 0 0; color: var(--muted); font-size: 17px; }
.facts { display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 16px 0 0; max-width: none;
  align-items: center; color: var(--muted); font-size: 14px; }
.status { padding: 2px 12px; border-radius: 99px; font-weight: 600; color: #1f6b45; background: #e3f4ea; }
.status.complete-with-absences { color: #83560a; background: #fcf0d6; }
.status.failed { color: #a02b20; background: #fbe4e1; }
.headline { margin-top: 30px; padding-top: 24px; border-top: 1px solid var(--line); }
.headline p { color: var(--muted); }
.headline .lead {
  color: var(--ink); font-size: 22px; line-height: 1.42; letter-spacing: -0.005em; max-width: 60ch;
}
.box {
  margin-top: 26px; padding: 18px 22px; border-left: 5px solid #3c8d5a; border-radius: 4px;
  background: #f0f8f3;
}
.box h2 { margin-bottom: 4px; font-size: 17px; }
.box p { margin: 0; }
.box.recommendation { border-color: var(--accent); background: #eef6fa; }
.box .note { margin-top: 6px; }
h3.apart { margin-top: 28px; }
.box.no-privacy { border-color: #c0392b; background: #fdf1ef; }
.box.no-privacy h2 { color: #a02b20; }
.box.absences { border-color: #d39a2d; background: #fdf7ea; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 15px; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 12px; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th {
  color: var(--muted); font-size: 13px; font-weight: 600; white-space: nowrap; vertical-align: bottom;
}
tbody th { font-weight: 500; }
th:first-child { padding-left: 10px; }
.n { text-align: right; white-space: nowrap; }
.strong { font-weight: 650; }
.why { min-width: 20em; }
tr.best { background: var(--soft); }
tr.best th { font-weight: 650; }
.badge { margin-left: 6px; padding: 1px 9px; border-radius: 99px; background: var(--ink); color: #fff;
  font-size: 12px; font-weight: 600; white-space: nowrap; }
.note { margin-top: 12px; color: var(--muted); font-size: 14px; }
.fact { margin: 14px 0 0; font-size: 15px; }
.fact + .fact { margin-top: 4px; }
.wide + p { margin-top: 12px; }
.grid {
  display: grid; gap: 26px 32px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr));
}
.chart { margin: 18px 0 0; min-width: 0; break-inside: avoid; }
.grid .chart { margin: 0; }
.plot { width: 100%; }
figcaption { margin-top: 6px; color: var(--muted); font-size: 13.5px; line-height: 1.45; max-width: 86ch; }
figcaption b { font-weight: 600; }
label, .chosen { display: block; margin: 0 0 14px; color: var(--muted); font-size: 14px; }
select { margin-left: 8px; padding: 6px 10px; border: 1px solid #bccad3; border-radius: 6px; background: #fff;
  color: var(--ink); font: inherit; max-width: 100%; }
select:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
footer {
  margin-top: 56px; padding-top: 16px; border-top: 1px solid var(--line); color: var(--muted);
  font-size: 14px;
}
@media (max-width: 600px) {
  body { padding: 24px 16px 48px; }
  .headline .lead { font-size: 19px; }
}
@media print {
  @page { size: A4; margin: 14mm; }
  body {
    max-width: none; padding: 0; font-size: 12px; print-color-adjust: exact;
    -webkit-print-color-adjust: exact;
  }
  h2 { break-after: avoid; }
  tr, .box { break-inside: avoid; }
  table, .note, .fact, figcaption { font-size: 11.5px; }
  th, td { padding: 5px 8px; }
  section { margin-top: 26px; }
  .grid { grid-template-columns: 1fr; }
  .wide { overflow: visible; }
  .why { min-width: 0; }
}
"""

SCRIPT = """
const settings = {displayModeBar: false, responsive: true};
function draw(chart) {
  const plot = chart.querySelector(".plot");
  if (plot.drawn || plot.offsetWidth === 0) return;
  const figure = JSON.parse(chart.querySelector("script").textContent);
  Plotly.newPlot(plot, figure.data, figure.layout, settings);
  plot.drawn = true;
}
function fit(width) {
  for (const plot of document.querySelectorAll(".plot")) {
    if (plot.drawn && plot.offsetWidth) Plotly.relayout(plot, {width: width, autosize: width === null});
  }
}
document.querySelectorAll("figure.chart").forEach(draw);
window.addEventListener("beforeprint", () => fit(660));
window.addEventListener("afterprint", () => fit(null));
for (const choice of document.querySelectorAll(".choice")) {
  const select = choice.querySelector("select");
  if (!select) continue;
  select.selectedIndex = 0;
  select.addEventListener("change", () => {
    choice.querySelectorAll(".panel").forEach((panel, number) => {
      panel.hidden = number !== select.selectedIndex;
      panel.querySelectorAll("figure.chart").forEach(draw);
    });
  });
}
"""

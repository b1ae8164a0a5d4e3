"use strict";
// The behaviour of the page beyond htmx: pause, keys, copies, the graph, and charts. Without it, every view still shows.

const RATES_MS = 2000;
let paused = false;

// Requests that repeat stop while the reader has paused the list or does not see the page.
document.addEventListener("htmx:beforeRequest", (event) => {
  const polls = event.target.matches("[data-live]");
  if (polls && (document.hidden || (paused && event.target.id === "tail"))) event.preventDefault();
});
// A repeated request that fails leaves the last state on the page: a band shows the reason until a request succeeds.
const LOST = "The web process does not respond: this page shows an old state. Start it: python -m dualbus.web";
document.addEventListener("htmx:sendError", () => lost(LOST));
document.addEventListener("htmx:timeout", () => lost(LOST));
document.addEventListener("htmx:responseError", (event) => {
  const answer = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
  const reason = answer.querySelector("main p")?.textContent;
  lost(reason ?? `The web process reports the error ${event.detail.xhr.status}.`, event.detail.requestConfig.elt.id);
});
document.addEventListener("htmx:afterOnLoad", (event) => {
  if (event.detail.successful && ["", event.detail.requestConfig.elt.id].includes(lostBy)) lost("");
});

let lostBy = ""; // the id of the element whose request has an error

function lost(text, by = "") {
  const band = document.getElementById("lost");
  band.hidden = !text;
  band.textContent = text;
  lostBy = by;
}

function pause(now) {
  paused = now;
  document.body.classList.toggle("paused", now);
  showPause();
}

function showPause() {
  const button = document.querySelector("[data-pause]");
  if (!button) return;
  button.textContent = paused ? "Continue" : "Pause";
  button.setAttribute("aria-pressed", String(paused));
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-pause]")) pause(!paused);
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    navigator.clipboard.writeText(copy.parentElement.querySelector("pre").textContent).then(() => {
      copy.textContent = "Copied";
    });
  }
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  const view = document.querySelector(`[data-shortcut="${CSS.escape(event.key)}"]`);
  const search = document.querySelector("[data-search]");
  if (view) view.click();
  else if (event.key === "p" && document.querySelector("[data-pause]")) pause(!paused);
  else if (event.key === "/" && search) {
    event.preventDefault();
    search.focus();
  }
});

// The graph: a node with focus, or under the pointer, shows its edges and neighbours.
function highlight(event) {
  const graph = event.target.closest("[data-graph]");
  if (!graph) return;
  const node = event.target.closest("[data-node]");
  const id = node && (event.type === "mouseover" || event.type === "focusin") ? node.dataset.node : null;
  const near = new Set();
  for (const link of graph.querySelectorAll(".link")) {
    const on = id !== null && (link.dataset.first === id || link.dataset.last === id);
    link.classList.toggle("on", on);
    if (on) near.add(link.dataset.first).add(link.dataset.last);
  }
  for (const other of graph.querySelectorAll("[data-node]")) other.classList.toggle("on", near.has(other.dataset.node));
}
for (const type of ["mouseover", "mouseout", "focusin", "focusout"]) document.addEventListener(type, highlight);

// Charts of the rates of ten minutes.
function shown(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit !== "s") return `${value >= 100 ? Math.round(value).toLocaleString("en") : +value.toPrecision(3)}${unit}`;
  if (value === 0) return "0 s";
  if (value < 0.001) return `${+(value * 1e6).toPrecision(3)} µs`;
  return value < 1 ? `${+(value * 1e3).toPrecision(3)} ms` : `${+value.toPrecision(3)} s`;
}

function alone(plot, series, show, gaps) {
  const values = plot.data[series];
  const [first, last] = plot.series[0].idxs;
  const found = [];
  for (let at = first; at <= last; at++) {
    if (values[at] != null && values[at - 1] == null && values[at + 1] == null) found.push(at);
  }
  return found;
}

class Chart {
  constructor(figure) {
    this.unit = figure.dataset.unit;
    this.keys = [...figure.querySelectorAll("[data-series]")];
    this.place = figure.querySelector(".plot");
    this.data = [[], ...this.keys.map(() => [])];
    this.draw();
    new ResizeObserver(() => this.plot.setSize(this.size())).observe(this.place);
  }

  size() {
    return { width: Math.max(120, this.place.clientWidth), height: this.place.clientHeight };
  }

  draw() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: color("--muted"), font: "11px system-ui, sans-serif", ticks: { show: false }, grid: { stroke: color("--line"), width: 1 } };
    const time = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: "UTC" });
    if (this.plot) this.plot.destroy();
    this.plot = new uPlot(
      {
        ...this.size(),
        legend: { show: false },
        padding: [6, 6, 0, 0],
        cursor: { sync: { key: "rates" }, drag: { x: false, y: false }, y: false },
        scales: {
          x: { range: () => [Math.max(this.end() - 600, Math.min(this.data[0][0] ?? 0, this.end() - 60)), this.end()] },
          y: { range: (plot, low, high) => [0, Math.max(high || 0, this.unit === "s" ? 0.001 : 1) * 1.1] },
        },
        axes: [
          { ...axis, size: 24, space: 80, values: (plot, splits) => splits.map((at) => time.format(at * 1000)) },
          { ...axis, size: 58, space: 28, values: (plot, splits) => splits.map((value) => shown(value, this.unit)) },
        ],
        series: [
          {},
          ...this.keys.map((key, index) => ({
            stroke: color(`--series${index + 1}`),
            width: 1.5,
            points: { size: 4, fill: color(`--series${index + 1}`), filter: alone },
          })),
        ],
        hooks: { setCursor: [(plot) => this.show(plot.cursor.idx)] },
      },
      this.data,
      this.place,
    );
  }

  end() {
    return this.data[0].at(-1) ?? Date.now() / 1000;
  }

  show(index) {
    this.keys.forEach((key, series) => {
      const values = this.data[series + 1];
      key.querySelector("output").textContent = shown(values[index ?? values.length - 1], this.unit);
    });
  }

  set(rates) {
    this.data = [rates.time ?? [], ...this.keys.map((key) => rates[key.dataset.series] ?? [])];
    this.plot.setData(this.data);
    this.show(this.plot.cursor.idx);
  }
}

document.addEventListener("DOMContentLoaded", () => {
  document.addEventListener("htmx:afterSwap", showPause);
  const place = document.querySelector("[data-rates]");
  if (!place || !window.uPlot) return;
  const charts = [...place.querySelectorAll(".chart")].map((figure) => new Chart(figure));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.draw()));
  const load = async () => {
    try {
      const answer = document.hidden ? null : await fetch(place.dataset.rates);
      if (answer?.status === 200) {
        const rates = await answer.json();
        charts.forEach((chart) => chart.set(rates));
      }
    } catch {
      lost(LOST);
    }
    setTimeout(load, RATES_MS);
  };
  load();
});

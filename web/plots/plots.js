// Plots by uPlot, in the page's own colours. This takes the place of page/plots.js in the bundle.

import uPlot from "uplot";
import {clock, rate, time} from "../page/format.js";

/** Whether plots are drawn. */
export const drawn = true;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const heights = 240;

// Powers of ten alone are written beside a logarithmic axis.
const decades = (values) => values.map((v) => v !== null &&
  Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-6 ? time(v) : "");

function options(element, {series, logarithmic}) {
  const ink = {stroke: colour("--muted"), font: "12px system-ui, sans-serif",
    grid: {stroke: colour("--line"), width: 1}, ticks: {stroke: colour("--line"), width: 1}};
  const write = logarithmic ? time : rate;
  return {
    width: element.clientWidth, height: heights,
    legend: {live: true}, cursor: {drag: {x: false, y: false}},
    scales: {x: {time: true},
      y: logarithmic ? {distr: 3} : {range: (u, low, high) => [0, (high || 1) * 1.1]}},
    axes: [
      // Whole seconds at least: what lies between has no label of its own.
      {...ink, space: 80, incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300], values: [
        [60, "{HH}:{mm}", null, null, null, null, null, null, 1],
        [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1]]},
      {...ink, size: 88, values: logarithmic ? (u, v) => decades(v) : (u, v) => v.map((n) => rate(n))},
    ],
    series: [{label: "time", value: (u, v) => v === null ? "–" : clock(v * 1000)},
      ...series.map((s) => ({
        label: s.name, stroke: colour(s.colour), width: 2, dash: s.dash, points: {show: false},
        value: (u, v) => v === null || v === undefined ? "–" : write(v),
      }))],
  };
}

/** Draws series over time into an element. set takes [times, values of each series…], oldest first. */
export function plot(element, about) {
  let drawing = null, shown = null;
  const draw = () => {
    drawing?.destroy();
    drawing = new uPlot(options(element, about), shown ?? [[], ...about.series.map(() => [])], element);
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(() => {
    if (element.clientWidth !== drawing.width) drawing.setSize({width: element.clientWidth, height: heights});
  }).observe(element);
  return {
    set(values) {
      shown = values;
      drawing.setData(values);
      // The legend shows what is under the cursor, and the present where there is none.
      if (!(drawing.cursor.left >= 0)) drawing.setLegend({idx: values[0].length - 1});
    },
  };
}

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";

/** One line of a chart: y over x, a gap where y is null. */
export interface Line {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number | null])[];
  /** Points that stand far apart are marked. */
  readonly dots?: boolean;
}

const COLOURS = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6"];

/** Lines over optimiser steps. `label` says in words what there is to see. */
export function Chart({
  label,
  lines,
  height = 260,
}: {
  readonly label: string;
  readonly lines: readonly Line[];
  readonly height?: number;
}) {
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const names = JSON.stringify(lines.map(({ name, dots }) => [name, dots]));
  const data = aligned(lines);
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    const element = holder.current!;
    const draw = () => {
      plot.current?.destroy();
      plot.current = new uPlot(optionsOf(element, lines, height), latest.current, element);
    };
    draw();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height }));
    resized.observe(element);
    const theme = matchMedia("(prefers-color-scheme: dark)");
    theme.addEventListener("change", draw);
    return () => {
      theme.removeEventListener("change", draw);
      resized.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [names, height]);
  useEffect(() => plot.current?.setData(latest.current), [lines]);
  return <div ref={holder} class="chart" role="img" aria-label={label} />;
}

function optionsOf(element: HTMLElement, lines: readonly Line[], height: number): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis = {
    stroke: colour("--muted"),
    grid: { stroke: colour("--rule"), width: 1 },
    ticks: { stroke: colour("--rule"), width: 1 },
    font: `12px ${style.fontFamily}`,
  };
  return {
    width: element.clientWidth || 600,
    height,
    scales: { x: { time: false } },
    axes: [axis, { ...axis, size: 60, values: (_, ticks) => ticks.map((tick) => String(Number(tick.toPrecision(4)))) }],
    series: [
      { label: "step" },
      ...lines.map(({ name, dots }, i) => ({
        label: name,
        stroke: colour(COLOURS[i % COLOURS.length]!),
        width: 1.75,
        spanGaps: true,
        points: { show: dots === true, size: 6 },
      })),
    ],
  };
}

/** Every line over the steps of all. */
function aligned(lines: readonly Line[]): uPlot.AlignedData {
  const steps = [...new Set(lines.flatMap(({ points }) => points.map(([x]) => x)))].sort((a, b) => a - b);
  const columns = lines.map(({ points }) => {
    const by = new Map(points);
    return steps.map((step) => by.get(step) ?? null);
  });
  return [steps, ...columns];
}

"use strict";
// Shows the recordings that the page holds. Lengths are in mm on the paper, from its upper left
// corner; times in seconds, voltages in mV, or of what was standardised in standard deviations.
(async () => {
  const content = JSON.parse(document.getElementById("content").textContent);
  // targets: null of a classifier; of a regression mean and standard deviation of each target in
  // its training, or null where they are not known.
  const { paper, labels, thresholds, targets, recordings, waves } = content;
  const GAINS = [20, 10, 5, 2.5];
  const SALIENCY_WIDTH = 2.2;
  const LEVELS = 24; // colours of the ramp that are told apart
  const MOST_ZOOM = 24;
  const NO_VALUE = -32768;

  const element = (id) => document.getElementById(id);
  const make = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const number = (value, digits = 3) => String(Number(value.toPrecision(digits)));

  // ---------------------------------------------------------------- signals

  async function inflate(text) {
    const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function unpackSignal(recording) {
    const planes = await inflate(recording.signal);
    const count = planes.length / 2;
    const samples = recording.samples;
    return recording.leads.map((_, lead) => {
      const millivolts = new Float32Array(samples);
      let sum = 0;
      for (let i = 0; i < samples; i++) {
        const place = lead * samples + i;
        sum = ((sum + (planes[place] | (planes[count + place] << 8))) << 16) >> 16;
        millivolts[i] = sum === NO_VALUE ? NaN : sum * recording.step;
      }
      return millivolts;
    });
  }

  function median(values) {
    const sorted = values.filter((value) => !Number.isNaN(value)).sort();
    const middle = sorted.length >> 1;
    if (!sorted.length) return 0;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }

  function rgb(colour) {
    return [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));
  }

  function rampColour(share) {
    const place = Math.min(Math.max(share, 0), 1) * (paper.ramp.length - 1);
    const below = Math.min(Math.floor(place), paper.ramp.length - 2);
    const [from, to] = [rgb(paper.ramp[below]), rgb(paper.ramp[below + 1])];
    const mixed = from.map((value, i) => Math.round(value + (place - below) * (to[i] - value)));
    return `rgb(${mixed.join(",")})`;
  }

  // ---------------------------------------------------------------- what is shown

  const canvas = element("ecg");
  const context = canvas.getContext("2d");
  const state = {
    recording: null, signal: null, levels: null, layout: null, gain: 10, offset: 0, traces: [],
    view: { zoom: 1, x: 0, y: 0 }, fit: 1, saliency: false, waves: true, measuring: false, calipers: null,
  };

  function place(trace) {
    // From a sample of a trace to its place on the paper.
    const { base, first, values } = trace;
    const start = state.offset * state.recording.rate;
    const perSample = paper.speed / state.recording.rate;
    return {
      x: (i) => paper.left + (first + i - start) * perSample,
      y: (i) => base - values[i] * state.gain,
    };
  }

  function arrangeTraces() {
    const { recording, layout, signal, offset } = state;
    state.traces = layout.strips.map(([lead, row, start, stop]) => {
      const first = Math.round((offset + start) * recording.rate);
      const last = Math.round((offset + stop) * recording.rate);
      const values = signal[lead].slice(first, last);
      const centre = median(values);
      return {
        name: recording.leads[lead], row, start, stop, first,
        base: layout.height - layout.bases[row], values: values.map((value) => value - centre),
      };
    });
  }

  async function select(index) {
    const recording = recordings[index];
    const [signal, levels] = await Promise.all([
      unpackSignal(recording), recording.saliency && inflate(recording.saliency.values),
    ]);
    Object.assign(state, { recording, signal, levels, offset: 0, calipers: null });
    history.replaceState(null, "", `#${index + 1}`);
    element("name").textContent = recording.name;
    element("name").title = recording.path;
    element("facts").textContent = [
      `${number(recording.rate, 5)} Hz`, `${number(recording.whole, 4)} s`,
      recording.derived.length && `derived: ${recording.derived.join(", ")}`,
      recording.missing && `leads the network missed: ${recording.missing}`,
      recording.flat && `flat: ${recording.flat}`,
      recording.doubts && `doubtful: ${recording.doubts}`,
      recording.segments.length === 1 ? "1 segment" : `${recording.segments.length} segments`,
    ].filter(Boolean).join("  \u00b7  ");
    element("quality").textContent = [
      `Quality ${number(recording.quality, 3)} of 1${recording.doubted ? ": doubted" : ""}`,
      recording.reasons,
    ].filter(Boolean).join("  \u00b7  ");
    element("quality").classList.toggle("doubted", recording.doubted);
    const chosen = element("layout").selectedOptions[0]?.textContent;
    const names = recording.layouts.map((layout) => layout.name);
    element("layout").replaceChildren(...names.map((name, i) => make("option", { value: i, textContent: name })));
    chooseLayout(Math.max(names.indexOf(chosen), 0));
    element("saliency").hidden = !recording.saliency;
    element("legend").hidden = !(recording.saliency && state.saliency);
    element("least").textContent = recording.saliency?.least;
    element("largest").textContent = recording.saliency?.largest;
    listWaves();
    canvas.setAttribute("aria-label", `ECG of ${recording.name}, leads ${recording.leads.join(", ")}`);
    showFindings(index);
    for (const button of element("recordings").querySelectorAll("button")) {
      const isSelected = Number(button.dataset.index) === index;
      button.toggleAttribute("aria-current", isSelected);
      if (isSelected) button.scrollIntoView({ block: "nearest" });
    }
    for (const circle of element("map").querySelectorAll("circle")) {
      circle.classList.toggle("selected", Number(circle.dataset.index) === index);
    }
  }

  function chooseLayout(index) {
    state.layout = state.recording.layouts[index];
    element("layout").value = index;
    const gains = GAINS.map((gain) => make("option", { value: gain, textContent: `${gain} mm/${state.recording.unit}` }));
    element("gain").replaceChildren(...gains);
    state.gain = state.layout.gain;
    element("gain").value = state.gain;
    state.offset = 0;
    state.calipers = null;
    arrangeTraces();
    resize();
    fit();
  }

  // ---------------------------------------------------------------- drawing

  function resize(density = window.devicePixelRatio || 1, largest = 0.8 * window.innerHeight) {
    const width = canvas.clientWidth || 1000;
    const { layout } = state;
    const height = Math.max(Math.min((width * layout.height) / layout.width, largest), 220);
    canvas.style.aspectRatio = `${width} / ${height}`;
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(height * density);
    state.density = canvas.width / width;
    state.fit = Math.min(width / layout.width, height / layout.height);
  }

  const pixelsPerMm = () => state.fit * state.view.zoom;

  function fit() {
    state.view.zoom = 1;
    const { width, height } = visible();
    state.view.x = (state.layout.width - width) / 2;
    state.view.y = (state.layout.height - height) / 2;
    draw();
  }

  function visible() {
    const scale = pixelsPerMm() * state.density;
    return { width: canvas.width / scale, height: canvas.height / scale };
  }

  function keepInside() {
    const { width, height } = visible();
    const { view, layout } = state;
    const keep = (value, shown, whole) =>
      shown >= whole ? (whole - shown) / 2 : Math.min(Math.max(value, 0), whole - shown);
    view.x = keep(view.x, width, layout.width);
    view.y = keep(view.y, height, layout.height);
  }

  function zoomBy(factor, at) {
    const { view } = state;
    const { width, height } = visible();
    const fixed = at || { x: view.x + width / 2, y: view.y + height / 2 };
    const zoom = Math.min(Math.max(view.zoom * factor, 1), MOST_ZOOM);
    view.x = fixed.x - ((fixed.x - view.x) * view.zoom) / zoom;
    view.y = fixed.y - ((fixed.y - view.y) * view.zoom) / zoom;
    view.zoom = zoom;
    keepInside();
    draw();
  }

  function panBy(x, y) {
    state.view.x += x;
    state.view.y += y;
    keepInside();
    draw();
  }

  let isWaiting = false;
  function draw() {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => {
      isWaiting = false;
      drawNow();
    });
  }

  function drawNow() {
    const { layout, view, recording } = state;
    const scale = pixelsPerMm() * state.density;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.setTransform(scale, 0, 0, scale, -view.x * scale, -view.y * scale);
    context.fillStyle = paper.background;
    context.fillRect(0, 0, layout.width, layout.height);
    context.save();
    context.beginPath();
    context.rect(0, 0, layout.width, layout.height);
    context.clip();
    // Under the grid, so that it can be read through the colours.
    if (waves && state.waves) drawWaves();
    if (state.saliency && recording.saliency) drawSaliency();
    if (pixelsPerMm() > 2) drawGrid(1, paper.fine, 0.12);
    drawGrid(5, paper.coarse, 0.2);
    drawTraces(Math.max(0.3, 1.1 / pixelsPerMm()));
    context.restore();
    if (state.calipers) drawCalipers();
    const shown = `${number(recording.start + state.offset, 4)} to ${number(recording.start + state.offset + layout.seconds, 4)} s of ${number(recording.whole, 4)} s`;
    element("scale").textContent = `${paper.speed} mm/s \u00b7 ${state.gain} mm/${recording.unit} \u00b7 ${shown} \u00b7 zoom ${Math.round(100 * view.zoom)} %`;
    const length = recording.samples / recording.rate;
    element("earlier").disabled = state.offset <= 0;
    element("later").disabled = state.offset + layout.seconds >= length - 1e-6;
  }

  function drawGrid(step, colour, width) {
    const { layout } = state;
    context.strokeStyle = colour;
    context.lineWidth = Math.max(width, 0.6 / pixelsPerMm());
    context.beginPath();
    for (let x = 0; x <= layout.width; x += step) {
      context.moveTo(x, 0);
      context.lineTo(x, layout.height);
    }
    for (let y = 0; y <= layout.height; y += step) {
      context.moveTo(0, y);
      context.lineTo(layout.width, y);
    }
    context.stroke();
  }

  function shownSamples(trace) {
    // First and last sample of a trace within the view.
    const perSample = paper.speed / state.recording.rate;
    const start = place(trace).x(0);
    const { width } = visible();
    const first = Math.floor((state.view.x - start) / perSample) - 1;
    const last = Math.ceil((state.view.x + width - start) / perSample) + 1;
    return [Math.max(first, 0), Math.min(last, trace.values.length - 1)];
  }

  function drawTraces(width) {
    context.strokeStyle = paper.trace;
    context.lineWidth = width;
    context.lineJoin = "round";
    context.lineCap = "butt";
    for (const trace of state.traces) {
      const { x, y } = place(trace);
      const [first, last] = shownSamples(trace);
      context.beginPath();
      let isDown = false;
      for (let i = first; i <= last; i++) {
        const isThere = !Number.isNaN(trace.values[i]);
        if (isThere && isDown) context.lineTo(x(i), y(i));
        else if (isThere) context.moveTo(x(i), y(i));
        isDown = isThere;
      }
      if (trace.start) {
        context.moveTo(x(0), trace.base - 1.5);
        context.lineTo(x(0), trace.base + 1.5);
      }
      context.stroke();
    }
    drawPulses();
    drawNames();
  }

  function drawPulses() {
    const right = paper.left - 3;
    const left = right - 5;
    context.lineJoin = "miter";
    context.beginPath();
    for (const fromBelow of state.layout.bases) {
      const base = state.layout.height - fromBelow;
      context.moveTo(left - 2, base);
      for (const [x, y] of [[left, 0], [left, state.gain], [right, state.gain], [right, 0], [right + 2, 0]]) {
        context.lineTo(x, base - y);
      }
    }
    context.stroke();
  }

  function drawNames() {
    const size = Math.min(3.6, Math.max(3.3, 11 / pixelsPerMm()));
    context.font = `600 ${size}px system-ui, "DejaVu Sans", Arial, sans-serif`;
    context.textBaseline = "middle";
    context.strokeStyle = paper.background;
    context.lineWidth = 1;
    context.fillStyle = "#22252b";
    for (const trace of state.traces) {
      // Where a strip starts left of the view, its name stays at the edge.
      const { x: across } = place(trace);
      const end = across(trace.values.length - 1);
      const x = Math.max(across(0), Math.min(state.view.x, end - 10)) + 1;
      context.strokeText(trace.name, x, trace.base - 11);
      context.fillText(trace.name, x, trace.base - 11);
    }
  }

  function wavesOf(lead) {
    // [kind, onset, offset] in seconds from the start of what the page holds.
    const { waves: of } = state.recording;
    return of[lead] || of.all || [];
  }

  function drawWaves() {
    const height = waves.height * (state.layout.bases[0] - (state.layout.bases[1] ?? state.layout.bases[0] - 30));
    context.font = '700 1.9px system-ui, "DejaVu Sans", Arial, sans-serif';
    context.textBaseline = "middle";
    context.textAlign = "center";
    for (const trace of state.traces) {
      const [start, stop] = [state.offset + trace.start, state.offset + trace.stop];
      for (const [kind, onset, offset] of wavesOf(trace.name)) {
        if (onset >= stop || offset < start) continue;
        const [from, to] = [onset, offset].map((time) =>
          paper.left + (Math.min(Math.max(time, start), stop) - state.offset) * paper.speed);
        context.globalAlpha = waves.alpha;
        context.fillStyle = waves.colours[kind];
        context.fillRect(from, trace.base - height / 2, to - from, height);
        context.globalAlpha = 1;
        context.fillStyle = "#22252b";
        if (to - from >= 1) context.fillText(waves.names[kind], (from + to) / 2, trace.base + height / 2 - waves.letters[kind]);
      }
    }
    context.textAlign = "start";
  }

  function listWaves() {
    // What is painted, for those who do not see it.
    if (!waves) return;
    const { recording } = state;
    const leads = recording.waves.all ? ["all"] : recording.leads.filter((lead) => recording.waves[lead]);
    const count = leads.reduce((sum, lead) => sum + recording.waves[lead].length, 0);
    element("wave-list").querySelector("summary").textContent = `${count} waves ${waves.source}: onset to offset in seconds`;
    element("wave-list").querySelector("ul").replaceChildren(...leads.map((lead) => {
      const of = recording.waves[lead].map(([kind, onset, offset]) =>
        `${waves.names[kind]} ${(recording.start + onset).toFixed(3)}\u2013${(recording.start + offset).toFixed(3)}`);
      return make("li", {}, make("b", { textContent: lead === "all" ? "all leads" : lead }), ` ${of.join(", ") || "none"}`);
    }));
  }

  function showWaveLegend() {
    for (const id of ["waves", "wave-legend", "wave-list"]) element(id).hidden = !waves;
    if (!waves) return;
    const titles = { p: "P wave", qrs: "QRS complex", t: "T wave" };
    element("wave-legend").replaceChildren(...Object.entries(titles).flatMap(([kind, title]) => {
      const swatch = make("i");
      swatch.style.background = waves.colours[kind];
      swatch.style.opacity = 2 * waves.alpha;
      return [swatch, make("span", { textContent: title })];
    }));
    canvas.setAttribute("aria-describedby", "hint wave-list");
  }

  function drawSaliency() {
    const { recording, levels } = state;
    const perSample = recording.saliency.rate / recording.rate;
    const step = Math.max(Math.round(0.02 * recording.rate), 1);
    const paths = Array.from({ length: LEVELS }, () => new Path2D());
    for (const trace of state.traces) {
      const { x, y } = place(trace);
      const [first, last] = shownSamples(trace);
      for (let start = first - (first % step); start < last; start += step) {
        const level = levels[Math.min(Math.round((trace.first + start + step / 2) * perSample), levels.length - 1)];
        if (!level) continue;
        const path = paths[Math.floor(((level - 1) / 255) * LEVELS)];
        let isDown = false;
        for (let i = start; i <= Math.min(start + step, last); i++) {
          if (Number.isNaN(trace.values[i])) { isDown = false; continue; }
          if (isDown) path.lineTo(x(i), y(i));
          else path.moveTo(x(i), y(i));
          isDown = true;
        }
      }
    }
    context.lineWidth = SALIENCY_WIDTH;
    context.lineJoin = "round";
    context.lineCap = "round";
    paths.forEach((path, i) => { // the strongest on top
      context.strokeStyle = rampColour(i / (LEVELS - 1));
      context.stroke(path);
    });
  }

  function drawCalipers() {
    const { from, to } = state.calipers;
    context.strokeStyle = "#d0661a";
    context.fillStyle = "rgba(208,102,26,0.10)";
    context.lineWidth = 1.5 / pixelsPerMm();
    const box = [Math.min(from.x, to.x), Math.min(from.y, to.y), Math.abs(to.x - from.x), Math.abs(to.y - from.y)];
    context.fillRect(...box);
    context.strokeRect(...box);
  }

  // ---------------------------------------------------------------- reading off

  function onPaper(event) {
    const box = canvas.getBoundingClientRect();
    const scale = (pixelsPerMm() * canvas.clientWidth) / (canvas.width / state.density);
    return {
      x: state.view.x + (event.clientX - box.left) / scale,
      y: state.view.y + (event.clientY - box.top) / scale,
    };
  }

  function readOff(at) {
    const time = (at.x - paper.left) / paper.speed;
    const under = state.traces.filter((trace) => trace.start <= time && time < trace.stop);
    under.sort((a, b) => Math.abs(a.base - at.y) - Math.abs(b.base - at.y));
    const trace = under[0];
    if (!trace) return "";
    const { rate, start } = state.recording;
    const i = Math.round((time - trace.start) * rate);
    const value = trace.values[i];
    if (value === undefined) return "";
    const voltage = Number.isNaN(value) ? "no value" : `${value.toFixed(2)} ${state.recording.unit}`;
    return `${trace.name} \u00b7 ${(start + state.offset + time).toFixed(3)} s \u00b7 ${voltage}`;
  }

  function measured() {
    const { from, to } = state.calipers;
    const milliseconds = (1000 * Math.abs(to.x - from.x)) / paper.speed;
    const millivolts = Math.abs(to.y - from.y) / state.gain;
    const rate = milliseconds > 100 ? ` (${Math.round(60000 / milliseconds)}/min)` : "";
    return `${Math.round(milliseconds)} ms${rate} \u00b7 ${millivolts.toFixed(2)} ${state.recording.unit}`;
  }

  // ---------------------------------------------------------------- pointer, keys, buttons

  const pointers = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    if (state.measuring) state.calipers = { from: onPaper(event), to: onPaper(event) };
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) {
      if (!state.calipers) element("readout").textContent = readOff(onPaper(event));
      return;
    }
    if (state.measuring) {
      state.calipers.to = onPaper(event);
      element("readout").textContent = measured();
      draw();
    } else if (pointers.size === 1) {
      panBy((before.clientX - event.clientX) / pixelsPerMm(), (before.clientY - event.clientY) / pixelsPerMm());
    } else {
      const [other] = [...pointers.values()].filter((pointer) => pointer.pointerId !== event.pointerId);
      const distance = (pointer) => Math.hypot(pointer.clientX - other.clientX, pointer.clientY - other.clientY);
      zoomBy(distance(event) / Math.max(distance(before), 1), onPaper(other));
    }
    pointers.set(event.pointerId, event);
  });
  for (const type of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(type, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), onPaper(event));
  }, { passive: false });
  canvas.addEventListener("dblclick", fit);

  const KEYS = {
    "+": () => zoomBy(1.4), "=": () => zoomBy(1.4), "-": () => zoomBy(1 / 1.4), "0": fit,
    ArrowLeft: () => panBy(-visible().width / 8, 0), ArrowRight: () => panBy(visible().width / 8, 0),
    ArrowUp: () => panBy(0, -visible().height / 8), ArrowDown: () => panBy(0, visible().height / 8),
    s: () => element("saliency").click(), w: () => element("waves").click(), c: () => element("calipers").click(),
  };
  canvas.addEventListener("keydown", (event) => {
    if (!KEYS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    KEYS[event.key]();
  });

  const onClick = (id, action) => element(id).addEventListener("click", action);
  onClick("zoom-in", () => zoomBy(1.5));
  onClick("zoom-out", () => zoomBy(1 / 1.5));
  onClick("fit", fit);
  const moveBy = (sign) => () => {
    const most = state.recording.samples / state.recording.rate - state.layout.seconds;
    state.offset = Math.max(Math.min(state.offset + sign * state.layout.seconds, most), 0);
    state.calipers = null;
    arrangeTraces();
    draw();
  };
  onClick("earlier", moveBy(-1));
  onClick("later", moveBy(1));
  onClick("saliency", () => {
    if (!state.levels) return;
    state.saliency = !state.saliency;
    element("saliency").setAttribute("aria-pressed", state.saliency);
    element("legend").hidden = !state.saliency;
    draw();
  });
  onClick("waves", () => {
    state.waves = !state.waves;
    element("waves").setAttribute("aria-pressed", state.waves);
    element("wave-legend").hidden = !state.waves;
    draw();
  });
  onClick("calipers", () => {
    state.measuring = !state.measuring;
    state.calipers = null;
    element("calipers").setAttribute("aria-pressed", state.measuring);
    element("readout").textContent = "";
    canvas.classList.toggle("measuring", state.measuring);
    draw();
  });
  element("layout").addEventListener("change", (event) => chooseLayout(Number(event.target.value)));
  element("gain").addEventListener("change", (event) => {
    state.gain = Number(event.target.value);
    state.calipers = null;
    draw();
  });
  window.addEventListener("resize", () => {
    resize();
    keepInside();
    draw();
  });
  window.addEventListener("beforeprint", () => {
    resize(3, Infinity);
    state.view.zoom = 1;
    keepInside();
    drawNow();
  });
  window.addEventListener("afterprint", () => {
    resize();
    fit();
  });

  // ---------------------------------------------------------------- findings, map, model

  const percent = (probability) => `${(100 * probability).toFixed(1)}%`;

  const written = (value) => (targets ? number(value, 4) : value.toFixed(2));

  const extent = (values) =>
    values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
  const extents = labels.map((_, i) =>
    extent(recordings.flatMap((recording) => recording.ofSegments.map((of) => of[i]))));

  function shareOf(value, i) {
    // Of an output, from 0 to 1: a probability; of an estimate, its place within three standard
    // deviations of the mean of the training, or where these are not known, within this page.
    if (!targets) return value;
    const [mean, deviation] = targets[i] || [];
    const [least, most] = targets[i] ? [mean - 3 * deviation, mean + 3 * deviation] : extents[i];
    return Math.min(Math.max((value - least) / (most - least || 1), 0), 1);
  }

  const TEXTS = targets ? {
    title: "Estimates",
    columns: [["Target"], ["Among the targets of the training"], ["Estimate", "number"], ["Mean \u00b1 SD", "number"], ["Segments"]],
    note: "The vertical line is the mean of the targets of the training, the width three standard deviations to each side. Squares are the segments in order of time, the darker the larger; what stands for the recording is their mean, or their maximum where it says so. The output of a network, no measurement.",
  } : {
    title: "Probabilities",
    columns: [["Label"], ["Probability"], ["p", "number"], ["Threshold", "number"], ["Result"], ["Segments"]],
    note: "The vertical line is the threshold. Squares are the segments in order of time, the darker the more probable; what stands for the recording is their mean, or their maximum where it says so. The output of a network, no diagnosis.",
  };

  function describeFindings() {
    const findings = element("findings");
    findings.hidden = !labels.length;
    findings.querySelector("h3").textContent = TEXTS.title;
    findings.querySelector(".note").textContent = TEXTS.note;
    findings.querySelector("thead tr").replaceChildren(...TEXTS.columns.map(([text, className = ""]) =>
      make("th", { scope: "col", textContent: text, className })));
  }

  function bar(share, tickAt, isMark) {
    const fill = make("i", { className: isMark ? "mark" : "" });
    fill.style[isMark ? "left" : "width"] = percent(share);
    const tick = make("b");
    tick.style.left = percent(tickAt);
    return make("div", { className: "bar" }, fill, tick);
  }

  function showFindings(index) {
    const recording = recordings[index];
    const span = ([start, stop]) => `${number(start, 4)} to ${number(stop, 4)} s`;
    const numeric = (text) => make("td", { className: "number", textContent: text });
    element("labels").replaceChildren(...labels.map((label, i) => {
      const value = recording.outputs[i];
      const segments = recording.ofSegments.map((of, segment) => {
        const text = `${span(recording.segments[segment])}: ${written(of[i])}`;
        const square = make("span", { className: "segment", title: text });
        square.setAttribute("role", "img");
        square.setAttribute("aria-label", text);
        square.style.background = rampColour(shareOf(of[i], i));
        return square;
      });
      const name = make("td", {}, label);
      if (content.aggregation[i] === "max") name.append(" ", make("small", { textContent: "(maximum)" }));
      if (targets) {
        const known = targets[i];
        return make("tr", {},
          name,
          make("td", {}, known ? bar(shareOf(value, i), 0.5, true) : ""),
          numeric(written(value)),
          numeric(known ? known.map((of) => number(of)).join(" \u00b1 ") : ""),
          make("td", {}, ...segments));
      }
      const holds = value >= thresholds[i];
      return make("tr", { className: holds ? "holds" : "" },
        name,
        make("td", {}, bar(value, thresholds[i], false)),
        numeric(written(value)),
        numeric(number(thresholds[i])),
        make("td", { className: "result", textContent: holds ? "\u25cf reached" : "\u25cb below" }),
        make("td", {}, ...segments));
    }));
  }

  function strongest(recording) {
    if (targets) return labels.map((label, i) => `${label} ${written(recording.outputs[i])}`).join(", ");
    const reached = labels
      .map((label, i) => [recording.outputs[i], label, i])
      .filter(([probability, , i]) => probability >= thresholds[i])
      .sort((a, b) => b[0] - a[0]);
    if (reached.length) return reached.map(([, label]) => label).join(", ");
    return labels.length ? "no label reaches its threshold" : "";
  }

  function listRecordings() {
    element("recordings").replaceChildren(...recordings.map((recording, index) => {
      const button = make("button", { type: "button", title: recording.path }, recording.name,
        make("small", { textContent: strongest(recording) }));
      button.dataset.index = index;
      button.addEventListener("click", () => select(index));
      return make("li", {}, button);
    }));
    element("errors").hidden = !content.errors.length;
    element("errors").querySelector("ul").replaceChildren(
      ...content.errors.map(([, error]) => make("li", { textContent: error })));
    const count = recordings.length;
    element("summary").textContent = `${count} recording${count === 1 ? "" : "s"}`;
  }

  function drawMap() {
    const SIZE = 260, EDGE = 16;
    const { points, method } = content.map;
    element("map-section").hidden = points.length < 2;
    const most = [0, 1].map((axis) => extent(points.map((point) => point[2 + axis]))[1]);
    const coordinate = (value, axis) => EDGE + (value + (1 - most[axis]) / 2) * (SIZE - 2 * EDGE);
    const circles = points.map(([index, segment, x, y]) => {
      const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      const [start, stop] = recordings[index].segments[segment];
      const text = `${recordings[index].name}, ${number(start, 4)} to ${number(stop, 4)} s`;
      const attributes = {
        cx: coordinate(x, 0), cy: SIZE - coordinate(y, 1), r: points.length > 300 ? 3 : 5.5,
        tabindex: 0, role: "button", "aria-label": text,
      };
      for (const [name, value] of Object.entries(attributes)) circle.setAttribute(name, value);
      circle.dataset.index = index;
      const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
      circle.append(title);
      circle.addEventListener("click", () => select(index));
      circle.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); select(index); }
      });
      circle.addEventListener("pointerenter", () => { element("map-note").textContent = title.textContent; });
      circle.addEventListener("pointerleave", () => { element("map-note").textContent = note; });
      return circle;
    });
    const note = `${points.length} segments: ${method}.`;
    element("map-note").textContent = note;
    element("map").replaceChildren(...circles);
    element("map-colour").hidden = !labels.length;
    element("map-label").replaceChildren(...labels.map((label, i) => make("option", { value: i, textContent: label })));
    const colour = () => {
      const label = Number(element("map-label").value);
      points.forEach(([index, segment], i) => {
        const name = circles[i].getAttribute("aria-label");
        const value = recordings[index].ofSegments[segment]?.[label];
        circles[i].querySelector("title").textContent =
          value === undefined ? name : `${name}: ${written(value)}`;
        circles[i].setAttribute("fill", value === undefined ? "#5fb4d3" : rampColour(shareOf(value, label)));
      });
    };
    element("map-label").addEventListener("change", colour);
    if (labels.length) {
      // At first the label that tells the segments best apart.
      const spread = extents.map(([least, most], i) => shareOf(most, i) - shareOf(least, i));
      element("map-label").value = spread.indexOf(Math.max(...spread));
    }
    colour();
  }

  function showModel() {
    element("model").replaceChildren(...content.model.flatMap(([key, value]) => [
      make("dt", { textContent: key }), make("dd", { textContent: value }),
    ]));
    const shares = paper.ramp.map((colour, i) => `${colour} ${(100 * i) / (paper.ramp.length - 1)}%`);
    element("legend").querySelector("i").style.background = `linear-gradient(90deg, ${shares.join(", ")})`;
  }

  listRecordings();
  showWaveLegend();
  describeFindings();
  drawMap();
  showModel();
  const asked = Number(location.hash.slice(1));
  await select(asked >= 1 && asked <= recordings.length ? asked - 1 : 0);
})();

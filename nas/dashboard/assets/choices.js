/* The view of choices: the brush of the parallel coordinates, and the axes, in the address.
   Functions are called by Dash (nas/dashboard/views/choices.py); nas/dashboard/brush.py says how a
   brush reads. */
(() => {
  "use strict";

  const none = () => window.dash_clientside.no_update;
  const quoted = (text) =>
    encodeURIComponent(text).replace(/[!'()*~]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  const parameter = (search, name) => new URLSearchParams(search || "").get(name) || "";
  let written = null;

  const short = (value) => Number(value.toPrecision(5)).toString();

  function nameOf(rule) {
    try {
      return decodeURIComponent(rule.split(":", 1)[0]);
    } catch {
      return "";
    }
  }

  function rulesOf(text) {
    return text ? text.split(";").filter((rule) => rule.includes(":")) : [];
  }

  function put(text) {
    written = text;
    window.dash_clientside.nas.navigate({ brush: text || null }, true);
  }

  /* ---- a brush drawn on an axis */

  function axisRule(axis, drawn) {
    let ranges = drawn.constraintrange;
    if (!ranges || !ranges.length) return null;
    if (!Array.isArray(ranges[0])) ranges = [ranges];
    if (axis.words) {
      const few = Object.entries(axis.words)
        .filter(([code]) => ranges.some(([low, high]) => low <= Number(code) && Number(code) <= high))
        .map(([, word]) => quoted(word));
      return few.length ? `${quoted(axis.name)}:${few.join(",")}` : null;
    }
    const ends = ranges.flat().map((value) => (axis.is_log ? 10 ** value : value));
    return `${quoted(axis.name)}:${short(Math.min(...ends))}~${short(Math.max(...ends))}`;
  }

  function writeBrush(restyled) {
    const div = document.querySelector("#choices-parallel .js-plotly-plot");
    const axes = div && div.layout && div.layout.meta && div.layout.meta.axes;
    if (!restyled || !axes) return;
    const drawn = div.data[0].dimensions;
    const shown = new Set(axes.map((axis) => axis.name));
    const others = rulesOf(parameter(location.search, "brush")).filter((rule) => !shown.has(nameOf(rule)));
    put([...axes.map((axis, place) => axisRule(axis, drawn[place])).filter(Boolean), ...others].join(";"));
  }

  /* What came by a link or the back button is drawn; what was drawn here is there already. */
  function readBrush(search, shown) {
    const text = parameter(search, "brush");
    if (text === written || text === (shown || "")) return none();
    written = null;
    return text;
  }

  /* ---- a rule made with the keyboard */

  function size(text, isError) {
    const match = /^\s*([0-9]*\.?[0-9]+)\s*([kmgt%]?)\s*$/i.exec(text || "");
    if (!match) return null;
    const unit = { "": 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12, "%": 1 }[match[2].toLowerCase()];
    return (Number(match[1]) * unit) / (isError ? 100 : 1);
  }

  function addRule(clicks, name, words, low, high) {
    if (!clicks || !name) return none();
    const isNumber = ["error", "macs", "params", "activation_bytes"].includes(name);
    let rule = null;
    if (isNumber) {
      const first = low ? size(low, name === "error") : 0;
      const last = high ? size(high, name === "error") : name === "error" ? 1 : 1e15;
      if (first === null || last === null || first > last) return "from and to must be numbers, in order";
      rule = `${quoted(name)}:${short(first)}~${short(last)}`;
    } else if (words && words.length) {
      rule = `${quoted(name)}:${words.map(quoted).join(",")}`;
    } else return "choose a value first";
    const others = rulesOf(parameter(location.search, "brush")).filter((one) => nameOf(one) !== name);
    window.dash_clientside.nas.navigate({ brush: [...others, rule].join(";") }, true);
    return "";
  }

  /* ---- the axes */

  function readAxes(search, options, shown) {
    if (!options || !options.length) return none();
    const names = parameter(search, "axes").split(",").filter(Boolean).map((text) => nameOf(text));
    return JSON.stringify(names) === JSON.stringify(shown || []) ? none() : names;
  }

  function writeAxes(names) {
    window.dash_clientside.nas.navigate({ axes: (names || []).map(quoted).join(",") || null }, true);
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    choices: { writeBrush, readBrush, addRule, readAxes, writeAxes },
  });
})();

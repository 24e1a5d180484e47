/* The view of comparison: which runs, in the address (nas/dashboard/views/compare.py). */
(() => {
  "use strict";

  const quoted = (text) =>
    encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

  function namesOf(search) {
    const text = new URLSearchParams(search || "").get("with") || "";
    try {
      return text.split(",").filter(Boolean).map(decodeURIComponent);
    } catch {
      return [];
    }
  }

  function readRuns(search, options, shown) {
    if (!options || !options.length) return window.dash_clientside.no_update;
    const names = namesOf(search);
    return JSON.stringify(names) === JSON.stringify(shown || []) ? window.dash_clientside.no_update : names;
  }

  function writeRuns(names) {
    window.dash_clientside.nas.navigate({ with: (names || []).map(quoted).join(",") || null }, true);
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, { compare: { readRuns, writeRuns } });
})();

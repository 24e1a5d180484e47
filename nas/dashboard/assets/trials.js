/* The view of trials: rows are read anew where the run changed; the chosen row and the columns stand
   in the address (nas/dashboard/views/trials.py). */
(() => {
  "use strict";

  const none = () => window.dash_clientside.no_update;
  const quoted = (text) =>
    encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  let about = null;
  let grid = null;
  let isMissed = false;

  function gridThere() {
    try {
      const api = window.dash_ag_grid.getApi("trials-grid");
      return api.isDestroyed() ? null : api;
    } catch {
      return null; /* its script, or the grid itself, is not there yet */
    }
  }

  /* Where other rows are meant, the grid begins at the top; where they only grew, it stays. A grid
     without rows has none to refresh, and would never ask again. A new grid asks by itself, but
     perhaps before what was new while it was made. */
  function readAnew(now) {
    const api = gridThere();
    if (!api) {
      isMissed = true;
      return none();
    }
    const text = JSON.stringify(now);
    const isNew = api !== grid;
    const isOther = !isNew && text !== about;
    const isLate = !isNew || isMissed;
    [grid, about, isMissed] = [api, text, false];
    if (isOther || api.getDisplayedRowCount() === 0) {
      api.purgeInfiniteCache();
      if (api.getDisplayedRowCount() > 0) api.ensureIndexVisible(0, "top");
    } else if (isLate) api.refreshInfiniteCache();
    return none();
  }

  function chooseRow(rows) {
    if (rows && rows.length && Number.isInteger(rows[0].number)) {
      window.dash_clientside.nas.navigate({ trial: rows[0].number }, true);
    }
  }

  function readColumns(search, options, shown) {
    if (!options || !options.length) return none();
    const text = new URLSearchParams(search || "").get("columns") || "";
    let names = [];
    try {
      names = text.split(",").filter(Boolean).map(decodeURIComponent);
    } catch {
      /* a broken link shows the usual columns */
    }
    return JSON.stringify(names) === JSON.stringify(shown || []) ? none() : names;
  }

  function writeColumns(names) {
    window.dash_clientside.nas.navigate({ columns: (names || []).map(quoted).join(",") || null }, true);
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    trials: { readAnew, chooseRow, readColumns, writeColumns },
  });
})();

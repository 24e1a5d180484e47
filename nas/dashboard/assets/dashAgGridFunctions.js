/* Functions that the grid of trials calls by name (nas/dashboard/views/trials.py). */
(() => {
  "use strict";
  const own = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});
  const units = { k: 1e3, m: 1e6, g: 1e9, t: 1e12 };

  /* "50M" is a number too; what is none filters nothing. */
  own.numberOf = (text) => {
    const match = /^\s*(-?[0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*([kmgt]?)\s*$/i.exec(text || "");
    return match ? Number(match[1]) * (units[match[2].toLowerCase()] || 1) : null;
  };
})();

/* The page's own part of the dashboard: the address, the theme, and whether there is anything new.
   Functions under dash_clientside.nas are called by Dash (nas/dashboard/address.py and app.py). */
(() => {
  "use strict";

  const THEME = "nas-theme";
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const none = () => window.dash_clientside.no_update;

  /* ---- the address: the only place where what is looked at is kept */

  function navigate(changes, isStep) {
    const pairs = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === "" || value === undefined) pairs.delete(name);
      else pairs.set(name, String(value));
    }
    const text = pairs.toString();
    const search = text ? `?${text}` : "";
    if (search === location.search) return;
    const href = location.pathname + search + location.hash;
    if (isStep) history.pushState({}, "", href);
    else history.replaceState(history.state, "", href);
    tellDash();
  }

  // What Dash's own links do: its Location then takes the whole address from the browser.
  function tellDash() {
    window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
  }

  function go(href) {
    const link = new URL(href, location.href);
    history.pushState({}, "", link.href);
    tellDash();
    window.scrollTo(0, 0);
  }

  // A callback may come late, with the address of before: what counts is the browser's own.
  function readParameter(_, id, bindings, value) {
    const own = bindings[id];
    const found = new URLSearchParams(location.search).get(own.parameter) || own.default;
    return found === value ? none() : found;
  }

  function writeParameter(value, id, bindings) {
    const own = bindings[id];
    const text = value === null || value === undefined ? "" : String(value);
    const found = new URLSearchParams(location.search).get(own.parameter) || own.default;
    if (found === text) return;
    // A budget is one of a cost: another cost begins without.
    const without = own.parameter === "x" ? { budget: null } : {};
    navigate({ ...without, [own.parameter]: text === own.default ? null : text }, true);
  }

  function watchParameters(_, id, bindings, current) {
    const pairs = new URLSearchParams(location.search);
    const found = JSON.stringify(bindings[id].map((name) => pairs.get(name)));
    return found === current ? none() : found;
  }

  function chooseTrial(clickData) {
    const point = clickData && clickData.points && clickData.points[0];
    const data = point && point.customdata;
    const number = Array.isArray(data) ? data[0] : data;
    if (Number.isInteger(number)) navigate({ trial: number }, true);
  }

  function linkTo(pathname, search, id) {
    const view = id.replace("link-", "");
    const open = (pathname || "/").replace(/\//g, "") || "front";
    const isOpen = open === view;
    const link = document.getElementById(id);
    if (link) {
      if (isOpen) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (isOpen && link) {
      document.title = `${link.textContent} - Pareto workbench`;
      showInRow(link);
    }
    return [`/${view}${search || ""}`, isOpen ? "to-view open" : "to-view"];
  }

  // On a phone the row of views is longer than the screen: the open one is brought into sight.
  function showInRow(link) {
    const row = link.parentElement;
    const [outer, inner] = [row.getBoundingClientRect(), link.getBoundingClientRect()];
    if (inner.left < outer.left || inner.right > outer.right) {
      row.scrollLeft += inner.left - outer.left - (outer.width - inner.width) / 2;
    }
  }

  /* ---- the theme: the reader's choice, or what the system says */

  function wanted() {
    let chosen = null;
    try {
      chosen = localStorage.getItem(THEME);
    } catch {
      /* without storage the system's theme is taken */
    }
    return chosen === "light" || chosen === "dark" ? chosen : dark.matches ? "dark" : "light";
  }

  function setTheme(theme) {
    document.documentElement.dataset.theme = theme;
  }

  function readTheme(clicks, current) {
    let theme = wanted();
    if (clicks && current) {
      theme = current === "dark" ? "light" : "dark";
      try {
        localStorage.setItem(THEME, theme);
      } catch {
        /* then it holds for this page only */
      }
    }
    setTheme(theme);
    return [theme, theme === "dark" ? "Light" : "Dark"];
  }

  dark.addEventListener("change", () => {
    const theme = wanted();
    setTheme(theme);
    window.dash_clientside.set_props("theme", { data: theme });
  });

  /* ---- news: is there anything to draw again? */

  let isAsking = false;
  let asked = "";

  async function lookForNews(_, pathname, search, version, options) {
    const nothing = [none(), none(), none(), none(), none(), none()];
    const pairs = new URLSearchParams(search || "");
    pairs.set("path", pathname || "/");
    const question = pairs.toString();
    if ((isAsking && asked === question) || (document.hidden && version)) return nothing;
    isAsking = true;
    asked = question;
    try {
      const answer = await fetch(`/status?${question}`, { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const news = await answer.json();
      const isSame = JSON.stringify(news.runs) === JSON.stringify(options);
      return [
        news.version === version ? none() : news.version,
        news.words,
        `live ${news.state}`,
        news.error || "",
        Math.round(news.seconds * 1000),
        isSame ? none() : news.runs,
      ];
    } catch {
      return [
        none(), "no connection", "live error",
        "The server does not answer: `nas dashboard` has ended, or the network is down. " +
          "What is shown was read before; the page goes on trying.",
        3000, none(),
      ];
    } finally {
      isAsking = false;
    }
  }

  setTheme(wanted());
  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    nas: {
      navigate, go, readParameter, writeParameter, watchParameters, chooseTrial, linkTo, readTheme, lookForNews,
    },
  });
})();

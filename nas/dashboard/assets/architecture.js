/* The architecture view's own part: a trial by its number, and commands to the clipboard. */
(() => {
  "use strict";

  const nas = window.dash_clientside.nas;

  function typeTrial(text, shown) {
    if (!/^[0-9]{1,9}$/.test(text || "") || !shown) return;
    if (Number(text) !== shown.trial) nas.navigate({ trial: Number(text) }, true);
  }

  async function copy(button) {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      // Without leave to use the clipboard the command is selected, ready for Ctrl-C.
      getSelection().selectAllChildren(button.previousElementSibling);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest("[data-copy]");
    if (button) copy(button);
  });

  Object.assign(nas, { typeTrial });
})();

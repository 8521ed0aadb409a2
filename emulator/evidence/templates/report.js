"use strict";
(() => {
  const find = document.getElementById("find");
  const shown = document.getElementById("shown");
  const scenarios = [...document.querySelectorAll(".scenario")].map((box) => ({
    box,
    opened: box.open,
    name: (box.dataset.name + " " + box.querySelector(".about").textContent).toLowerCase(),
    steps: [...box.querySelectorAll(".step")],
  }));
  const kinds = {
    "": () => true,
    injected: (step) => step.classList.contains("injected"),
    stopped: (step) => step.matches(".blocked, .absorbed, .failed, .fate"),
    notes: (step) => step.matches(".violation, .loss, .fate, .failed"),
  };
  let kind = "";
  const total = scenarios.reduce((sum, one) => sum + one.steps.length, 0);

  const textOf = new WeakMap();
  function text(step) {
    let found = textOf.get(step);
    if (found === undefined) {
      found = step.textContent.toLowerCase();
      textOf.set(step, found);
    }
    return found;
  }

  function filter() {
    const wanted = find.value.trim().toLowerCase();
    const number = /^#(\d+)(\.\d+)?$/.exec(wanted);
    const active = wanted !== "" || kind !== "";
    let count = 0;
    for (const one of scenarios) {
      const named = wanted === "" || (!number && one.name.includes(wanted));
      let mine = 0;
      for (const step of one.steps) {
        const fits = number ? ` ${step.dataset.packets} `.includes(` ${number[1]} `) : named || text(step).includes(wanted);
        const visible = fits && kinds[kind](step);
        step.hidden = !visible;
        if (visible) mine += 1;
      }
      count += mine;
      one.box.hidden = active && mine === 0 && !(named && kind === "");
      one.box.open = active ? mine > 0 && !one.box.hidden : one.opened;
    }
    shown.textContent = active ? `${count} of ${total} steps` : "";
  }

  let waiting = 0;
  find.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  document.addEventListener("keydown", (pressed) => {
    if (pressed.key === "/" && document.activeElement !== find) {
      pressed.preventDefault();
      find.focus();
    } else if (pressed.key === "Escape" && document.activeElement === find) {
      find.value = "";
      filter();
    }
  });
  for (const button of document.querySelectorAll("[data-kind]")) {
    button.addEventListener("click", () => {
      kind = button.dataset.kind;
      for (const other of document.querySelectorAll("[data-kind]")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
      filter();
    });
  }
  document.addEventListener("click", (clicked) => {
    const button = clicked.target.closest(".packet");
    if (!button) return;
    clicked.preventDefault();
    find.value = button.textContent.replace(/\..*/, "");
    filter();
  });
  function all(open) {
    for (const one of scenarios) {
      if (!one.box.hidden) one.box.open = one.opened = open;
    }
  }
  document.getElementById("open").addEventListener("click", () => all(true));
  document.getElementById("close").addEventListener("click", () => all(false));

  // Octets stand in the page as plain hexadecimal; rows, ASCII and what changed are drawn when they are looked at.
  function draw(pre, before) {
    const octets = pre.textContent.match(/../g) || [];
    pre.textContent = "";
    for (let start = 0; start < octets.length; start += 16) {
      pre.append(start.toString(16).padStart(4, "0") + "  ");
      let ascii = "";
      for (let place = start; place < start + 16; place += 1) {
        const octet = octets[place];
        if (octet === undefined) {
          pre.append("   ");
          continue;
        }
        if (before && before[place] !== octet) {
          const mark = document.createElement("mark");
          mark.textContent = octet;
          pre.append(mark, " ");
        } else {
          pre.append(octet + " ");
        }
        const code = parseInt(octet, 16);
        ascii += code >= 32 && code < 127 ? String.fromCharCode(code) : ".";
      }
      pre.append(" " + ascii + "\n");
    }
    pre.classList.add("drawn");
    return octets;
  }
  document.addEventListener("toggle", (toggled) => {
    const step = toggled.target;
    if (!step.classList || !step.classList.contains("step") || !step.open) return;
    let before = null;
    for (const pre of step.querySelectorAll(".hex:not(.drawn)")) {
      before = draw(pre, pre.classList.contains("after") ? before : null);
    }
  }, true);
})();

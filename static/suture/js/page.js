// Small behaviours of our own pages, found by data attributes. Every page works without them.
(() => {
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));

  // the colour switch of pages that carry no Alpine
  const next = { auto: "light", light: "dark", dark: "auto" };
  const icon = { auto: "computer", light: "light_mode", dark: "dark_mode" };
  const word = { auto: "System", light: "Light", dark: "Dark" };
  for (const button of all("[data-theme-switch]")) {
    const show = () => {
      const choice = window.sutureTheme.chosen();
      button.querySelector("[data-icon]").textContent = icon[choice];
      button.querySelector("[data-word]").textContent = word[choice];
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      window.sutureTheme.choose(next[window.sutureTheme.chosen()]);
      show();
    });
    show();
  }

  // paper: the page has a style of its own for it
  for (const button of all("[data-print]")) {
    button.hidden = false;
    button.addEventListener("click", () => window.print());
  }

  // what unfold makes clickable without a button or a link is reached and pressed by keyboard, too
  const plain = "[x-on\\:click]:not(a[href], button, input, select, textarea, #changelist-filter-close, h3)";
  const reach = (root) => {
    for (const one of all(plain, root)) {
      if (one.closest("a[href], button") || one.hasAttribute("tabindex")) continue;
      one.tabIndex = 0;
      one.setAttribute("role", "button");
      if (one.textContent.trim() === "more_horiz") one.setAttribute("aria-label", "More actions");
      one.addEventListener("keydown", (event) => {
        if (event.target !== one || (event.key !== "Enter" && event.key !== " ")) return;
        event.preventDefault();
        one.click();
      });
    }
  };
  reach(document);
  document.addEventListener("htmx:load", (event) => reach(event.target));

  // a password that may be looked at while it is typed
  for (const input of all("[data-auth] input[type=password]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "su-peek";
    const paint = () => {
      const hidden = input.type === "password";
      button.textContent = hidden ? "Show" : "Hide";
      button.setAttribute("aria-label", hidden ? "Show the password" : "Hide the password");
    };
    button.addEventListener("click", () => {
      input.type = input.type === "password" ? "text" : "password";
      paint();
    });
    const wrap = document.createElement("span");
    wrap.className = "su-peek-wrap";
    input.replaceWith(wrap);
    wrap.append(input, button);
    paint();
    input.form?.addEventListener("submit", () => (input.type = "password"));
  }

  // copying what is shown once
  for (const button of all("[data-copy]")) {
    const source = document.getElementById(button.dataset.copy);
    if (!source || !navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(source.value ?? source.textContent.trim());
      const label = button.querySelector("[data-word]") ?? button;
      const before = label.textContent;
      label.textContent = "Copied";
      setTimeout(() => (label.textContent = before), 2000);
    });
  }

  // narrowing a list by words and by state, without asking the server
  for (const panel of all("[data-narrow]")) {
    const rows = all("[data-narrow-row]", panel);
    const box = panel.querySelector("[data-narrow-words]");
    const said = panel.querySelector("[data-narrow-said]");
    const none = panel.querySelector("[data-narrow-none]");
    const states = all("[data-narrow-state]", panel);
    let state = "";
    const narrow = () => {
      const words = (box?.value ?? "").trim().toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.dataset.narrowRow.toLowerCase();
        const fits = words.every((one) => text.includes(one)) && (!state || row.dataset.tone === state);
        row.hidden = !fits;
        shown += fits ? 1 : 0;
      }
      if (said) said.textContent = shown === rows.length ? `${rows.length} shown` : `${shown} of ${rows.length} shown`;
      if (none) none.hidden = shown > 0;
    };
    box?.addEventListener("input", narrow);
    box?.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && box.value) {
        box.value = "";
        narrow();
      }
    });
    for (const button of states) {
      button.addEventListener("click", () => {
        state = button.dataset.narrowState;
        for (const other of states) other.setAttribute("aria-pressed", String(other === button));
        narrow();
      });
    }
    for (const clear of all("[data-narrow-clear]", panel)) {
      clear.addEventListener("click", () => {
        if (box) box.value = "";
        state = "";
        for (const other of states) other.setAttribute("aria-pressed", String(other.dataset.narrowState === ""));
        narrow();
        box?.focus();
      });
    }
    all("[data-narrow-tools]", panel).forEach((tools) => (tools.hidden = false));
    narrow();
  }

  // one key for a button that names it, and a hint beside it; never while somebody types
  const keyed = new Map();
  for (const one of all("[data-key]")) {
    if (keyed.has(one.dataset.key)) continue;
    keyed.set(one.dataset.key, one);
    const hint = document.createElement("kbd");
    hint.textContent = one.dataset.key.toUpperCase();
    hint.setAttribute("aria-hidden", "true");
    one.append(hint);
    one.setAttribute("aria-keyshortcuts", one.dataset.key);
  }
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, select, textarea, [contenteditable]");
    const one = keyed.get(event.key.toLowerCase());
    if (!one || isTyping || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const empty = one.form && all("input:not([type=hidden]), select", one.form).find((box) => !box.value);
    // what is empty is filled in first; what joins two records is only brought under the finger
    if (empty || "keyLooks" in one.dataset) {
      (empty ?? one).focus();
      return;
    }
    one.click();
    const more = one.closest("details");
    if (one.matches("summary") && more?.open) more.querySelector("input:not([type=hidden]), select")?.focus();
  });

  // a page that shows how far something is
  const moving = document.querySelector("[data-refresh]");
  if (moving) setTimeout(() => document.hidden || location.reload(), Number(moving.dataset.refresh) * 1000);

  // the arrows of a list of records
  const rows = all(".su-list tbody th a");
  if (rows.length && document.querySelector("[data-arrows]")) {
    document.addEventListener("keydown", (event) => {
      const step = { j: 1, k: -1 }[event.key];
      if (!step || event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
      const here = rows.indexOf(document.activeElement);
      rows[Math.min(rows.length - 1, Math.max(0, here + step))].focus();
    });
  }
})();

// Keeps the page current: fetches what is live each second and puts it in place of the old.
"use strict";
(() => {
  const EVERY = 1000, PATIENCE = 4000;
  const main = document.querySelector("main");
  const byId = (id) => document.getElementById(id);
  let failed = 0, said = "";

  // What the reader opened, closed, scrolled or is at stays as it is.
  const put = (html) => {
    const open = new Map([...main.querySelectorAll("details")].map((one) => [one.id, one.open]));
    const scrolled = [...main.querySelectorAll("details[open] > .scroll")].map((one) => [one.parentNode.id, one.scrollTop]);
    const at = main.contains(document.activeElement) ? place(document.activeElement) : null;
    main.innerHTML = html;
    for (const one of main.querySelectorAll("details")) {
      if (open.has(one.id)) one.open = open.get(one.id);
    }
    for (const [id, top] of scrolled) {
      const one = byId(id) && byId(id).querySelector(":scope > .scroll");
      if (one) one.scrollTop = top;
    }
    const again = at && main.querySelectorAll(at.what)[at.number];
    if (again) again.focus({ preventScroll: true });
    tell();
    mark("live", "");
  };

  // Where an element is: its id, else the number that it is of its kind.
  const place = (element) => {
    if (element.id) return { what: "[id=" + JSON.stringify(element.id) + "]", number: 0 };
    const what = element.tagName.toLowerCase();
    return { what, number: [...main.querySelectorAll(what)].indexOf(element) };
  };

  // The tab, its icon and who listens to the page hear of the worst when it changes.
  const tell = () => {
    const head = main.querySelector("[data-title]");
    if (!head) return;
    if (document.title !== head.dataset.title) document.title = head.dataset.title;
    const icon = document.querySelector("link[rel=icon]");
    if (icon.getAttribute("href") !== head.dataset.icon) icon.setAttribute("href", head.dataset.icon);
    const now = head.querySelector("#headline strong").textContent;
    if (said && said !== now) byId("say").textContent = now;
    said = now;
    clock(head.dataset.at);
  };

  // The reader's own time beside the host's.
  const clock = (at) => {
    const time = byId("clock"), when = new Date(at);
    time.textContent = at.slice(11, 19) + " UTC";
    time.dateTime = at;
    if (when.getTimezoneOffset()) byId("here").textContent = " · " + when.toLocaleTimeString() + " where you are";
  };

  const mark = (words, tone) => {
    byId("pulse").textContent = " · " + words;
    byId("pulse").className = tone;
    document.body.classList.toggle("old", tone === "bad");
  };

  const busy = () => {
    const chosen = document.getSelection();
    return document.hidden || (chosen && !chosen.isCollapsed && main.contains(chosen.anchorNode));
  };

  const turn = async () => {
    try {
      if (!busy()) {
        const answer = await fetch("./?live", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
        if (!answer.ok) throw new Error(answer.status);
        put(await answer.text());
        failed = 0;
      }
    } catch (error) {
      failed += 1;
      mark("no answer from mpswarden: what you see is old", "bad");
    }
    setTimeout(turn, EVERY * Math.min(1 + failed, 10));
  };
  tell();
  setTimeout(turn, EVERY);
})();

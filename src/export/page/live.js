// Keeps the page current: fetches what is live each second and puts it in place of the old.
"use strict";
(() => {
  const EVERY = 1000, PATIENCE = 4000;
  const main = document.querySelector("main");
  let failed = 0;

  // What the reader opened or closed stays as it is.
  const put = (html) => {
    const was = new Map([...main.querySelectorAll("details")].map((one) => [one.id, one.open]));
    main.innerHTML = html;
    for (const one of main.querySelectorAll("details")) {
      if (was.has(one.id)) one.open = was.get(one.id);
    }
    mark("live", "");
  };

  const mark = (words, tone) => {
    const pulse = document.getElementById("pulse");
    if (pulse) { pulse.textContent = " · " + words; pulse.className = tone; }
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
  setTimeout(turn, EVERY);
})();

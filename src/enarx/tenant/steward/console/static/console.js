// Asks for the page again every few seconds and shows what has changed. Everything else works without it.
"use strict";
(() => {
  const LONGEST_MS = 60000; // between two attempts, after failures
  const FAILURES_MAX = 20; // in a row, then it gives up
  const PAGE_MAX_CHARS = 2000000;
  const shown = document.getElementById("live");
  const seconds = Number(document.body.dataset.live);
  if (!shown || !(seconds > 0)) return;

  const state = document.createElement("span");
  state.setAttribute("role", "status");
  const button = document.createElement("button");
  button.type = "button";
  shown.append(state, button);
  shown.hidden = false;

  let timer = 0;
  let failures = 0;
  let paused = false;
  let asking = false;

  function say(text, mood) {
    if (state.textContent !== text) state.textContent = text;
    shown.className = `live ${mood}`;
    button.textContent = paused ? "Resume" : "Pause";
  }

  function plan() {
    clearTimeout(timer);
    if (paused || document.hidden || failures > FAILURES_MAX) return;
    timer = setTimeout(ask, Math.min(seconds * 1000 * 2 ** Math.min(failures, 8), LONGEST_MS));
  }

  function end(text) {
    failures = FAILURES_MAX + 1;
    clearTimeout(timer);
    say(text, "bad");
    button.hidden = true;
  }

  // Puts what was fetched into the page, with the keyboard where it was; returns what to say of it.
  function replace(page) {
    const now = document.getElementById("content");
    const then = page.getElementById("content");
    const asof = page.getElementById("asof");
    if (!now || !then || !asof) throw new Error("not a page of the console");
    document.getElementById("asof").replaceChildren(...asof.childNodes);
    if (now.innerHTML === then.innerHTML) return "Live";
    if (!getSelection().isCollapsed) return "Waiting while text is selected";
    const held = now.contains(document.activeElement) ? document.activeElement : null;
    const scrolled = [...now.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
    document.title = page.title;
    now.replaceChildren(...then.childNodes);
    now.querySelectorAll(".scroll").forEach((one, index) => { one.scrollLeft = scrolled[index] || 0; });
    const same = (one) => ["href", "aria-label"].every((name) => one.getAttribute(name) === held.getAttribute(name));
    if (held) [...now.querySelectorAll(held.tagName)].find(same)?.focus({ preventScroll: true });
    return "Live";
  }

  async function ask() {
    if (asking) return;
    asking = true;
    try {
      const answer = await fetch(location.href, {
        cache: "no-store", credentials: "same-origin", redirect: "manual", signal: AbortSignal.timeout(20000),
      });
      if (answer.type === "opaqueredirect" || answer.status === 404) {
        end("Signed out: reload the page to sign in.");
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      const text = await answer.text();
      if (text.length > PAGE_MAX_CHARS) throw new Error("too long");
      const said = replace(new DOMParser().parseFromString(text, "text/html"));
      failures = 0;
      if (!paused) say(said, said === "Live" ? "on" : "off");
    } catch {
      failures += 1;
      say(failures > FAILURES_MAX ? "No answer: reload the page." : "No answer, trying again", "bad");
    } finally {
      asking = false;
      plan();
    }
  }

  button.addEventListener("click", () => {
    paused = !paused;
    if (paused) {
      clearTimeout(timer);
      say("Paused", "off");
    } else {
      failures = 0;
      say("Live", "on");
      ask();
    }
  });
  document.addEventListener("visibilitychange", plan);
  say("Live", "on");
  plan();
})();

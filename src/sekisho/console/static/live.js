// Live pages without a framework. The page is complete without this script; with it, the parts that carry
// data-live are replaced as the server says. One stream per page: browsers allow six connections per host over
// HTTP/1.1, so a hidden tab closes its stream and goes on where it stopped when it is seen again.
"use strict";
(() => {
  const url = document.body.dataset.stream;
  if (!url) return;
  const LINES_MAX = 2000;
  const AGAIN_MS = 3000;
  const status = document.querySelector("[data-live-status]");
  const toggle = document.querySelector("[data-live-toggle]");
  const announce = document.querySelector("[data-live-announce]");
  const log = document.querySelector("[data-live-log]");
  const waiting = new Map();
  let source = null;
  let timer = 0;
  let paused = false;
  let ended = false;
  let last = "";
  let heard = new Date();

  // The sentence for a state, with the time of what is shown where the sentence has a place for it.
  const tell = (state) => {
    if (!status) return;
    const time = heard.toLocaleTimeString(document.documentElement.lang, { timeZone: "Asia/Tokyo", hour12: false });
    status.textContent = (status.dataset[`${state}Text`] || "").replace("{time}", time);
  };
  const noted = (event) => {
    if (event.lastEventId) last = event.lastEventId;
    heard = new Date();
    return JSON.parse(event.data);
  };
  // A part in which somebody is at work is kept until they leave it: the focused element is never replaced.
  const put = (name, html) => {
    const target = document.querySelector(`[data-live="${CSS.escape(name)}"]`);
    if (!target) return;
    if (target.contains(document.activeElement)) waiting.set(name, html);
    else target.innerHTML = html;
  };
  document.addEventListener("focusout", () => {
    setTimeout(() => {
      for (const [name, html] of [...waiting]) {
        waiting.delete(name);
        put(name, html);
      }
    }, 0);
  });

  // Event "part": {"part": name, "html": fragment that the server drew from its own templates}.
  const part = (event) => {
    const { part: name, html } = noted(event);
    put(name, html);
  };
  // Event "line": one log line, always as text.
  const line = (event) => {
    const text = noted(event);
    if (!log) return;
    const empty = document.querySelector("[data-live-log-empty]");
    if (empty) empty.remove();
    const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
    log.append(`${text}\n`);
    while (log.childNodes.length > LINES_MAX) log.firstChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  };
  // Event "say": one sentence for whoever listens instead of looking, on changes of state only.
  const say = (event) => {
    const sentence = noted(event);
    if (announce) announce.textContent = sentence;
  };

  const close = () => {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  };
  const open = () => {
    if (source || paused || ended || document.hidden) return;
    const address = new URL(url, location.href);
    if (last) address.searchParams.set("after", last);
    source = new EventSource(address);
    source.addEventListener("part", part);
    source.addEventListener("line", line);
    source.addEventListener("say", say);
    source.addEventListener("end", (event) => {
      noted(event);
      ended = true;
      close();
      tell("ended");
      if (toggle) toggle.hidden = true;
    });
    source.onopen = () => {
      heard = new Date();
      tell("live");
    };
    // The browser tries again by itself, except after a refusal: then a new stream is needed.
    source.onerror = () => {
      tell("lost");
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        timer = setTimeout(open, AGAIN_MS);
      }
    };
  };

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  if (toggle) {
    toggle.hidden = false;
    toggle.addEventListener("click", () => {
      paused = !paused;
      toggle.setAttribute("aria-pressed", String(paused));
      if (paused) {
        close();
        tell("paused");
      } else open();
    });
  }
  if (log) log.scrollTop = log.scrollHeight;
  open();
})();

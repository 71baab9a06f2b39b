// What every page does: times in the viewer's zone, tickets of `binnacle open`, notifications of jobs that ended, and the notice that the
// server is silent.
"use strict";

function localTimes(root) {
  const today = new Date().toDateString();
  for (const tag of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(tag.dateTime);
    const clock = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const day = moment.toLocaleDateString([], { year: "numeric", month: "short", day: "numeric" });
    tag.textContent = moment.toDateString() === today ? clock : `${day}, ${clock}`;
    tag.title = moment.toLocaleString([], { timeZoneName: "short" });
  }
}

function useTicket() {
  const ticket = new URLSearchParams(location.hash.slice(1)).get("ticket");
  const form = document.getElementById("sign-in");
  if (!form || !ticket) return;
  history.replaceState(null, "", location.pathname + location.search);
  const field = document.createElement("input");
  field.type = "hidden";
  field.name = "ticket";
  field.value = ticket;
  form.append(field);
  form.noValidate = true;
  form.submit();
}

function sliders(root) {
  for (const slider of root.querySelectorAll("[data-slides]")) {
    const field = document.getElementById(slider.dataset.slides);
    slider.addEventListener("input", () => { field.value = slider.value; });
    field.addEventListener("input", () => { slider.value = field.value; });
  }
}

function copying(root) {
  for (const button of root.querySelectorAll("[data-copy]")) {
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    });
  }
}

// Jobs that this browser's user wants to be told of when they end, by their ids.
const WANTED = "binnacle-notify";

function wanted() {
  try { return JSON.parse(localStorage.getItem(WANTED)) || {}; } catch { return {}; }
}

function want(job, wish) {
  const jobs = wanted();
  if (wish) jobs[job] = true; else delete jobs[job];
  try { localStorage.setItem(WANTED, JSON.stringify(jobs)); } catch { /* a browser without storage tells nothing */ }
}

function notifying(root) {
  for (const button of root.querySelectorAll("[data-notify]")) {
    const job = button.dataset.notify;
    const show = () => { button.setAttribute("aria-pressed", String(job in wanted())); };
    button.hidden = !("Notification" in window) || Notification.permission === "denied";
    show();
    button.addEventListener("click", async () => {
      const wish = !(job in wanted());
      const allowed = !wish || (await Notification.requestPermission()) === "granted";
      if (allowed) want(job, wish); else button.textContent = "This browser blocks notifications of this site";
      show();
    });
  }
}

function notify() {
  const ended = document.querySelector("[data-ended]");
  if (!ended || !(ended.dataset.ended in wanted())) return;
  want(ended.dataset.ended, false);
  if (!("Notification" in window) || Notification.permission !== "granted") return;
  const note = new Notification(ended.dataset.title, { body: ended.dataset.said, tag: ended.dataset.ended });
  note.addEventListener("click", () => { window.focus(); note.close(); });
}

function asksWhileHidden() {
  const button = document.querySelector("[data-notify]");
  return button !== null && button.dataset.notify in wanted();
}

function enliven(root) {
  localTimes(root);
  sliders(root);
  copying(root);
  notifying(root);
}

function labelling() {
  const form = document.querySelector("[data-labels]");
  if (!form) return;
  const texts = [...form.querySelectorAll("[data-label]")];
  const open = () => texts.find((text) => !text.querySelector(":checked"));
  const show = (text) => { const first = text.querySelector("input"); first.focus({ preventScroll: true }); text.scrollIntoView({ block: "center" }); };
  document.addEventListener("keydown", (event) => {
    if (!/^[0-9]$/.test(event.key) || event.ctrlKey || event.altKey || event.metaKey) return;
    const text = document.activeElement.closest("[data-label]") || open();
    if (!text) return;
    text.querySelector(`[value="${event.key}"]`).checked = true;
    const next = texts[texts.indexOf(text) + 1];
    if (next) show(next); else form.querySelector("button").focus();
  });
}

// A part that is replaced gives the focus back to the control that had it, or to its like: htmx does so for controls with an id alone.
function nameOf(control) {
  return [control.tagName, control.getAttribute("href"), control.name, control.value, control.textContent].join("\n");
}

let focused = null;

function rememberFocus(part) {
  const control = document.activeElement;
  focused = control && !control.id && part.contains(control) ? nameOf(control) : null;
}

function restoreFocus(part) {
  if (focused === null || part.contains(document.activeElement)) return;
  const same = [...part.querySelectorAll("a, button, input, select, textarea, summary, [tabindex]")].find((one) => nameOf(one) === focused);
  if (same) same.focus({ preventScroll: true });
  focused = null;
}

function stale(silent) {
  document.getElementById("stale").hidden = !silent;
  document.body.classList.toggle("silent", silent);
}

useTicket();
labelling();
enliven(document);
notify();
document.addEventListener("htmx:beforeRequest", (event) => { if (document.hidden && !asksWhileHidden()) event.preventDefault(); });
document.addEventListener("htmx:beforeSwap", (event) => { rememberFocus(event.detail.target); });
document.addEventListener("htmx:oobBeforeSwap", (event) => { rememberFocus(event.detail.target); });
document.addEventListener("htmx:oobAfterSwap", (event) => { restoreFocus(document.getElementById(event.detail.target.id) || document); });
document.addEventListener("htmx:afterSwap", (event) => {
  const part = document.getElementById(event.target.id) || document;
  enliven(part);
  restoreFocus(part);
});
document.addEventListener("htmx:afterRequest", (event) => { stale(!event.detail.xhr.status || event.detail.xhr.status >= 500); });

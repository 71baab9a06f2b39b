// What every page does: times in the viewer's zone, tickets of `binnacle open`, and the notice that the server is silent.
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

function enliven(root) {
  localTimes(root);
  sliders(root);
  copying(root);
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

function stale(silent) {
  document.getElementById("stale").hidden = !silent;
  document.body.classList.toggle("silent", silent);
}

useTicket();
labelling();
enliven(document);
document.addEventListener("htmx:beforeRequest", (event) => { if (document.hidden) event.preventDefault(); });
document.addEventListener("htmx:afterSwap", (event) => { enliven(document.getElementById(event.target.id) || document); });
document.addEventListener("htmx:afterRequest", (event) => { stale(!event.detail.xhr.status || event.detail.xhr.status >= 500); });

// Searches as one types. Without this script the form's button does the same: both ask for the same address.
"use strict";
window.addEventListener("DOMContentLoaded", () => {
  const WAIT = 200; // ms after the last key: a word is not asked for letter by letter
  const form = document.getElementById("search");
  const field = form.elements.q;
  const shown = ["told", "found"].map((id) => document.getElementById(id));
  let asked = field.value.trim();
  let waiting = 0;
  let asking = new AbortController();

  const address = (words) => {
    const wanted = new URLSearchParams(new FormData(form));
    wanted.set("q", words);
    for (const [name, value] of [...wanted]) if (!value) wanted.delete(name);
    return wanted.size ? `${form.action}?${wanted}` : form.action;
  };

  const look = async () => {
    const words = field.value.trim();
    if (words === asked || words.length === 1) return;
    asking.abort();
    asking = new AbortController();
    const from = address(words);
    try {
      const answer = await fetch(from, { signal: asking.signal, headers: { Accept: "text/html" } });
      if (!answer.ok) return; // the button shows what is wrong
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const each of shown) each.replaceChildren(...page.getElementById(each.id).childNodes);
      asked = words;
      history.replaceState(null, "", from);
    } catch {
      // Typed on, or away from the network: the button remains.
    }
  };

  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(look, WAIT);
  });
});

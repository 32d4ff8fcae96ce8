let playing = null; // the player that plays, as only one does
const lines = [...document.querySelectorAll(".line")];

function layOut() { // each label below its word, in as many rows as keep labels apart
  const measured = lines.map((line) => [line.clientWidth, [...line.querySelectorAll("button")].map((word) => [word, word.offsetWidth])]);
  measured.forEach(([width, words], place) => { // only now: what is measured after a change is laid out again
    const ends = [];
    for (const [word, wide] of words) {
      const left = Math.max(0, Math.min(width * word.dataset.start / word.closest(".player").dataset.length, width - wide));
      let row = ends.findIndex((end) => end <= left);
      if (row < 0) row = ends.length;
      ends[row] = left + wide;
      word.style.left = `${left}px`;
      word.parentElement.style.setProperty("--row", row);
    }
    lines[place].style.setProperty("--rows", ends.length);
  });
}

layOut();
addEventListener("resize", layOut);

for (const box of document.querySelectorAll(".player")) {
  const [button, slider, status] = box.querySelectorAll(".controls button, input, output");
  if (!slider) continue; // there is nothing to play
  const texts = JSON.parse(box.dataset.texts); // [seconds, characters kept of the text before, what follows them, stable, early]
  const parts = box.querySelectorAll(".shown span"); // what stays, what may change, what is early
  const [line, cursor, sound] = [".line", ".cursor", "audio"].map((name) => box.querySelector(name));
  const words = [...box.querySelectorAll("li button")];
  const length = Number(box.dataset.length), end = Number(slider.max);
  let timer = 0;

  function show(time) {
    slider.value = time;
    const text = [];
    let number = 0;
    while (number < texts.length && (texts[number][0] <= time || time >= end)) {
      text.length = texts[number][1];
      text.push(...texts[number++][2]); // by code point, as they were counted
    }
    const [, , , stable, early] = number ? texts[number - 1] : [0, 0, "", 0, 0];
    const ends = [0, stable, text.length - early, text.length];
    parts.forEach((part, place) => { part.textContent = text.slice(ends[place], ends[place + 1]).join(""); });
    const what = number === 0 ? "no text yet" : number === texts.length ? "final" : `partial ${number} of ${texts.length - 1}`;
    status.value = `${time.toFixed(1)} s${texts.length ? `, ${what}` : ""}`;
    slider.setAttribute("aria-valuetext", [status.value, ...(number ? [text.join("")] : [])].join(": "));
    if (!line) return;
    cursor.hidden = time >= end;
    cursor.style.left = `${100 * Math.min(1, time / length)}%`;
    const view = line.parentElement, at = line.clientWidth * Math.min(1, time / length);
    if (playing === stop && (at < view.scrollLeft || at > view.scrollLeft + view.clientWidth)) view.scrollLeft = at;
  }

  function stop() {
    clearInterval(timer);
    sound?.pause();
    button.textContent = "Play";
    if (playing === stop) playing = null;
  }

  function play(from) {
    playing?.();
    playing = stop;
    button.textContent = "Pause";
    const steps = Number(slider.step), begun = Date.now(); // the sound's own time, where there is one
    if (sound) {
      sound.currentTime = from;
      sound.play().catch((error) => { if (error.name !== "AbortError") stop(); }); // that is ours, when another word is played
    }
    show(from);
    timer = setInterval(() => {
      const time = sound && !sound.ended ? sound.currentTime : sound ? end : from + (Date.now() - begun) / 1000;
      show(Math.min(end, time));
      if (time >= end) stop();
    }, sound ? 40 : 1000 * steps);
  }

  button.addEventListener("click", () => {
    if (playing === stop) return stop();
    const time = Number(slider.value);
    play(time >= Math.min(end, length) ? 0 : time);
  });
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  words.forEach((word, place) => {
    word.tabIndex = place ? -1 : 0; // arrow keys go from word to word
    word.addEventListener("click", () => play(Number(word.dataset.start)));
    word.addEventListener("keydown", (event) => {
      const next = words[place + { ArrowRight: 1, ArrowLeft: -1 }[event.key]];
      if (!next) return;
      event.preventDefault();
      word.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  });
  box.querySelector(".controls").hidden = false;
  show(end);
}

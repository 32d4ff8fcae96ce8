const END = 28; // letters

/* An utterance as it is drawn. */
class Utterance {
  constructor() {
    this.row = $("utterance").content.firstElementChild.cloneNode(true);
    $("talk").append(this.row);
  }

  part(name) { return this.row.querySelector(name); }

  voice(start, bargeIn, here) {
    this.part(".voice").className = bargeIn ? "voice mark barge" : "voice mark";
    this.part(".voice").textContent = `${bargeIn ? "Barge-in" : "Voice"} at ${seconds(start)}`;
    this.event(bargeIn ? "barge-in" : "voice", start, undefined, here, "");
  }

  partial({ text, words, stable, early, start_s, audio_s, lag_ms }, here) {
    const stays = words.slice(0, stable).map((word) => word.text).join(" ");
    const ends = [0, stays.length, Math.max(stays.length, text.length - early.length), text.length];
    [".stable", ".changeable", ".early"].forEach((name, place) => { this.part(name).textContent = text.slice(ends[place], ends[place + 1]); });
    this.event("partial", start_s + audio_s, lag_ms, here, text);
  }

  final({ transcript, words, start_s, ended_by, lag_ms, usage }, here) {
    const end = start_s + usage.seconds;
    this.part(".text").hidden = Boolean(words.length);
    this.part(".text").textContent = words.length ? "" : "(no words)";
    this.part(".words").hidden = !words.length;
    this.part(".words").append(...words.map((word) => {
      const item = document.createElement("li"), sure = `${Math.round(100 * word.confidence)} % sure`;
      const about = `${word.start_s.toFixed(2)} to ${seconds(word.end_s)}, ${sure}`;
      item.innerHTML = "<span></span><small aria-hidden='true'></small><span class='unseen'></span>";
      [word.text, word.start_s.toFixed(2), `, ${about}; `].forEach((text, place) => { item.children[place].textContent = text; });
      item.firstElementChild.title = about;
      item.firstElementChild.style.setProperty("--sure", word.confidence);
      return item;
    }));
    this.end(`Ended by ${{ caller: "this page", length: "its length" }[ended_by] ?? ended_by} at ${seconds(end)}`);
    this.event("final", end, lag_ms, here, transcript);
    $("said").textContent = transcript;
  }

  end(how) {
    this.part(".end").hidden = false;
    this.part(".end span").textContent = how;
  }

  event(kind, at, lag, here, text) {
    const row = this.part("tbody").insertRow(), end = text.length > END ? `…${text.slice(-END)}` : text; // where it changes
    for (const cell of [kind, seconds(at), milliseconds(lag), milliseconds(here), end]) row.insertCell().textContent = cell;
    const delays = [lag === undefined ? [] : `${milliseconds(lag)} in the server`, here === undefined ? [] : `${milliseconds(here)} here`].flat();
    this.part("summary").textContent = `${kind}: ${delays.join(", ")}`;
  }
}


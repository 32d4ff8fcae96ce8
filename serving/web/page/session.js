/* A connection to the server, from its beginning to its end. */
class Session {
  open = false;
  model = "";
  sent = []; // when each frame was, in ms
  utterances = new Map();
  told = false; // of an error

  constructor() {
    const token = sessionStorage.getItem("token"), bearer = token ? [`openai-insecure-api-key.${token}`] : [];
    this.socket = new WebSocket(`${location.origin.replace("http", "ws")}/v1/realtime`, ["realtime", ...bearer]);
    this.begun = new Promise((resolve) => { this.settle = resolve; }); // whether it is open
    this.socket.onmessage = ({ data }) => {
      const atEnd = innerHeight + scrollY > document.documentElement.scrollHeight - 100;
      this.take(JSON.parse(data));
      if (atEnd) scrollTo(0, document.documentElement.scrollHeight);
    };
    this.socket.onclose = () => this.closed();
  }

  ask(type, fields) { this.socket.send(JSON.stringify({ type, ...fields })); }

  hear(frame) {
    if (!this.open) return;
    this.sent.push(performance.now());
    this.socket.send(frame.buffer);
  }

  here(at) { // ms since the audio up to there was sent
    const sent = this.sent[Math.min(this.sent.length, Math.ceil((at * RATE) / FRAME - 1e-6)) - 1];
    return sent && performance.now() - sent;
  }

  favour() {
    const keywords = $("hotwords").value.split(",").map((word) => word.trim()).filter(Boolean);
    this.ask("session.update", { session: { audio: { input: { transcription: { keywords } } } } });
  }

  utterance(id) {
    if (!this.utterances.has(id)) this.utterances.set(id, new Utterance());
    return this.utterances.get(id);
  }

  take(message) {
    const at = message.partial ?? message;
    switch (message.type.split(".").pop()) {
      case "created": {
        const input = { format: { type: "audio/pcm", rate: RATE }, transcription: { delay: $("delay").value } };
        this.model = message.session.audio.input.transcription.model;
        this.ask("session.update", { session: { audio: { input }, include: ["item.input_audio_transcription.partial"] } });
        if ($("hotwords").value.trim()) this.favour(); // apart: where they are refused the rest holds
        break;
      }
      case "updated":
        complain("");
        $("entry").hidden = true;
        this.open = true;
        this.settle(true);
        show();
        break;
      case "speech_started": {
        const start = message.audio_start_ms / 1000;
        if (message.barge_in) silence(`interrupted at ${seconds(start)}`);
        this.utterance(message.item_id).voice(start, message.barge_in, this.here(start));
        break;
      }
      case "delta":
        if (message.partial) this.utterance(message.item_id).partial(at, this.here(at.start_s + at.audio_s));
        break;
      case "completed":
        this.utterance(message.item_id).final(message, this.here(message.start_s + message.usage.seconds));
        this.utterances.delete(message.item_id);
        break;
      case "failed":
        this.utterance(message.item_id).end(`lost: ${message.error.message}`);
        this.utterances.delete(message.item_id);
        break;
      case "error": // a session that nobody talks to ends in silence
        this.told = true;
        if (sound || message.error.code !== "session_idle") complain(message.error.message);
    }
  }

  leave() { // another one takes its place, or it is closed
    this.open = false;
    this.socket.onclose = this.socket.onmessage = null;
    this.socket.close();
    silence("stopped");
    for (const each of this.utterances.values()) each.end("the connection ended");
    session = null;
    this.settle(false);
  }

  async closed() {
    const wasOpen = this.open;
    this.leave();
    if (!wasOpen && !this.told) await this.explain();
    else if (sound && !this.told) complain("expected the server to go on, found the connection closed; connect again");
    if (!session) stop();
  }

  async explain() { // a browser does not tell why a WebSocket was refused
    const token = sessionStorage.getItem("token");
    try {
      const answer = await fetch("/v1/realtime", { headers: token ? { authorization: `Bearer ${token}` } : {} });
      $("entry").hidden = answer.status !== 401;
      const why = answer.status === 426 ? "expected a session, found the connection closed; connect again" : (await answer.json()).error.message;
      complain(answer.status === 401 && !token ? "expected a token of this server; enter one, or ask who runs it" : why);
    } catch {
      complain("expected the server, found nobody who answers; start it, then connect again");
    }
  }
}

async function connect() {
  session?.leave();
  try {
    session = new Session();
  } catch { // of the letters that a subprotocol's name may not have
    sessionStorage.removeItem("token");
    $("entry").hidden = false;
    return complain("expected a token without spaces, quotes, and any of ( ) , / : ; < = > ? @ [ ] { }; found one with; enter another");
  }
  show();
  return session.begun;
}

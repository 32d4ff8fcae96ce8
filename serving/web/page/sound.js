const RATE = 16000, FRAME = 320; // Hz, and samples of a message: 20 ms
const SILENCE = 1.5; // seconds after a file, in which its last utterance ends
const AGENT = 6; // seconds
const FRAMES = `registerProcessor("frames", class extends AudioWorkletProcessor {
  frame = new Int16Array(${FRAME});
  filled = 0;
  listens = true;
  constructor() {
    super();
    this.port.onmessage = () => { this.listens = false; };
  }
  process([[channel]]) { // nothing comes of a source that has not begun, or has ended
    for (const sample of channel ?? []) {
      this.frame[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(32768 * sample)));
      if (this.filled === ${FRAME}) this.port.postMessage(this.frame.slice(this.filled = 0));
    }
    return this.listens;
  }
})`;

/* Begin to send what a source gives: `source` returns an audio node, what begins it once it is connected, and what ends it. */
async function start(name, source) {
  const own = sound = { name, stop() {} }; // until another one is, or none
  show();
  complain("");
  try {
    if (!isSecureContext) throw new Error("expected https or localhost, as browsers ask for sound, found neither; put a proxy with TLS before the server");
    context ??= new AudioContext({ sampleRate: RATE });
    worklet ??= context.audioWorklet.addModule(URL.createObjectURL(new Blob([FRAMES], { type: "text/javascript" })));
    await Promise.all([context.resume(), worklet]);
    voice ??= babble(); // not once a microphone is open, whose audio would wait
    const isOpen = session?.open || (await (session?.begun ?? connect()));
    if (sound !== own) return;
    if (!isOpen) return stop();
    const { node, begin, end } = await source();
    const frames = new AudioWorkletNode(context, "frames", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    own.stop = () => { frames.port.onmessage = null; frames.port.postMessage("stop"); node.disconnect(); end(); };
    if (sound !== own) return own.stop();
    frames.port.onmessage = ({ data }) => {
      session?.hear(data);
      const level = Math.hypot(...data) / Math.sqrt(FRAME) / 32768; // 1: full scale
      document.querySelector(".level div").style.transform = `scaleX(${Math.max(0, 1 + Math.log10(level + 1e-6) / 3)})`; // 60 dB
      $("clock").value = `${((session?.sent.length ?? 0) * FRAME / RATE).toFixed(1)} s`;
    };
    node.connect(frames);
    begin();
    show();
  } catch (error) {
    if (sound === own) stop();
    complain(error.message);
  }
}

function stop() {
  const was = sound;
  sound = null;
  was?.stop();
  silence("stopped");
  context?.suspend();
  if (was && session?.open && session.utterances.size) session.ask("input_audio_buffer.commit");
  document.querySelector(".level div").style.transform = "";
  show();
}

async function microphone() {
  const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }; // the server takes the agent's echo away
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: raw });
  } catch (error) {
    throw new Error(`expected a microphone, found: ${error.message}; allow this page to use one, or take a file`);
  }
  const end = () => stream.getTracks().forEach((track) => track.stop());
  return { node: context.createMediaStreamSource(stream), begin() {}, end };
}

async function recording(file) {
  let decoded;
  try {
    decoded = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Error(`expected sound that this browser plays, found ${file.name}; take another file, such as WAV or MP3`);
  }
  const longer = context.createBuffer(decoded.numberOfChannels, decoded.length + SILENCE * RATE, RATE);
  for (let channel = 0; channel < decoded.numberOfChannels; channel++) longer.copyToChannel(decoded.getChannelData(channel), channel);
  const node = new AudioBufferSourceNode(context, { buffer: longer });
  node.connect(context.destination);
  node.onended = stop;
  return { node, begin: () => node.start(), end: () => { node.onended = null; node.disconnect(); } };
}

/* A voice that says nothing, FP32 at 16 kHz: harmonics through the formants of a vowel a syllable. */
function babble() {
  const vowels = [[730, 1090], [270, 2290], [530, 1840], [300, 870], [570, 840], [440, 1020]]; // Hz
  const samples = new Float32Array(AGENT * RATE), syllable = RATE / 4;
  let phase = 0;
  for (let start = 0, number = 0; start < samples.length; start += syllable, number++) {
    const pitch = 115 + 25 * Math.sin(number / 2) - 3 * (number % 8), vowel = vowels[(5 * number + (number >> 2)) % vowels.length];
    const strength = (frequency) => vowel.reduce((sum, formant, place) => sum + 0.12 / (1 + place) / (1 + ((frequency - formant) / 90) ** 2), 0);
    const strengths = Array.from({ length: Math.floor(3000 / pitch) }, (_, place) => strength((place + 1) * pitch));
    for (let place = 0; place < syllable && number % 7 !== 6; place++) { // a pause now and then
      const time = place / syllable, loudness = Math.sin(Math.PI * time) ** 0.7;
      phase += (2 * Math.PI * pitch * (1.05 - 0.1 * time)) / RATE;
      samples[start + place] = loudness * strengths.reduce((sum, each, harmonic) => sum + each * Math.sin((harmonic + 1) * phase), 0);
    }
  }
  return samples;
}

function speak() {
  const buffer = context.createBuffer(1, voice.length, RATE);
  buffer.copyToChannel(voice, 0);
  const bytes = new Uint8Array(Int16Array.from(voice, (sample) => 32767 * sample).buffer);
  session.ask("agent_audio.append", { audio: btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")) });
  agent = { node: new AudioBufferSourceNode(context, { buffer }), mark: document.createElement("li") };
  agent.mark.className = "quiet agent";
  agent.mark.textContent = "Agent speaks";
  $("talk").append(agent.mark);
  agent.node.connect(context.destination);
  agent.node.onended = () => silence("to its end");
  agent.node.start();
  show();
}

function silence(how) { // the agent's
  if (!agent) return;
  agent.node.onended = null;
  agent.node.stop();
  agent.mark.textContent = `Agent spoke, ${how}`;
  if (how.startsWith("interrupted")) $("said").textContent = "You interrupted the agent";
  else if (session?.open) session.ask("agent_audio.stop");
  agent = null;
  show();
}

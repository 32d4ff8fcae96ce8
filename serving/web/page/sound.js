const RATE = 16000, FRAME = 320; // Hz, and samples of a message: 20 ms
const SILENCE = 1.5; // seconds after a file, in which its last utterance ends
const AGENT = 6; // seconds
const FRAMES = `registerProcessor("frames", class extends AudioWorkletProcessor {
  frame = new Int16Array(${FRAME});
  filled = 0;
  process([[channel]]) { // nothing comes of a source that has not begun, or has ended
    for (const sample of channel ?? []) {
      this.frame[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(32768 * sample)));
      if (this.filled === ${FRAME}) this.port.postMessage(this.frame.slice(this.filled = 0));
    }
    return true;
  }
})`;

/* Begin to send what a source gives: `source` returns an audio node, what begins it once it is connected, and what ends it. */
async function start(name, source) {
  const own = sound = { name, stop() {} };
  show();
  complain("");
  try {
    if (!isSecureContext) throw new Error("expected https or localhost, as browsers ask for sound, found neither; put a proxy with TLS before the server");
    context ??= new AudioContext({ sampleRate: RATE });
    worklet ??= context.audioWorklet.addModule(URL.createObjectURL(new Blob([FRAMES], { type: "text/javascript" })));
    await Promise.all([context.resume(), worklet]);
    if (!session?.open && !(await (session?.begun ?? connect()))) return stop();
    const { node, begin, end } = await source();
    const frames = new AudioWorkletNode(context, "frames", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    own.stop = () => { frames.port.onmessage = null; node.disconnect(); end(); };
    if (sound !== own) return own.stop(); // meanwhile
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
  const vowels = [[730, 1090], [270, 2290], [530, 1840], [300, 870], [570, 840], [440, 1020]], samples = new Float32Array(AGENT * RATE);
  let phase = 0;
  for (let place = 0; place < samples.length; place++) {
    const time = place / RATE, syllable = Math.floor(4 * time), pitch = 115 + 25 * Math.sin(1.9 * time) - 6 * (time % 2);
    phase += (2 * Math.PI * pitch) / RATE;
    for (let harmonic = 1; harmonic * pitch < 3000; harmonic++) {
      const strength = vowels[(5 * syllable + (syllable >> 2)) % vowels.length].map((formant) => 1 / (1 + ((harmonic * pitch - formant) / 90) ** 2));
      samples[place] += 0.12 * (strength[0] + strength[1] / 2) * Math.sin(harmonic * phase);
    }
    samples[place] *= Math.sin(Math.PI * ((4 * time) % 1)) ** 0.7 * (syllable % 7 === 6 ? 0 : 1); // a pause now and then
  }
  return samples;
}

function speak() {
  const samples = babble(), buffer = context.createBuffer(1, samples.length, RATE);
  buffer.copyToChannel(samples, 0);
  const bytes = new Uint8Array(Int16Array.from(samples, (sample) => 32767 * sample).buffer);
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

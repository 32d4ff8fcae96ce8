const $ = (id) => document.getElementById(id);
const seconds = (time) => `${time.toFixed(2)} s`;
const milliseconds = (time) => (time === undefined ? "" : `${Math.round(time)} ms`);
let context = null; // of all sound, once a button was pressed
let worklet = null; // a promise that it knows of frames
let session = null;
let sound = null; // what is being sent: the name of its button, and how it is stopped
let agent = null; // the sound that it plays, and its mark
let voice = null; // its samples

function complain(what) {
  $("problem").hidden = !what; // first, for readers of screens
  $("problem").textContent = what;
}

function show() {
  const open = session?.open;
  $("state").textContent = open ? `Connected to ${session.model}` : session ? "Connecting" : "Not connected";
  $("reconnect").hidden = Boolean(session);
  $("agent").disabled = !(open && sound);
  for (const [name, now] of [["microphone", sound?.name === "microphone"], ["file", sound?.name === "file"], ["agent", Boolean(agent)]])
    $(name).setAttribute("aria-pressed", now);
  for (const name of ["microphone", "file"]) $(name).disabled = Boolean(sound) && sound.name !== name;
}

$("microphone").onclick = () => (sound ? stop() : start("microphone", microphone));
$("file").onclick = () => { if (sound) return stop(); $("chosen").value = ""; $("chosen").click(); };
$("chosen").onchange = () => { const [file] = $("chosen").files; if (file) start("file", () => recording(file)); };
$("agent").onclick = () => (agent ? silence("stopped") : speak());
$("hotwords").onchange = () => { if (session?.open) session.favour(); };
$("delay").onchange = $("reconnect").onclick = connect;
$("entry").onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value.trim());
  connect();
};
connect();

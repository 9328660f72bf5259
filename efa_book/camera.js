// Records a few seconds with the browser's camera, without sound. What it records goes to the notebook's kernel alone.

const TYPES = ["video/webm;codecs=vp8", "video/webm", "video/mp4"]; // Safari has the last one only
const BITS = 2_500_000; // a second: the longest recording stays below the 10 MB that a Jupyter server takes
const REASONS = {
  NotAllowedError: "The camera was not allowed: allow it in the browser's address bar, then record again.",
  NotFoundError: "No camera was found: connect one, or upload a video.",
  NotReadableError: "The camera cannot be used: another program may be using it.",
};
const CLOSED = "This page gets no camera: open it at localhost or over https, or upload a video.";

function render({ model, el }) {
  const button = document.createElement("button");
  const preview = Object.assign(document.createElement("video"), { muted: true, playsInline: true, hidden: true });
  const status = document.createElement("span");
  status.setAttribute("role", "status");
  preview.setAttribute("aria-label", "What the camera sees");
  button.className = "jupyter-button widget-button";
  el.classList.add("efa-camera");
  el.append(button, " ", status, preview);
  const say = (text) => { status.textContent = text; };
  const label = (text) => { button.textContent = text; };
  let now = null; // the recording that goes on

  async function seconds(count, text) {
    for (let left = count; left > 0 && !now.ended; left--) {
      say(text(left));
      await new Promise((done) => { now.wake = done; setTimeout(done, 1000); });
    }
  }

  async function record() {
    now = { ended: false, wake() {} };
    const mine = now;
    let stream = null;
    label("Stop");
    try {
      if (!navigator.mediaDevices?.getUserMedia || !globalThis.MediaRecorder) return say(CLOSED);
      say("Waiting for the camera: the browser may ask you to allow it.");
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 960 }, frameRate: { ideal: 25 } }, audio: false });
      preview.srcObject = stream;
      preview.hidden = false;
      await preview.play();
      await seconds(model.get("wait"), (left) => `Recording starts in ${left}. Step back until all of you is in the picture.`);
      if (mine.ended) return say("Nothing was recorded.");
      const type = TYPES.find((one) => MediaRecorder.isTypeSupported(one));
      const [recorder, parts] = [new MediaRecorder(stream, { mimeType: type, videoBitsPerSecond: BITS }), []];
      recorder.ondataavailable = (event) => parts.push(event.data);
      const stopped = new Promise((done) => { recorder.onstop = done; });
      recorder.start();
      await seconds(model.get("seconds"), (left) => `Recording: ${left} s left.`);
      recorder.stop();
      await stopped;
      if (mine.gone) return;
      const bytes = await new Blob(parts).arrayBuffer();
      if (!bytes.byteLength) return say("The camera gave no picture: record again.");
      say("Recorded; the video went to this notebook's kernel and nowhere else.");
      model.send({ type: recorder.mimeType }, undefined, [bytes]);
    } catch (error) {
      say(REASONS[error.name] ?? `The camera does not work: ${error.message}`);
    } finally {
      for (const track of stream?.getTracks() ?? []) track.stop(); // its light goes off
      preview.srcObject = null;
      preview.hidden = true;
      label("Record with the camera");
      now = null;
    }
  }

  function end() {
    if (!now) return;
    now.ended = true;
    now.wake();
  }

  label("Record with the camera");
  button.onclick = () => (now ? end() : record());
  return () => {
    if (now) now.gone = true;
    end();
  };
}

export default { render };

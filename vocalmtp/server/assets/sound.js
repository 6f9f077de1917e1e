// The browser's microphone and loudspeaker.

const HERE = new URL(".", import.meta.url);
const BUFFER = 0.08; // seconds of an answer before it begins to sound

export function microphoneError(error) {
  if (!window.isSecureContext || !navigator.mediaDevices) {
    return "Browsers give a microphone only to pages over https, or on localhost.";
  }
  const words = {
    NotAllowedError:
      "The microphone was not allowed. Allow it beside the page's address, then press again.",
    NotFoundError: "No microphone was found. Connect one, or try the sample question.",
    NotReadableError: "The microphone is in use by another program.",
  };
  return words[error.name] || `The microphone cannot be used (${error.message}).`;
}

// Calls heard(Float32Array, rate) with every block, and ended() if the device goes. Throws what
// getUserMedia throws.
export class Microphone {
  async open(heard, ended) {
    if (!navigator.mediaDevices) throw new Error("no microphones here");
    this.stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
    for (const track of this.stream.getAudioTracks()) track.onended = ended;
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule(new URL("worklets.js", HERE));
    const node = new AudioWorkletNode(this.context, "microphone", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => heard(data, this.context.sampleRate);
    this.context.createMediaStreamSource(this.stream).connect(node);
    await this.context.resume();
  }

  close() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.context?.close();
    this.stream = this.context = undefined;
  }
}

// Calls report({turn, seconds, playing, over, gaps}) every 50 ms of sound.
export class Loudspeaker {
  async open(rate, report) {
    this.context = new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
    await this.context.audioWorklet.addModule(new URL("worklets.js", HERE));
    const options = { outputChannelCount: [1], processorOptions: { buffer: BUFFER } };
    this.node = new AudioWorkletNode(this.context, "player", options);
    const late = () => this.context?.outputLatency || this.context?.baseLatency || 0;
    this.node.port.onmessage = ({ data }) =>
      report({ ...data, seconds: Math.max(0, data.seconds - (data.playing ? late() : 0)) });
    this.node.connect(this.context.destination);
    await this.context.resume();
  }

  play(turn, pcm) {
    const samples = Float32Array.from(pcm, (sample) => sample / 32768);
    this.node?.port.postMessage({ kind: "push", turn, samples }, [samples.buffer]);
  }

  end(turn) {
    this.node?.port.postMessage({ kind: "end", turn });
  }

  drop() {
    this.node?.port.postMessage({ kind: "drop" });
  }

  close() {
    this.context?.close();
    this.context = this.node = undefined;
  }
}

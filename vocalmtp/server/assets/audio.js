// The browser's microphone and loudspeaker.

const HERE = new URL(".", import.meta.url);
const BUFFER = 0.08; // seconds of an answer that are buffered before it plays

export function microphoneError(error) {
  if (!window.isSecureContext || !navigator.mediaDevices) {
    return "Browsers allow the microphone only on pages over https, or on localhost.";
  }
  const messages = {
    NotAllowedError:
      "The microphone is blocked. Allow it beside the page's address, then press the button again.",
    NotFoundError: "No microphone was found. Connect one, or try the sample question.",
    NotReadableError: "The microphone is in use by another program.",
  };
  return messages[error.name] || `The microphone cannot be used (${error.message}).`;
}

// Calls onBlock(Float32Array, rate) with every block, and onEnd() if the device is disconnected.
// Throws what getUserMedia throws.
export class Microphone {
  async open(onBlock, onEnd) {
    if (!navigator.mediaDevices) throw new Error("no media devices");
    this.stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
    for (const track of this.stream.getAudioTracks()) track.onended = onEnd;
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule(new URL("worklets.js", HERE));
    const node = new AudioWorkletNode(this.context, "microphone", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => onBlock(data, this.context.sampleRate);
    this.context.createMediaStreamSource(this.stream).connect(node);
    await this.context.resume();
  }

  close() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.context?.close();
    this.stream = this.context = undefined;
  }
}

// Calls onProgress({turn, seconds, playing, finished, gaps}) every 50 ms of playback.
export class Loudspeaker {
  async open(rate, onProgress) {
    this.context = new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
    await this.context.audioWorklet.addModule(new URL("worklets.js", HERE));
    const options = { outputChannelCount: [1], processorOptions: { buffer: BUFFER } };
    this.node = new AudioWorkletNode(this.context, "player", options);
    const latency = () => this.context?.outputLatency || this.context?.baseLatency || 0;
    this.node.port.onmessage = ({ data }) =>
      onProgress({ ...data, seconds: Math.max(0, data.seconds - (data.playing ? latency() : 0)) });
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

  clear() {
    this.node?.port.postMessage({ kind: "clear" });
  }

  close() {
    this.context?.close();
    this.context = this.node = undefined;
  }
}

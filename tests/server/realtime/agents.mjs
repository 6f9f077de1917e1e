// A text turn of the OpenAI Agents SDK; prints the audio's bytes and the history.
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession } from '@openai/agents-realtime';

const url = process.argv[2];
const transport = new OpenAIRealtimeWebSocket({ url });
const agent = new RealtimeAgent({ name: 'Assistant', instructions: 'Be brief.' });
const session = new RealtimeSession(agent, { transport, model: 'gpt-realtime' });
let bytes = 0;
const done = new Promise((resolve, reject) => {
  session.on('audio', (event) => { bytes += event.data.byteLength; });
  session.on('error', (error) => reject(new Error(JSON.stringify(error))));
  transport.on('turn_done', resolve);
});
await session.connect({ apiKey: 'none', url });
session.sendMessage('Hi.');
await done;
await new Promise((resolve) => setTimeout(resolve, 200));
const history = session.history.map((item) => [
  item.role, item.status, item.content.map((part) => part.transcript ?? part.text),
]);
console.log(JSON.stringify({ bytes, history }));
process.exit(0);

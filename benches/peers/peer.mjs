// What somebody would write with Node.js: mqtt.js and fetch. Acknowledges what it has read, keeps nothing.
// node peer.mjs BROKER_PORT URL

import mqtt from "mqtt";

const [port, url] = process.argv.slice(2);
const CONCURRENT_MAX = 256;
let running = 0;
const waiting = [];

const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, { clientId: "node", clean: false, keepalive: 30 });
client.on("connect", () => client.stream.setNoDelay(true));
client.subscribe("SendMessage", { qos: 1 });
client.on("message", (_topic, payload) => {
    if (running < CONCURRENT_MAX) void send(payload);
    else waiting.push(payload);
});

async function send(payload) {
    running += 1;
    const { id, type, ...body } = JSON.parse(payload);
    let answer;
    try {
        const response = await fetch(`${url}/msg/${type}`, {
            method: "POST",
            headers: { apikey: "key", "content-type": "application/json" },
            body: JSON.stringify(body),
        });
        const { code, msg, data } = await response.json();
        answer = code === 0 ? { id, msgId: data.msgId } : { id, error: msg };
    } catch (error) {
        answer = { id, error: String(error) };
    }
    client.publish("SendMessageResp", JSON.stringify(answer), { qos: 1 });
    running -= 1;
    const next = waiting.shift();
    if (next) void send(next);
}

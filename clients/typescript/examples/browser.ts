import { connect } from "featherwire/web";

const client = connect({ address: "http://localhost:8000", apiKey: "gw_live_1234" });
const stream = client.streamChat({
  model: "meta-llama/Meta-Llama-3.1-8B-Instruct",
  messages: [{ role: "user", content: "Say hello in 5 words" }],
});
for await (const text of stream) {
  document.body.append(text);
}

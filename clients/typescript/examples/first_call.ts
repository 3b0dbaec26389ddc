import { connect } from "featherwire/node";

const client = connect({ address: "http://localhost:8000", apiKey: "gw_live_1234" });
const answer = await client.chat({
  model: "meta-llama/Meta-Llama-3.1-8B-Instruct",
  messages: [{ role: "user", content: "Say hello in 5 words" }],
});
console.log(answer.choices[0]?.message?.content);

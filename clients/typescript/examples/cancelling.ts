import { connect } from "featherwire/node";

const client = connect();
const stream = client.streamChat({
  model: "meta-llama/Meta-Llama-3.1-8B-Instruct",
  messages: [{ role: "user", content: "Write a long story" }],
});
for await (const text of stream) {
  break;
}
console.log("what has come:", stream.soFar.choices[0]?.message?.content);

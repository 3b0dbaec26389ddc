import { connect } from "featherwire/node";

const client = connect();
const stream = client.streamChat({
  model: "meta-llama/Meta-Llama-3.1-8B-Instruct",
  messages: [{ role: "user", content: "Say hello in 5 words" }],
});
for await (const text of stream) {
  process.stdout.write(text);
}
console.log();
console.log(stream.answer.usage?.totalTokens, "tokens");

import { connect } from "featherwire/node";

const client = connect();
for await (const model of client.models({ search: "llama" })) {
  console.log(model.id, model.contextLength);
}

const answer = await client.embeddings.createEmbedding({
  model: "BAAI/bge-m3",
  inputKind: { case: "input", value: "Hello" },
});
console.log(answer.data.length, "vector");

import { connect, ErrorReason, FeatherwireError } from "featherwire/node";

const client = connect({ timeoutMs: 60_000 });
const request = {
  model: "emulator/503-retry-after-60", // This model of the emulator never has capacity.
  messages: [{ role: "user", content: "Say hello in 5 words" }],
};
try {
  const answer = await client.chat(request, { timeoutMs: 10_000 });
  console.log(answer.choices[0]?.message?.content);
} catch (error) {
  if (!(error instanceof FeatherwireError)) throw error;
  console.log(error.message);
  if (error.reason === ErrorReason.INVALID_VALUE) {
    console.log("correct the field", error.field);
  }
  if (error.retry === "soon") {
    console.log("try again after", error.retryAfterMs, "ms");
  }
  console.log("the gateway's log has the request as", error.requestId);
}

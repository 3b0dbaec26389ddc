// A page that calls a gateway with clients/typescript, and shows how it went.

import { connect, ErrorReason, FeatherwireError } from "featherwire/web";

declare global {
  interface Window {
    run(address: string, apiKey: string): Promise<object>;
  }
}

const MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct";

window.run = async (address, apiKey) => {
  const client = connect({ address, apiKey, timeoutMs: 30_000 });
  const request = (model: string) => ({
    model,
    messages: [{ role: "user", content: "Say hello in 5 words" }],
  });
  const unary = await client.chat(request(MODEL));
  const stream = client.streamChat(request(MODEL));
  const pieces: string[] = [];
  for await (const text of stream) pieces.push(text);
  const refused = (model: string, key = apiKey) =>
    connect({ address, apiKey: key })
      .streamChat(request(model))
      .read()
      .then(() => undefined)
      .catch((error) => (error instanceof FeatherwireError ? error : undefined));
  const [busy, cut, stranger] = [
    await refused("emulator/503-retry-after-60"),
    await refused("emulator/cut-after-5"),
    await refused(MODEL, "gw_wrong"),
  ];
  let models = 0;
  for await (const _ of client.models()) models += 1;
  return {
    unary: unary.choices[0]?.message?.content,
    pieces,
    tokens: stream.answer.usage?.totalTokens,
    busy: [ErrorReason[busy?.reason ?? 0], busy?.retryAfterMs, busy?.requestId?.length],
    cut: ErrorReason[cut?.reason ?? 0],
    stranger: ErrorReason[stranger?.reason ?? 0],
    models,
  };
};

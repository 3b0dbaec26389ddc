import { useState } from "preact/hooks";
import { client } from "../api/client";
import { isCancelled, problemOf, type Problem } from "../api/problem";
import { KeyService } from "../gen/featherwire/admin/v1/key_service_pb";

export const keyService = () => client(KeyService, "administration");

/** A change that runs when a button asks for it: one at a time, with its error in words. */
export function useChange() {
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  async function run(change: () => Promise<void>): Promise<void> {
    if (isBusy) return;
    setBusy(true);
    setProblem(undefined);
    try {
      await change();
    } catch (error) {
      if (!isCancelled(error)) setProblem(problemOf(error, "administration"));
    } finally {
      setBusy(false);
    }
  }
  return { isBusy, problem, run };
}

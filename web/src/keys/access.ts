import { Code, ConnectError } from "@connectrpc/connect";
import { useEffect, useState } from "preact/hooks";
import { client } from "../api/client";
import { keyOf } from "../api/key";
import { isCancelled, problemOf, type Problem } from "../api/problem";
import { KeyService } from "../gen/featherwire/admin/v1/key_service_pb";
import { CallerService } from "../gen/featherwire/v1/caller_service_pb";
import { KeyRole } from "../gen/featherwire/v1/key_limits_pb";

/** What the caller may see and do in this view. */
export type Access =
  | { kind: "unknown" }
  | { kind: "all"; canChange: boolean }
  | { kind: "own"; why: "no-key" | "wrong-role" | "elsewhere" }
  | { kind: "failed"; problem: Problem };

/** Finds out what the caller may do, once for each admin key, and again when `retry` is called. */
export function useAccess(): { access: Access; retry: () => void } {
  const [access, setAccess] = useState<Access>({ kind: "unknown" });
  const [round, setRound] = useState(0);
  const key = keyOf("administration");
  useEffect(() => {
    const controller = new AbortController();
    find(controller.signal).then(
      (found) => !controller.signal.aborted && setAccess(found),
      () => undefined,
    );
    return () => controller.abort();
  }, [key, round]);
  return { access, retry: () => setRound((round) => round + 1) };
}

async function find(signal: AbortSignal): Promise<Access> {
  try {
    await client(KeyService, "administration").listKeys({ pageSize: 1 }, { signal });
    const { role } = await client(CallerService, "administration").getOwnKey({}, { signal });
    return { kind: "all", canChange: role !== KeyRole.VIEWER };
  } catch (error) {
    if (isCancelled(error)) throw error;
    const { code } = ConnectError.from(error);
    const hasKey = keyOf("administration") !== "";
    if (code === Code.Unauthenticated && !hasKey) return { kind: "own", why: "no-key" };
    if (code === Code.PermissionDenied && hasKey) return { kind: "own", why: "wrong-role" };
    if (code === Code.Unimplemented) return { kind: "own", why: "elsewhere" };
    return { kind: "failed", problem: problemOf(error, "administration") };
  }
}

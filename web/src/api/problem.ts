import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  HelpSchema,
  QuotaFailureSchema,
  RetryInfoSchema,
} from "../gen/google/rpc/error_details_pb";
import { ADVICE, TITLES } from "./advice";
import { Unreachable } from "./client";
import { askForKey, keyOf, type KeySlot } from "./key";

/** A failed call in words: what happened, and what to do. */
export interface Problem {
  title: string;
  /** The gateway's own message. */
  text: string;
  advice: string;
  /** The reason of the contract (`MODEL_GATED`), or the name of the status. */
  reason: string;
  /** When the same call may succeed, in milliseconds since 1970. */
  retryAt?: number;
  /** Whether the same call may succeed later without a change. */
  canRetry: boolean;
  fields: { field: string; text: string }[];
  links: { text: string; url: string }[];
}

/** Whether the caller itself has ended the call. */
export function isCancelled(error: unknown): boolean {
  return ConnectError.from(error).code === Code.Canceled;
}

/** Describes the error of a call, and asks for a key if that is what is missing. */
export function problemOf(thrown: unknown, slot: KeySlot = "calls"): Problem {
  const error = ConnectError.from(thrown);
  const info = error.findDetails(ErrorInfoSchema)[0];
  const reason = info?.reason ?? (isUnreachable(error) ? "UNREACHABLE" : statusName(error.code));
  if (error.code === Code.Unauthenticated) askForKey(slot, keyReason(error, slot));
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  const delayMs = delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6;
  const fields = error
    .findDetails(BadRequestSchema)
    .flatMap((bad) => bad.fieldViolations)
    .map(({ field, description }) => ({ field, text: description }));
  const quotas = error
    .findDetails(QuotaFailureSchema)
    .flatMap((failure) => failure.violations)
    .map(({ subject, description }) => ({ field: subject, text: description }));
  return {
    title: TITLES[reason] ?? STATUS_TITLES[error.code] ?? "The call failed",
    text: reason === "UNREACHABLE" ? "" : error.rawMessage,
    advice: ADVICE[reason] ?? "",
    reason,
    retryAt: delayMs === undefined ? undefined : Date.now() + delayMs,
    canRetry: info ? info.metadata.retry !== "never" : error.code !== Code.InvalidArgument,
    fields: [...fields, ...quotas],
    links: error
      .findDetails(HelpSchema)
      .flatMap((help) => help.links)
      .map(({ description, url }) => ({ text: description || url, url })),
  };
}

function keyReason(error: ConnectError, slot: KeySlot): string {
  if (keyOf(slot)) return error.rawMessage;
  return slot === "administration"
    ? "The administration of this gateway needs an admin key."
    : "This gateway answers only calls with a key.";
}

/** Whether no answer came at all, or its connection broke: a reader throws a `TypeError` then. */
function isUnreachable(error: ConnectError): boolean {
  if (error.cause instanceof Unreachable) return true;
  const isCut = error.cause instanceof TypeError && /network|load|stream/i.test(error.cause.message);
  return isCut || (error.code === Code.Unknown && !navigator.onLine);
}

function statusName(code: Code): string {
  return (Code[code] ?? "Unknown").replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
}

const STATUS_TITLES: Partial<Record<Code, string>> = {
  [Code.InvalidArgument]: "The request is not valid",
  [Code.NotFound]: "Not found",
  [Code.PermissionDenied]: "Not allowed",
  [Code.Unauthenticated]: "A key is needed",
  [Code.ResourceExhausted]: "Too many calls at the moment",
  [Code.FailedPrecondition]: "Not possible at the moment",
  [Code.DeadlineExceeded]: "The answer took too long",
  [Code.Unavailable]: "Not available at the moment",
  [Code.Unimplemented]: "This gateway does not know the method",
  [Code.Internal]: "The gateway has a bug",
};

// The errors of calls.

import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorReason } from "./gen/featherwire/v1/errors_pb.js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  HelpSchema,
  RetryInfoSchema,
} from "./gen/google/rpc/error_details_pb.js";

export { ErrorReason };

const DOMAIN = "featherwire";

/** A call that failed. Its message says what is wrong and what to do. */
export class FeatherwireError extends ConnectError {
  /**
   * The reason, such as `ErrorReason.MODEL_NOT_READY`. `UNSPECIFIED` if the error is not the
   * gateway's, or if the contract does not list the reason.
   */
  readonly reason: ErrorReason;
  /** The name of the reason, such as `MODEL_NOT_READY`, or empty. */
  readonly reasonName: string;
  /** The path of the wrong field, such as `messages[0].content`. */
  readonly field: string | undefined;
  /** The time after which the call can be repeated, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** Whether the same call may succeed without a change: within a minute, later, or never. */
  readonly retry: "soon" | "later" | "never" | undefined;
  /** The id of the request, which the gateway's log has too. */
  readonly requestId: string | undefined;
  /** The requested model. */
  readonly model: string | undefined;
  /** The limit that was reached. */
  readonly limit: number | undefined;
  /** A page that helps. */
  readonly helpUrl: string | undefined;

  constructor(error: ConnectError) {
    super(error.rawMessage, error.code, error.metadata, undefined, error.cause ?? error);
    // The name stays `ConnectError`, by which Connect recognises its errors.
    this.details = error.details;
    const info = error.findDetails(ErrorInfoSchema).find(({ domain }) => domain === DOMAIN);
    this.reasonName = info?.reason ?? "";
    this.reason =
      ErrorReason[this.reasonName as keyof typeof ErrorReason] ?? ErrorReason.UNSPECIFIED;
    this.model = info?.metadata["model"];
    const limit = info?.metadata["limit"];
    this.limit = limit === undefined ? undefined : Number(limit);
    this.retry = info?.metadata["retry"] as FeatherwireError["retry"];
    const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
    this.retryAfterMs = delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6;
    this.field = error.findDetails(BadRequestSchema)[0]?.fieldViolations[0]?.field;
    this.helpUrl = error.findDetails(HelpSchema)[0]?.links[0]?.url;
    this.requestId = error.metadata.get("x-request-id") ?? undefined;
  }

  /** The error as one of this class. */
  static of(error: unknown): FeatherwireError {
    if (error instanceof FeatherwireError) return error;
    return new FeatherwireError(ConnectError.from(error));
  }

  // Without this, every ConnectError counts as an error of this class.
  static override [Symbol.hasInstance](value: unknown): boolean {
    return Function.prototype[Symbol.hasInstance].call(this, value);
  }
}

/** A stream that ended, or was closed, before the answer was complete. */
export class IncompleteAnswerError extends FeatherwireError {
  constructor() {
    super(new ConnectError("the answer is not complete", Code.Unavailable));
  }
}

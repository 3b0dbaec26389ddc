import type { Model } from "../gen/featherwire/v1/model_service_pb";
import { shortSize, shortTokens } from "./models";

/** Whether a model is loaded, as a dot with words. */
export function ModelState({ model }: { model: Model }) {
  const isActive = (model.status ?? "active") === "active";
  const { tier, isHotLive } = model.availability ?? {};
  const [state, words] = !isActive
    ? ["off", model.status ?? "not active"]
    : (isHotLive ?? tier === "warm")
      ? ["hot", "loaded"]
      : [tier ?? "cold", tier ?? "not loaded"];
  return (
    <span class="model-state" data-state={state}>
      {words}
    </span>
  );
}

/** The facts by which a model is chosen. */
export function ModelFacts({ model, all = false }: { model: Model; all?: boolean }) {
  const { concurrencyCost: cost, contextLength: context } = model;
  return (
    <span class="model-facts">
      <ModelState model={model} />
      {cost !== undefined && (
        <span class="chip" data-tone="accent">
          {cost} {cost === 1 ? "unit" : "units"}
        </span>
      )}
      {context !== undefined && <span class="chip">{shortTokens(context)} context</span>}
      {all && model.parameterSize !== undefined && (
        <span class="chip">{shortSize(model.parameterSize)}</span>
      )}
      {(model.visionSupported || model.features?.imageInput) && <span class="chip">images</span>}
      {all && model.features?.toolUse && <span class="chip">tools</span>}
      {all && model.isGated && (
        <span class="chip" data-tone="warn">
          licence
        </span>
      )}
      {model.availableOnCurrentPlan === false && (
        <span class="chip" data-tone="bad">
          not on plan
        </span>
      )}
      {model.shutdownDate && (
        <span class="chip" data-tone="warn">
          ends {model.shutdownDate}
        </span>
      )}
    </span>
  );
}

import { useState } from "preact/hooks";
import { Fold } from "../ui/fold";
import { Icon } from "../ui/icons";
import { ParameterField } from "./parameter-field";
import { GROUPS, isObject } from "./parameters";
import { extraOf, SettingsError, toolsOf } from "./request";
import { Running } from "./running";
import { set, settings } from "./state";
import { NO_SETTINGS, type Format, type Settings } from "./types";

const SCHEMA_EXAMPLE = `{
  "type": "object",
  "properties": {
    "city": { "type": "string" },
    "population": { "type": "integer" }
  },
  "required": ["city", "population"],
  "additionalProperties": false
}`;

const TOOLS_EXAMPLE = `[
  {
    "type": "function",
    "function": {
      "name": "get_weather",
      "description": "The weather in a city",
      "parameters": {
        "type": "object",
        "properties": { "city": { "type": "string" } },
        "required": ["city"]
      }
    }
  }
]`;

/** What goes with each prompt. */
export function SettingsPanel({ onClose }: { onClose: () => void }) {
  const now = settings.value;
  const count = Object.keys(now.parameters).length;
  return (
    <aside class="settings" aria-label="Settings">
      <div class="settings-head">
        <h2>Settings</h2>
        <button
          type="button"
          class="button quiet small"
          disabled={now === NO_SETTINGS}
          onClick={() => (settings.value = NO_SETTINGS)}
        >
          Reset
        </button>
        <button
          type="button"
          class="button quiet small round"
          aria-label="Close the settings"
          onClick={onClose}
        >
          <Icon name="close" />
        </button>
      </div>
      <label class="field">
        <span>System prompt</span>
        <textarea
          rows={4}
          value={now.system}
          placeholder="How the model is to answer"
          onInput={(event) => set({ system: event.currentTarget.value })}
        />
      </label>
      <Fold title="Parameters" note={count > 0 ? `${count} set` : undefined}>
        {GROUPS.map((group) => (
          <fieldset class="parameter-group">
            <legend>{group.title}</legend>
            {group.parameters.map((parameter) => (
              <ParameterField key={parameter.name} parameter={parameter} />
            ))}
          </fieldset>
        ))}
      </Fold>
      <Fold title="Answer as JSON" note={now.format === "text" ? undefined : now.format}>
        <FormatFields settings={now} />
      </Fold>
      <Fold title="Tools" note={toolsNote(now)}>
        <ToolFields settings={now} />
      </Fold>
      <Fold title="Gateway" note={now.priority}>
        <GatewayFields settings={now} />
      </Fold>
      <Running />
    </aside>
  );
}

function FormatFields({ settings }: { settings: Settings }) {
  const isWrong = settings.schema.trim() !== "" && !isObject(settings.schema);
  return (
    <>
      <label class="field">
        <span>Format</span>
        <select
          value={settings.format}
          onChange={(event) => {
            const format = event.currentTarget.value as Format;
            const schema = settings.schema || SCHEMA_EXAMPLE;
            set(format === "json_schema" ? { format, schema } : { format });
          }}
        >
          <option value="text">Text</option>
          <option value="json_object">Any JSON object</option>
          <option value="json_schema">JSON Schema</option>
        </select>
      </label>
      {settings.format === "json_schema" && (
        <label class="field">
          <span>JSON Schema</span>
          <textarea
            class="json"
            rows={10}
            spellcheck={false}
            aria-invalid={isWrong}
            value={settings.schema}
            onInput={(event) => set({ schema: event.currentTarget.value })}
          />
          {isWrong && <small class="field-error">This is not a JSON object.</small>}
        </label>
      )}
    </>
  );
}

function toolsNote(settings: Settings): string | undefined {
  try {
    const { length } = toolsOf(settings);
    return length > 0 ? `${length} set` : undefined;
  } catch {
    return "not valid";
  }
}

function ToolFields({ settings }: { settings: Settings }) {
  let problem = "";
  let names: string[] = [];
  try {
    names = toolsOf(settings).flatMap((tool) => {
      const definition = tool.function as { name?: string } | undefined;
      return definition?.name ? [definition.name] : [];
    });
  } catch (error) {
    problem = error instanceof SettingsError ? error.message : "";
  }
  return (
    <>
      <label class="field">
        <span>Tools, as a JSON list</span>
        <textarea
          class="json"
          rows={8}
          spellcheck={false}
          aria-invalid={problem !== ""}
          value={settings.tools}
          placeholder={TOOLS_EXAMPLE}
          onInput={(event) => set({ tools: event.currentTarget.value })}
        />
        {problem && <small class="field-error">{problem}</small>}
      </label>
      {!settings.tools && (
        <button type="button" class="button small" onClick={() => set({ tools: TOOLS_EXAMPLE })}>
          Insert an example
        </button>
      )}
      {names.length > 0 && (
        <label class="field">
          <span>Choice</span>
          <select
            value={settings.toolChoice}
            onChange={(event) => set({ toolChoice: event.currentTarget.value })}
          >
            <option value="">As the model does</option>
            <option value="auto">auto</option>
            <option value="none">none</option>
            <option value="required">required</option>
            {names.map((name) => (
              <option value={name}>{name}</option>
            ))}
          </select>
        </label>
      )}
    </>
  );
}

function problemOfExtra(settings: Settings): string {
  try {
    extraOf(settings);
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

function GatewayFields({ settings }: { settings: Settings }) {
  const [timeout, setTimeout] = useState(
    settings.timeoutMs ? String(settings.timeoutMs / 1000) : "",
  );
  const extraProblem = problemOfExtra(settings);
  return (
    <>
      <label class="field">
        <span>Priority in the queue</span>
        <select
          value={settings.priority}
          onChange={(event) => set({ priority: event.currentTarget.value as Settings["priority"] })}
        >
          <option value="interactive">Interactive: a person waits</option>
          <option value="default">Default</option>
          <option value="batch">Batch: after all others</option>
        </select>
      </label>
      <label class="field">
        <span>Fallbacks, one model in each line</span>
        <textarea
          rows={2}
          spellcheck={false}
          disabled={settings.noFallbacks}
          value={settings.fallbacks}
          placeholder="They answer if the model fails"
          onInput={(event) => set({ fallbacks: event.currentTarget.value })}
        />
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked={settings.noFallbacks}
          onChange={(event) => set({ noFallbacks: event.currentTarget.checked })}
        />
        No other model may answer
      </label>
      <label class="field">
        <span>Timeout in seconds</span>
        <input
          type="number"
          min={0.001}
          step="any"
          value={timeout}
          placeholder="None"
          onInput={(event) => {
            setTimeout(event.currentTarget.value);
            const seconds = event.currentTarget.valueAsNumber;
            set({ timeoutMs: seconds > 0 ? Math.ceil(seconds * 1000) : undefined });
          }}
        />
      </label>
      <label class="field">
        <span>Further members of the request</span>
        <textarea
          class="json"
          rows={3}
          spellcheck={false}
          aria-invalid={extraProblem !== ""}
          value={settings.extra}
          placeholder='{"metadata": {"case": "42"}}'
          onInput={(event) => set({ extra: event.currentTarget.value })}
        />
        {extraProblem ? (
          <small class="field-error">{extraProblem}</small>
        ) : (
          <small class="muted">Any other field of the contract, as a JSON object.</small>
        )}
      </label>
    </>
  );
}

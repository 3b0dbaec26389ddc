import { Icon } from "../ui/icons";
import { problemOfValue, type Parameter } from "./parameters";
import { setParameter, settings } from "./state";
import type { ParameterValue } from "./types";

/** A parameter. Empty leaves it to the model. */
export function ParameterField({ parameter }: { parameter: Parameter }) {
  const value = settings.value.parameters[parameter.name];
  const change = (value: ParameterValue | undefined) => setParameter(parameter.name, value);
  const problem = value === undefined ? "" : problemOfValue(parameter, value);
  const id = `parameter-${parameter.name}`;
  return (
    <div class="parameter" data-set={value !== undefined}>
      <label for={id}>{parameter.label}</label>
      {value === undefined ? (
        <span class="parameter-range numbers">{rangeOf(parameter)}</span>
      ) : (
        <button
          type="button"
          class="button quiet small round"
          aria-label={`Leave ${parameter.label} to the model`}
          title="Leave it to the model"
          onClick={() => change(undefined)}
        >
          <Icon name="close" />
        </button>
      )}
      <Input id={id} parameter={parameter} value={value} onChange={change} />
      <small id={`${id}-hint`} class={problem ? "field-error" : "muted"}>
        {problem || parameter.hint}
      </small>
    </div>
  );
}

function rangeOf(parameter: Parameter): string {
  if (parameter.kind !== "number") return "";
  const { min, max } = parameter;
  if (min !== undefined && max !== undefined) return `${min} to ${max}`;
  return min === undefined ? "" : `from ${min}`;
}

interface Props {
  id: string;
  parameter: Parameter;
  value: ParameterValue | undefined;
  onChange: (value: ParameterValue | undefined) => void;
}

function Input({ id, parameter, value, onChange }: Props) {
  const hint = `${id}-hint`;
  const text = (value: string) => onChange(value.trim() === "" ? undefined : value);
  switch (parameter.kind) {
    case "number":
      return <NumberInput {...{ id, parameter, value, onChange }} />;
    case "switch":
      return (
        <select
          id={id}
          aria-describedby={hint}
          value={value === undefined ? "" : String(value)}
          onChange={({ currentTarget: { value } }) =>
            onChange(value === "" ? undefined : value === "true")
          }
        >
          <option value="">Not set</option>
          <option value="true">Yes</option>
          <option value="false">No</option>
        </select>
      );
    case "choice":
      return (
        <select
          id={id}
          aria-describedby={hint}
          value={value === undefined ? "" : String(value)}
          onChange={(event) => text(event.currentTarget.value)}
        >
          <option value="">Not set</option>
          {parameter.choices.map((choice) => (
            <option value={choice}>{choice}</option>
          ))}
        </select>
      );
    case "lines":
    case "json":
      return (
        <textarea
          id={id}
          class="json"
          rows={2}
          spellcheck={false}
          aria-describedby={hint}
          value={String(value ?? "")}
          placeholder={parameter.placeholder}
          onInput={(event) => text(event.currentTarget.value)}
        />
      );
    default:
      return (
        <input
          id={id}
          type="text"
          spellcheck={false}
          aria-describedby={hint}
          value={String(value ?? "")}
          placeholder={parameter.placeholder}
          onInput={(event) => text(event.currentTarget.value)}
        />
      );
  }
}

/** A number, and a slider beside it if both ends of the range are near. */
function NumberInput({ id, parameter, value, onChange }: Props) {
  if (parameter.kind !== "number") return null;
  const { min, max, step, slider, usual } = parameter;
  return (
    <span class="parameter-number">
      {slider && (
        <input
          type="range"
          aria-label={`${parameter.label}, slider`}
          min={min}
          max={max}
          step={step}
          value={typeof value === "number" ? value : usual}
          onInput={(event) => onChange(event.currentTarget.valueAsNumber)}
        />
      )}
      <input
        id={id}
        type="number"
        aria-describedby={`${id}-hint`}
        min={min}
        max={max}
        step={step === 1 ? 1 : "any"}
        value={typeof value === "number" ? value : ""}
        placeholder="Not set"
        onInput={({ currentTarget }) => {
          const number = currentTarget.valueAsNumber;
          onChange(Number.isNaN(number) ? undefined : number);
        }}
      />
    </span>
  );
}

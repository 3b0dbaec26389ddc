import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { Priority } from "../gen/featherwire/v1/gateway_pb";
import { BudgetPeriod, BudgetUnit, KeyRole } from "../gen/featherwire/v1/key_limits_pb";
import { Icon } from "../ui/icons";
import { newBudget, type BudgetDraft, type Draft } from "./draft";
import { PERIODS, UNITS } from "./words";

interface Props {
  draft: Draft;
  /** Whether the key is new, so that its role can be chosen. */
  isNew: boolean;
  onChange: (draft: Draft) => void;
}

/** The settings of a key: who has it, until when, and what it may do. */
export function KeyForm({ draft, isNew, onChange }: Props) {
  const set = (change: Partial<Draft>) => onChange({ ...draft, ...change });
  const number = (
    name: NumberField,
    label: string,
    max: number,
    hint: string,
    none = "no limit",
  ) => (
    <Field label={label} hint={hint}>
      {(ids) => (
        <input
          {...ids}
          type="number"
          min={1}
          max={max}
          step={1}
          placeholder={none}
          value={draft[name]}
          onInput={(event) => set({ [name]: event.currentTarget.value })}
        />
      )}
    </Field>
  );
  return (
    <>
      <div class="form-grid">
        <Field label="Name">
          {(ids) => (
            <input
              {...ids}
              type="text"
              required
              maxLength={200}
              autocomplete="off"
              placeholder="search-app"
              value={draft.name}
              onInput={(event) => set({ name: event.currentTarget.value })}
            />
          )}
        </Field>
        <Field label="Owner">
          {(ids) => (
            <input
              {...ids}
              type="text"
              maxLength={200}
              autocomplete="off"
              placeholder="Whose key it is"
              value={draft.owner}
              onInput={(event) => set({ owner: event.currentTarget.value })}
            />
          )}
        </Field>
        {isNew && (
          <Field label="For">
            {(ids) => (
              <select
                {...ids}
                value={draft.role}
                onChange={(event) => set({ role: Number(event.currentTarget.value) })}
              >
                <option value={KeyRole.INFERENCE}>Calls of models</option>
                <option value={KeyRole.VIEWER}>Reading keys and usage</option>
                <option value={KeyRole.ADMIN}>Managing keys</option>
              </select>
            )}
          </Field>
        )}
        <Expiry draft={draft} isNew={isNew} set={set} />
      </div>
      {draft.role === KeyRole.INFERENCE && (
        <fieldset class="limits">
          <legend>Limits</legend>
          <div class="form-grid">
            {number("requestsPerMinute", "Calls a minute", 10_000_000, "Further calls get 429.")}
            {number("tokensPerMinute", "Tokens a minute", 1e12, "Of prompts and answers.")}
            {number("maxUnits", "Units at once", 100_000, "Further calls wait.")}
            {number("weight", "Weight", 1_000, "The share of units when calls wait.", "1")}
            <Field label="Highest priority" hint="Calls that ask for more get this one.">
              {(ids) => (
                <select
                  {...ids}
                  value={draft.priority}
                  onChange={(event) => set({ priority: Number(event.currentTarget.value) })}
                >
                  <option value={Priority.UNSPECIFIED}>Interactive (no limit)</option>
                  <option value={Priority.DEFAULT}>Default</option>
                  <option value={Priority.BATCH}>Batch</option>
                </select>
              )}
            </Field>
            <Field label="Models" hint="A pattern in each line, with * and ?. Empty: all.">
              {(ids) => (
                <textarea
                  {...ids}
                  rows={2}
                  spellcheck={false}
                  placeholder="meta-llama/*"
                  value={draft.models}
                  onInput={(event) => set({ models: event.currentTarget.value })}
                />
              )}
            </Field>
          </div>
          <Budgets budgets={draft.budgets} onChange={(budgets) => set({ budgets })} />
        </fieldset>
      )}
      <Field label="Labels" hint="A line for each, such as team=search.">
        {(ids) => (
          <textarea
            {...ids}
            rows={2}
            spellcheck={false}
            value={draft.labels}
            onInput={(event) => set({ labels: event.currentTarget.value })}
          />
        )}
      </Field>
    </>
  );
}

type NumberField = "requestsPerMinute" | "tokensPerMinute" | "maxUnits" | "weight";

interface FieldProps {
  label: string;
  hint?: string;
  /** Draws the control with its ids, by which the label and the hint belong to it. */
  children: (ids: { id: string; "aria-describedby"?: string }) => ComponentChildren;
}

function Field({ label, hint, children }: FieldProps) {
  const id = useId();
  const hintId = `${id}-hint`;
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({ id, "aria-describedby": hint && hintId })}
      {hint && (
        <small id={hintId} class="muted">
          {hint}
        </small>
      )}
    </div>
  );
}

interface ExpiryProps {
  draft: Draft;
  isNew: boolean;
  set: (change: Partial<Draft>) => void;
}

function Expiry({ draft, isNew, set }: ExpiryProps) {
  return (
    <>
      <Field label="Ends">
        {(ids) => (
          <select
            {...ids}
            value={draft.expiry}
            onChange={(event) => set({ expiry: event.currentTarget.value })}
          >
            {!isNew && <option value="keep">As it is</option>}
            <option value="never">Never</option>
            <option value="7">In 7 days</option>
            <option value="30">In 30 days</option>
            <option value="90">In 90 days</option>
            <option value="365">In a year</option>
            <option value="date">On a date</option>
          </select>
        )}
      </Field>
      {draft.expiry === "date" && (
        <Field label="Date" hint="At the beginning of this day in UTC.">
          {(ids) => (
            <input
              {...ids}
              type="date"
              required
              value={draft.date}
              onInput={(event) => set({ date: event.currentTarget.value })}
            />
          )}
        </Field>
      )}
    </>
  );
}

interface BudgetsProps {
  budgets: BudgetDraft[];
  onChange: (budgets: BudgetDraft[]) => void;
}

/** The budgets, each in a row of its own. */
function Budgets({ budgets, onChange }: BudgetsProps) {
  const set = (index: number, change: Partial<BudgetDraft>) =>
    onChange(budgets.map((budget, at) => (at === index ? { ...budget, ...change } : budget)));
  return (
    <div class="budget-list" role="group" aria-label="Budgets">
      <span class="budget-title">Budgets</span>
      {budgets.map((budget, index) => (
        <div class="budget-row" key={index}>
          <input
            type="number"
            required
            min={1}
            max={1e15}
            step={1}
            aria-label={`Amount of budget ${index + 1}`}
            placeholder="100000"
            value={budget.amount}
            onInput={(event) => set(index, { amount: event.currentTarget.value })}
          />
          <select
            aria-label={`Unit of budget ${index + 1}`}
            value={budget.unit}
            onChange={(event) => set(index, { unit: Number(event.currentTarget.value) })}
          >
            {[BudgetUnit.TOKENS, BudgetUnit.REQUESTS, BudgetUnit.UNIT_SECONDS].map((unit) => (
              <option value={unit}>{UNITS[unit]}</option>
            ))}
          </select>
          <select
            aria-label={`Time of budget ${index + 1}`}
            value={budget.period}
            onChange={(event) => set(index, { period: Number(event.currentTarget.value) })}
          >
            {[BudgetPeriod.DAY, BudgetPeriod.WEEK, BudgetPeriod.MONTH, BudgetPeriod.TOTAL].map(
              (period) => (
                <option value={period}>{PERIODS[period]}</option>
              ),
            )}
          </select>
          <button
            type="button"
            class="button quiet round"
            aria-label={`Remove budget ${index + 1}`}
            onClick={() => onChange(budgets.filter((_, at) => at !== index))}
          >
            <Icon name="trash" />
          </button>
        </div>
      ))}
      <button
        type="button"
        class="button small"
        onClick={() => onChange([...budgets, newBudget()])}
      >
        <Icon name="plus" /> Add a budget
      </button>
    </div>
  );
}

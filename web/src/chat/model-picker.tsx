import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { keyOf } from "../api/key";
import { isCancelled, problemOf, type Problem } from "../api/problem";
import type { Model } from "../gen/featherwire/v1/model_service_pb";
import { isComposing } from "../ui/composing";
import { Icon } from "../ui/icons";
import { ProblemCard } from "../ui/problem-card";
import { ModelFacts } from "./model-facts";
import { learnModel, known, listModels, partsOf, type Filter } from "./models";
import type { Pane } from "./state";

/** The pane for which a model is searched. */
export const searching = signal<Pane | null>(null);

/** The time after a key before the gateway is asked. */
const TYPING_MS = 120;

/** More models than these are not drawn: a search finds them faster. */
const MODELS_MAX = 500;

/** Shows the model of a pane, and opens the search. */
export function ModelButton({ pane, index }: { pane: Pane; index: number }) {
  const id = pane.model.value;
  useEffect(() => void learnModel(id), [id, keyOf("calls")]);
  const model = known.value.get(id);
  const [owner, name] = partsOf(id);
  return (
    <button
      type="button"
      class="model-button"
      aria-haspopup="dialog"
      aria-keyshortcuts={index === 0 ? "Control+K" : undefined}
      onClick={() => (searching.value = pane)}
    >
      <span class="model-name">
        {id ? (
          <>
            {owner && <span class="model-owner">{owner}/</span>}
            <strong>{name}</strong>
          </>
        ) : (
          <strong>Choose a model</strong>
        )}
        <Icon name="down" />
      </span>
      {model && <ModelFacts model={model} />}
    </button>
  );
}

/** The search over the whole catalogue. */
export function ModelSearch() {
  const pane = searching.value;
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (pane) dialog.current?.showModal();
    else dialog.current?.close();
  }, [pane]);
  return (
    <dialog
      ref={dialog}
      class="dialog palette"
      aria-label="Choose a model"
      onClose={() => (searching.value = null)}
      onClick={(event) => event.target === event.currentTarget && event.currentTarget.close()}
    >
      {pane && <Search key={pane.id} pane={pane} />}
    </dialog>
  );
}

interface Found {
  /** For which filter these are, if for any. */
  filter?: Filter;
  models: Model[];
  next: string;
  total?: number;
  isLoading: boolean;
  problem?: Problem;
}

const NOTHING: Found = { models: [], next: "", isLoading: true };

function Search({ pane }: { pane: Pane }) {
  const [filter, setFilter] = useState<Filter>({ search: "", onPlan: false, ungated: false });
  const [found, setFound] = useState(NOTHING);
  const [active, setActive] = useState(0);
  const list = useRef<HTMLUListElement>(null);
  const loading = useRef<AbortController>(new AbortController());
  /** Whether Enter was pressed before the models of this filter were there. */
  const isAwaited = useRef(false);

  const load = async (token: string, before: Model[]) => {
    loading.current.abort();
    const { signal: abort } = (loading.current = new AbortController());
    setFound((found) => ({ ...found, isLoading: true, problem: undefined }));
    try {
      const page = await listModels(filter, token, abort);
      if (abort.aborted) return;
      const models = [...before, ...page.models].slice(0, MODELS_MAX);
      const next = models.length < MODELS_MAX ? page.next : "";
      setFound({ filter, models, next, total: page.total, isLoading: false });
      if (isAwaited.current) choose(models.find(({ id }) => id === typed)?.id ?? models[0]?.id);
    } catch (error) {
      if (abort.aborted || isCancelled(error)) return;
      setFound({ filter, models: before, next: "", isLoading: false, problem: problemOf(error) });
    }
    isAwaited.current = false;
  };
  useEffect(() => {
    const timer = setTimeout(() => void load("", []), filter.search ? TYPING_MS : 0);
    setActive(0);
    isAwaited.current = false;
    return () => clearTimeout(timer);
  }, [filter, keyOf("calls")]);
  useEffect(() => () => loading.current.abort(), []);

  // An id that the catalogue does not list, such as an alias, can be used too.
  const typed = filter.search.trim();
  const isListed = found.models.some(({ id }) => id === typed);
  /** Until the models of the filter are there, those of the one before it are shown. */
  const isBusy = found.isLoading || found.filter !== filter;
  const own = typed && !isListed && !isBusy ? [typed] : [];
  const ids = [...found.models.map(({ id }) => id), ...own];
  const choose = (id: string | undefined) => {
    if (!id) return;
    pane.model.value = id;
    searching.value = null;
  };
  const move = (to: number) => {
    const index = Math.max(0, Math.min(ids.length - 1, to));
    setActive(index);
    list.current?.children[index]?.scrollIntoView({ block: "nearest" });
    if (index >= found.models.length - 5) more();
  };
  const more = () => {
    if (found.next && !isBusy) void load(found.next, found.models);
  };
  const enter = () => {
    if (found.filter === filter) choose(ids[active]);
    else if (isListed) choose(typed);
    else isAwaited.current = true;
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const steps: Record<string, number> = {
      ArrowDown: active + 1,
      ArrowUp: active - 1,
      PageDown: active + 8,
      PageUp: active - 8,
    };
    const to = steps[event.key];
    if (isComposing(event)) return;
    if (to !== undefined) move(to);
    else if (event.key === "Enter") enter();
    else return;
    event.preventDefault();
  };
  return (
    <div class="search">
      <div class="search-head">
        <Icon name="search" />
        <input
          type="text"
          role="combobox"
          aria-label="Search models"
          aria-expanded="true"
          aria-controls="model-list"
          aria-autocomplete="list"
          aria-activedescendant={ids.length > 0 ? `model-${active}` : undefined}
          placeholder="Search all models"
          autocomplete="off"
          spellcheck={false}
          autofocus
          value={filter.search}
          onInput={(event) => setFilter({ ...filter, search: event.currentTarget.value })}
          onKeyDown={onKeyDown}
        />
        <button type="button" class="button quiet small" onClick={() => (searching.value = null)}>
          Close
        </button>
      </div>
      <div class="search-filters">
        <label>
          <input
            type="checkbox"
            checked={filter.onPlan}
            onChange={(event) => setFilter({ ...filter, onPlan: event.currentTarget.checked })}
          />
          On the plan
        </label>
        <label>
          <input
            type="checkbox"
            checked={filter.ungated}
            onChange={(event) => setFilter({ ...filter, ungated: event.currentTarget.checked })}
          />
          Without a licence
        </label>
        <span class="search-total muted numbers" role="status">
          {found.total !== undefined &&
            `${found.total.toLocaleString("en")} ${found.total === 1 ? "model" : "models"}` +
              (found.models.length < MODELS_MAX ? "" : `: search instead, ${MODELS_MAX} are shown`)}
        </span>
      </div>
      <ul
        id="model-list"
        class="search-list"
        role="listbox"
        aria-label="Models"
        aria-busy={isBusy}
        ref={list}
        onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) =>
          scrollTop + clientHeight > scrollHeight - 400 && more()
        }
      >
        {found.models.map((model, index) => (
          <Option
            key={model.id}
            index={index}
            id={model.id}
            model={model}
            isActive={index === active}
            isChosen={model.id === pane.model.value}
            onChoose={choose}
            onPoint={setActive}
          />
        ))}
        {own.map((id) => (
          <Option
            key={id}
            index={ids.length - 1}
            id={id}
            isActive={active === ids.length - 1}
            isChosen={false}
            onChoose={choose}
            onPoint={setActive}
          />
        ))}
      </ul>
      {found.problem && <ProblemCard problem={found.problem} onRetry={() => void load("", [])} />}
      <p class="search-foot muted">
        <kbd>↑</kbd> <kbd>↓</kbd> to move, <kbd>Enter</kbd> to choose, <kbd>Esc</kbd> to close
      </p>
    </div>
  );
}

interface OptionProps {
  index: number;
  id: string;
  model?: Model;
  isActive: boolean;
  isChosen: boolean;
  onChoose: (id: string) => void;
  onPoint: (index: number) => void;
}

function Option({ index, id, model, isActive, isChosen, onChoose, onPoint }: OptionProps) {
  const [owner, name] = partsOf(id);
  return (
    <li
      id={`model-${index}`}
      role="option"
      aria-selected={isChosen}
      data-active={isActive}
      onClick={() => onChoose(id)}
      onMouseMove={() => onPoint(index)}
    >
      <span class="model-name">
        {owner && <span class="model-owner">{owner}/</span>}
        <strong>{name}</strong>
        {isChosen && <Icon name="check" />}
      </span>
      {model ? (
        <ModelFacts model={model} all />
      ) : (
        <span class="model-facts muted">Not in the list: use this id as it is</span>
      )}
    </li>
  );
}

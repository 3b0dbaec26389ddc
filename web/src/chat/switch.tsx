import { Icon } from "../ui/icons";
import type { Pane } from "./state";
import { siblingsOf, withShown } from "./tree";
import type { Node } from "./types";

/** Switches between the versions of a message, if there are several. */
export function Switch({ pane, node }: { pane: Pane; node: Node }) {
  const tree = pane.tree.value;
  const ids = siblingsOf(tree, node);
  if (ids.length < 2) return null;
  const index = ids.indexOf(node.id);
  const show = (to: number) => {
    const other = tree.nodes[ids[to] ?? ""];
    if (other) pane.tree.value = withShown(tree, other);
  };
  return (
    <span class="switch" role="group" aria-label="Versions">
      <button
        type="button"
        class="button quiet small round"
        aria-label="Earlier version"
        disabled={index === 0}
        onClick={() => show(index - 1)}
      >
        <Icon name="left" />
      </button>
      <span class="numbers">
        {index + 1} / {ids.length}
      </span>
      <button
        type="button"
        class="button quiet small round"
        aria-label="Later version"
        disabled={index === ids.length - 1}
        onClick={() => show(index + 1)}
      >
        <Icon name="right" />
      </button>
    </span>
  );
}

// Changes of a tree of messages. Each returns another tree, so that views notice.

import { ROOT, type Node, type Tree } from "./types";

export const EMPTY: Tree = { nodes: {}, roots: [], shown: {} };

export function newId(): string {
  return crypto.randomUUID?.() ?? Math.random().toString(36).slice(2);
}

function childrenOf(tree: Tree, parent: string): string[] {
  return parent === ROOT ? tree.roots : (tree.nodes[parent]?.children ?? []);
}

/** The messages that are shown, from the first to the last. */
export function pathOf(tree: Tree): Node[] {
  const path: Node[] = [];
  let parent = ROOT;
  for (;;) {
    const children = childrenOf(tree, parent);
    const chosen = tree.shown[parent];
    const id = chosen !== undefined && children.includes(chosen) ? chosen : children.at(-1);
    const node = id === undefined ? undefined : tree.nodes[id];
    if (!node) return path;
    path.push(node);
    parent = node.id;
  }
}

/** The messages up to this one. */
export function pathTo(tree: Tree, id: string): Node[] {
  const path: Node[] = [];
  for (let node = tree.nodes[id]; node; node = tree.nodes[node.parent]) path.push(node);
  return path.reverse();
}

/** The messages between which a switch changes: this one and its alternatives. */
export function siblingsOf(tree: Tree, node: Node): string[] {
  return childrenOf(tree, node.parent);
}

/** Adds a message after its parent, and shows it. */
export function withNode(tree: Tree, node: Node): Tree {
  const nodes = { ...tree.nodes, [node.id]: node };
  const shown = { ...tree.shown, [node.parent]: node.id };
  const parent = nodes[node.parent];
  if (!parent) return { nodes, roots: [...tree.roots, node.id], shown };
  nodes[parent.id] = { ...parent, children: [...parent.children, node.id] };
  return { ...tree, nodes, shown };
}

/** Shows this message in place of its alternatives. */
export function withShown(tree: Tree, node: Node): Tree {
  return { ...tree, shown: { ...tree.shown, [node.parent]: node.id } };
}

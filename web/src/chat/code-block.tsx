import type { ComponentChildren } from "preact";
import { CopyButton } from "../ui/copy-button";

/** A block of code with its language and a button that copies it. */
export function CodeBlock({ text, language }: { text: string; language?: string }) {
  const name = language?.split(/\s/)[0] ?? "";
  return (
    <div class="code-block">
      <div class="code-head">
        <span>{name || "code"}</span>
        <CopyButton text={() => text} label="Copy the code" />
      </div>
      <pre tabIndex={0} role="group" aria-label={name ? `Code: ${name}` : "Code"}>
        <code>{text.length > COLOURED_MAX ? text : coloured(text)}</code>
      </pre>
    </div>
  );
}

/** Longer code stays plain, because it is coloured again while it arrives. */
const COLOURED_MAX = 20_000;

/** The words of common languages. */
const WORDS =
  `abstract and as async await bool break case catch class const continue def default del
  do elif else enum except export extends false False finally fn for from func function go if impl
  import in int interface is lambda let loop match mod mut new nil None not null or package pass
  private pub public raise return select self static string struct switch this throw trait true True
  try type undefined use var void where while with yield
  SELECT FROM WHERE JOIN INSERT UPDATE CREATE`.split(/\s+/);

/** While code arrives, its last comment or text has no end yet. */
const END = String.raw`(?![\s\S])`;

const COMMENTS = [
  String.raw`\/\*[\s\S]*?(?:\*\/|${END})`,
  String.raw`\/\/.*`,
  // No comment: a colour, an attribute of Rust, and `#!`.
  String.raw`(?<=^|\s)#(?![!{[0-9a-fA-F]{3}).*`,
  String.raw`<!--[\s\S]*?-->`,
  String.raw`(?<=^|\s)--\s.*`,
];

const TEXTS = ['"', "'"].flatMap((quote) => [
  // The long texts of Python come first: `"""` is no empty text with a quote after it.
  String.raw`QQQ[\s\S]*?(?:QQQ|${END})`.replaceAll("Q", quote),
  // Not for `'`, which is an apostrophe too.
  String.raw`Q(?:\\.|[^Q\\\n])*${quote === '"' ? `(?:Q|${END})` : "Q"}`.replaceAll("Q", quote),
]);

/** What most languages share: comments, texts, numbers and words. */
const PARTS = new RegExp(
  [
    `(?<comment>${COMMENTS.join("|")})`,
    `(?<text>${[...TEXTS, "`(?:\\\\.|[^`\\\\])*`"].join("|")})`,
    String.raw`(?<number>\b0x[0-9a-fA-F]+\b|\b\d[\d_]*(?:\.\d+)?(?:e[+-]?\d+)?\b)`,
    String.raw`(?<word>\b(?:${WORDS.join("|")})\b)`,
  ].join("|"),
  "gm",
);

function coloured(text: string): ComponentChildren {
  const parts: ComponentChildren[] = [];
  let end = 0;
  for (const match of text.matchAll(PARTS)) {
    if (match.index > end) parts.push(text.slice(end, match.index));
    const kind = Object.entries(match.groups ?? {}).find(([, found]) => found !== undefined)?.[0];
    parts.push(<span class={`code-${kind ?? "plain"}`}>{match[0]}</span>);
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}

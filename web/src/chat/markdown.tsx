// Markdown as vnodes. The lexer gives tokens, and each token becomes elements here: no text is ever
// markup, and HTML in an answer is shown as text.

import { Component, type ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { lexer, type Token, type Tokens } from "marked";
import { CodeBlock } from "./code-block";

interface Block {
  raw: string;
  token: Token;
}

/** The text as blocks. While it grows, only its last block is read again. */
export function Markdown({ text, isGrowing }: { text: string; isGrowing: boolean }) {
  const known = useRef<Known>({ text: "", blocks: [], isPartial: false, isPlain: false });
  const before = known.current;
  // A link can be defined below its use, so such a text is read once more as a whole.
  const isAgain = before.isPartial && !isGrowing && DEFINITION.test(text);
  if (before.text !== text || isAgain) {
    const canGrow = !isAgain && text.startsWith(before.text);
    known.current =
      canGrow && before.isPlain
        ? plainly(text)
        : read(text, canGrow, () => (canGrow ? grown(before.blocks, text) : blocksOf(text)));
  }
  return (
    <div class="markdown">
      {levelled(known.current.blocks).map(([token, level], index) => (
        <TopBlock key={index} token={token} level={level} />
      ))}
    </div>
  );
}

interface Known {
  text: string;
  blocks: Block[];
  /** Whether the blocks were read one after the other. */
  isPartial: boolean;
  /** Whether the lexer failed. The text is shown as it is then, and not tried again as it grows. */
  isPlain: boolean;
}

/** The lexer calls itself for each level, so a text can be too much for it. */
function read(text: string, isPartial: boolean, blocks: () => Block[]): Known {
  try {
    return { text, blocks: blocks(), isPartial, isPlain: false };
  } catch {
    return plainly(text);
  }
}

function plainly(text: string): Known {
  const blocks = [{ raw: text, token: asHtml(text) }];
  return { text, blocks, isPartial: false, isPlain: true };
}

/** HTML is shown as it is written. */
function asHtml(raw: string): Token {
  return { type: "html", raw, text: raw, block: true, pre: false };
}

/** The definition of a link: `[name]: address`. */
const DEFINITION = /^ {0,3}\[[^\]\n]+\]:/m;

function blocksOf(text: string): Block[] {
  return lexer(text).map((token) => ({ raw: token.raw, token: flattened(token, 0) }));
}

/** Quotations, lists and emphases inside each other. Deeper ones are shown as they are written. */
const NESTING_MAX = 40;

/** The token with no more levels than `NESTING_MAX`: what draws them calls itself for each. */
function flattened(token: Token, depth: number): Token {
  if (depth > NESTING_MAX) return asHtml(token.raw);
  const flat = <T extends { tokens?: Token[] }>(part: T): T =>
    part.tokens
      ? { ...part, tokens: part.tokens.map((inner) => flattened(inner, depth + 1)) }
      : part;
  if (token.type === "list") {
    return { ...token, items: (token as Tokens.List).items.map(flat) } as Token;
  }
  if (token.type === "table") {
    const { header, rows } = token as Tokens.Table;
    return { ...token, header: header.map(flat), rows: rows.map((row) => row.map(flat)) } as Token;
  }
  return flat(token as Token & { tokens?: Token[] });
}

/** All blocks but the last one are final, because only the end of the text grows. */
function grown(blocks: Block[], text: string): Block[] {
  let kept = blocks.length;
  while (kept > 0 && blocks[kept - 1]?.token.type === "space") kept -= 1;
  const final = blocks.slice(0, Math.max(0, kept - 1));
  const length = final.reduce((sum, { raw }) => sum + raw.length, 0);
  // The lexer changes line ends and tabs, so that lengths do not always fit the text.
  if (!text.startsWith(final.map(({ raw }) => raw).join(""))) return blocksOf(text);
  return [...final, ...blocksOf(text.slice(length))];
}

/** The level of the heading over an answer. */
const LEVEL_ABOVE = 2;

/** The blocks with the levels of their headings, which go down one by one, as a reader expects. */
function levelled(blocks: Block[]): [Token, number][] {
  let level = LEVEL_ABOVE;
  return blocks.map(({ token }) => {
    if (token.type === "heading") {
      level = Math.min((token as Tokens.Heading).depth + LEVEL_ABOVE, level + 1, 6);
    }
    return [token, level];
  });
}

interface TopProps {
  token: Token;
  level: number;
}

/** A block that is drawn again only when its token is another. */
class TopBlock extends Component<TopProps> {
  override shouldComponentUpdate(next: TopProps): boolean {
    return next.token !== this.props.token || next.level !== this.props.level;
  }

  override render({ token, level }: TopProps) {
    return token.type === "heading" ? heading(token as Tokens.Heading, level) : block(token);
  }
}

function blocks(tokens: Token[] | undefined): ComponentChildren {
  return (tokens ?? []).map(block);
}

function block(token: Token): ComponentChildren {
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading":
      // Inside a quotation or a list, where it is no part of the outline.
      return <p class="markdown-title">{inlines(token.tokens)}</p>;
    case "paragraph":
      return <p>{inlines(token.tokens)}</p>;
    case "code":
      return (
        <CodeBlock text={(token as Tokens.Code).text} language={(token as Tokens.Code).lang} />
      );
    case "blockquote":
      return <blockquote>{blocks(token.tokens)}</blockquote>;
    case "list":
      return list(token as Tokens.List);
    case "table":
      return table(token as Tokens.Table);
    case "hr":
      return <hr />;
    case "html":
      return <p class="markdown-html">{token.raw.trim()}</p>;
    case "text":
      return token.tokens ? inlines(token.tokens) : entities(token.text as string);
    default:
      return inline(token);
  }
}

function heading({ depth, tokens }: Tokens.Heading, level: number): ComponentChildren {
  const Tag = `h${level}` as "h3" | "h4" | "h5" | "h6";
  return <Tag class={`markdown-h${Math.min(depth, 3)}`}>{inlines(tokens)}</Tag>;
}

function list(token: Tokens.List): ComponentChildren {
  const items = token.items.map((item) => (
    <li class={item.task ? "markdown-task" : undefined}>
      {item.task && (
        <span class="markdown-box" role="img" aria-label={item.checked ? "done" : "open"}>
          {item.checked ? "☑" : "☐"}
        </span>
      )}
      {blocks(item.tokens.filter((part) => (part.type as string) !== "checkbox"))}
    </li>
  ));
  return token.ordered ? <ol start={token.start || 1}>{items}</ol> : <ul>{items}</ul>;
}

function table(token: Tokens.Table): ComponentChildren {
  const cell = (Tag: "th" | "td") => (part: Tokens.TableCell) => (
    <Tag data-align={part.align ?? undefined} scope={Tag === "th" ? "col" : undefined}>
      {inlines(part.tokens)}
    </Tag>
  );
  return (
    <div class="markdown-table" tabIndex={0} role="group" aria-label="Table">
      <table>
        <thead>
          <tr>{token.header.map(cell("th"))}</tr>
        </thead>
        <tbody>
          {token.rows.map((row) => (
            <tr>{row.map(cell("td"))}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function inlines(tokens: Token[] | undefined): ComponentChildren {
  return (tokens ?? []).map(inline);
}

function inline(token: Token): ComponentChildren {
  switch (token.type) {
    case "strong":
      return <strong>{inlines(token.tokens)}</strong>;
    case "em":
      return <em>{inlines(token.tokens)}</em>;
    case "del":
      return <del>{inlines(token.tokens)}</del>;
    case "codespan":
      return <code>{token.text as string}</code>;
    case "br":
      return <br />;
    case "link":
      return link(token as Tokens.Link);
    case "image":
      return image(token as Tokens.Image);
    case "escape":
      return token.text as string;
    case "text":
      return token.tokens ? inlines(token.tokens) : entities(token.text as string);
    case "html":
      return token.raw;
    default:
      return "raw" in token ? token.raw : null;
  }
}

function link({ href, tokens, text }: Tokens.Link): ComponentChildren {
  if (!/^(https?:|mailto:)/i.test(href)) return <>{inlines(tokens) ?? text}</>;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow">
      {inlines(tokens)}
    </a>
  );
}

/** The page loads no images of other hosts, because a model could make it call them. */
function image({ href, text }: Tokens.Image): ComponentChildren {
  if (/^data:image\//i.test(href)) return <img src={href} alt={text} />;
  if (!/^https?:/i.test(href)) return text;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow">
      {text || href} (image)
    </a>
  );
}

const NAMED: Record<string, string> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: "\u00a0",
  copy: "©",
  reg: "®",
  trade: "™",
  hellip: "…",
  mdash: "—",
  ndash: "–",
  times: "×",
  deg: "°",
  euro: "€",
  rarr: "→",
  larr: "←",
};

/** The characters that a text names. Unknown names stay as they are. */
function entities(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(
    /&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|([a-z]{2,8}));/gi,
    (whole, hex, dec, name) => {
      if (name) return NAMED[name as string] ?? whole;
      const code = hex ? parseInt(hex as string, 16) : Number(dec);
      return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
    },
  );
}

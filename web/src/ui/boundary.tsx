import { Component, type ComponentChildren } from "preact";

interface Props {
  children: ComponentChildren;
  /** What is shown in place of the children after they failed. `again` draws them once more. */
  instead: (message: string, again: () => void) => ComponentChildren;
}

interface State {
  message?: string;
}

/** Keeps an error of one part of the page in this part: the others go on. */
export class Boundary extends Component<Props, State> {
  static override getDerivedStateFromError(error: unknown): State {
    return { message: String(error) };
  }

  override render({ children, instead }: Props, { message }: State) {
    if (message === undefined) return children;
    return instead(message, () => this.setState({ message: undefined }));
  }
}

interface FailedProps {
  message: string;
  again: () => void;
  children?: ComponentChildren;
}

/** Says that a part of the page has failed, which is a bug of the page. */
export function Failed({ message, again, children }: FailedProps) {
  return (
    <div class="problem" role="alert">
      <div class="problem-body">
        <strong>This part of the page has failed</strong>
        <p class="problem-text">{message}</p>
        <p>The rest of the page works on. This is a bug: please report it.</p>
        <div class="problem-buttons">
          <button type="button" class="button small" onClick={again}>
            Show it again
          </button>
          {children}
        </div>
      </div>
    </div>
  );
}

/** `instead` of a part that needs no more than this. */
export function failed(message: string, again: () => void) {
  return <Failed message={message} again={again} />;
}

/** The view of chat. */
export function ChatView() {
  return (
    <section class="chat-view">
      <h1>Chat</h1>
    </section>
  );
}

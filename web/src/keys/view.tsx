/** The view of keys. */
export function KeysView() {
  return (
    <section class="keys-view">
      <h1>Keys</h1>
    </section>
  );
}
